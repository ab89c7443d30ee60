/**
 * The journal against a disk that is cut, torn and flipped at every place: nothing acknowledged is ever lost without being called damage,
 * and nothing that merely was on its way is called damage.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { SECTOR_BYTES } from '../../../storage-node/adapters/journal-disk.ts';
import { Journal, type JournalOptions } from '../../../storage-node/adapters/journal.ts';
import type { DurableOp, JournalRecovery } from '../../../storage-node/core/effects.ts';
import {
  copyImage,
  emptyImage,
  type JournalImage,
  MemoryJournalDisk,
  type PowerCut,
} from '../../support/memory-journal-disk.ts';

const RING_BYTES = 16 * SECTOR_BYTES;

const home = (key: number, value: string | null): DurableOp => ({
  kind: 'home',
  key: Uint8Array.of(key >> 8, key & 255),
  value: value === null ? null : Buffer.from(value),
});
const guard = (key: string, value: string | null): DurableOp => ({
  kind: 'guard',
  key,
  value: value === null ? null : Buffer.from(value),
});

/** A journal over an image, beside a store that keeps what it was given, flushed or not. */
class Bench {
  readonly disk: MemoryJournalDisk;
  /** Home keys whose newest op the store has in its tables. */
  readonly flushed = new Set<string>();
  readonly given: string[] = [];
  fatal: Error | null = null;
  remembered = 0;
  flushes = 0;
  /** How long a flush of the store takes, in turns of the event loop: writes go on meanwhile. */
  flushTurns = 3;
  journal!: Journal;
  recovery!: JournalRecovery;

  private constructor(image: JournalImage) {
    this.disk = new MemoryJournalDisk(image);
  }

  static async open(
    image: JournalImage = emptyImage(RING_BYTES),
    options: Partial<JournalOptions> & { readonly powerCut?: PowerCut; readonly replayed?: boolean } = {},
  ): Promise<Bench> {
    const bench = new Bench(image);
    if (options.powerCut !== undefined) bench.disk.powerCut = options.powerCut;
    const { journal, recovery } = await Journal.open({
      disk: bench.disk,
      crc32: nodeCrc32,
      timers: nodeTimers,
      flushStore: async () => {
        bench.flushes += 1;
        const given = [...bench.given];
        for (let turn = 0; turn < bench.flushTurns; turn++)
          await new Promise((resolve) => setImmediate(resolve));
        for (const key of given) bench.flushed.add(key);
      },
      onEntry: (sequence) => {
        bench.remembered = sequence;
      },
      onFatal: (error) => {
        bench.fatal = error;
      },
      idleMs: Number.POSITIVE_INFINITY,
      ...options,
    });
    if (options.replayed !== false) journal.replayed();
    bench.journal = journal;
    bench.recovery = recovery;
    return bench;
  }

  append(...ops: DurableOp[]): Promise<void> {
    for (const op of ops) if (op.kind === 'home') this.given.push(Buffer.from(op.key).toString('hex'));
    return new Promise((resolve) => this.journal.append(ops, resolve));
  }

  async appendEach(...ops: DurableOp[]): Promise<void> {
    for (const op of ops) await this.append(op);
  }
}

const homesOf = (recovery: JournalRecovery): string[] =>
  recovery.entries
    .flat()
    .map(
      (op) => `${Buffer.from(op.key).toString('hex')}=${op.value === null ? 'nil' : Buffer.from(op.value)}`,
    );
const guardOf = (recovery: JournalRecovery): Record<string, string> =>
  Object.fromEntries([...recovery.guard].map(([key, value]) => [key, Buffer.from(value).toString()]));

describe('journal', () => {
  it('gives back what was appended, oldest first, and the newest of each guard key', async () => {
    const first = await Bench.open();
    await first.append(home(1, 'a'), guard('promise', '1'));
    await first.append(home(1, null), home(2, 'b'), guard('promise', '2'), guard('gone', 'x'));
    await first.append(guard('gone', null));
    const second = await Bench.open(first.disk.image());
    expect(second.recovery.damaged).toBe(false);
    expect(second.recovery.findings).toEqual([]);
    expect(homesOf(second.recovery)).toEqual(['0001=a', '0001=nil', '0002=b']);
    expect(guardOf(second.recovery)).toEqual({ promise: '2' });
  });

  it('puts all that arrives while a write is on the way into one entry, and answers in order', async () => {
    const bench = await Bench.open();
    const order: number[] = [];
    const all: Promise<void>[] = [];
    for (let i = 0; i < 40; i++) all.push(bench.append(home(i, 'x')).then(() => void order.push(i)));
    await Promise.all(all);
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(bench.disk.ringWrites).toBe(1);
  });

  it('answers an append without ops after those before it', async () => {
    const bench = await Bench.open();
    const order: string[] = [];
    await Promise.all([
      bench.append(home(1, 'x')).then(() => order.push('real')),
      bench.append().then(() => order.push('empty')),
    ]);
    expect(order).toEqual(['real', 'empty']);
  });

  it('reuses ring space only after the store and both guard files have what is in it', async () => {
    const bench = await Bench.open();
    for (let i = 0; i < 200; i++) {
      await bench.append(home(i, 'v'.repeat(300)), guard(`k${i % 7}`, `${i}`));
      const after = await Bench.open(bench.disk.image(), { rememberedSequence: bench.remembered });
      expect(after.recovery.damaged, `after ${i}`).toBe(false);
      const inRing = new Set(after.recovery.entries.flat().map((op) => Buffer.from(op.key).toString('hex')));
      for (const key of bench.given)
        expect(inRing.has(key) || bench.flushed.has(key), `home ${key} after ${i}`).toBe(true);
      for (let back = 0; back < Math.min(7, i + 1); back++) {
        expect(guardOf(after.recovery)[`k${(i - back) % 7}`]).toBe(`${i - back}`);
      }
    }
    expect(bench.flushes).toBeGreaterThan(5);
  });

  it('keeps what was written while a checkpoint ran', async () => {
    const bench = await Bench.open();
    bench.flushTurns = 12;
    for (let i = 0; i < 120; i++) {
      const isDone = bench.append(home(i, 'v'.repeat(300)));
      await isDone;
      const after = await Bench.open(bench.disk.image(), { rememberedSequence: bench.remembered });
      expect(after.recovery.findings, `after ${i}`).toEqual([]);
      const inRing = new Set(after.recovery.entries.flat().map((op) => Buffer.from(op.key).toString('hex')));
      for (const key of bench.given)
        expect(inRing.has(key) || bench.flushed.has(key), `home ${key} after ${i}`).toBe(true);
    }
    expect(bench.flushes).toBeGreaterThan(3);
  });

  it('needs nothing of the ring after a clean close', async () => {
    const bench = await Bench.open();
    await bench.appendEach(home(1, 'a'), guard('promise', '1'));
    await bench.journal.close();
    const image = bench.disk.image();
    image.ring.fill(0xff);
    const after = await Bench.open(image, { rememberedSequence: bench.remembered });
    expect(after.recovery.damaged).toBe(false);
    expect(after.recovery.entries).toEqual([]);
    expect(guardOf(after.recovery)).toEqual({ promise: '1' });
  });

  it('keeps what it recovered until it is told that it was replayed, however much comes', async () => {
    const first = await Bench.open();
    for (let i = 0; i < 6; i++) await first.append(home(i, 'old'), guard(`old${i}`, '1'));
    const second = await Bench.open(first.disk.image(), { replayed: false });
    for (let i = 0; i < 40; i++) await second.append(home(1000 + i, 'x'.repeat(2000)), guard('new', `${i}`));
    const third = await Bench.open(second.disk.image(), { replayed: false });
    expect(third.recovery.damaged).toBe(false);
    expect(homesOf(third.recovery)).toEqual(expect.arrayContaining(homesOf(second.recovery)));
    expect(guardOf(third.recovery)).toMatchObject({ old0: '1', old5: '1', new: '39' });
    expect([...second.flushed]).toEqual(
      expect.arrayContaining([Buffer.from([1039 >> 8, 1039 & 255]).toString('hex')]),
    );
  });

  it('checkpoints the guard alone until then', async () => {
    const first = await Bench.open();
    for (let i = 0; i < 3; i++) await first.append(home(i, 'old'));
    const second = await Bench.open(first.disk.image(), { replayed: false });
    await second.append(home(10, 'new'), guard('large', 'x'.repeat(6000)));
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(second.flushes).toBe(0);
    const third = await Bench.open(second.disk.image());
    expect(homesOf(third.recovery)).toEqual(['0000=old', '0001=old', '0002=old', '000a=new']);
    // The guard files know that the newest entry had been synced: missing, it is no torn tail.
    const image = second.disk.image();
    image.ring[3 * SECTOR_BYTES + 100]! ^= 1;
    const damaged = await Bench.open(image);
    expect(damaged.recovery.damaged).toBe(true);
    expect(guardOf(damaged.recovery).large?.length).toBe(6000);
  });

  it('makes durable what is too large for any entry', async () => {
    const bench = await Bench.open();
    await bench.append(guard('promise', '1'));
    await bench.append(home(1, 'x'.repeat(RING_BYTES)), guard('promise', '2'));
    expect(bench.flushed.has('0001')).toBe(true);
    expect(guardOf((await Bench.open(bench.disk.image())).recovery)).toEqual({ promise: '2' });
    await bench.append(home(2, 'y'));
    expect(guardOf((await Bench.open(bench.disk.image())).recovery)).toEqual({ promise: '2' });
    expect(bench.fatal).toBeNull();
  });

  it('writes an empty entry on idle, once, which repeats the guard ops of the last', async () => {
    const bench = await Bench.open(emptyImage(RING_BYTES), { idleMs: 5 });
    await bench.append(guard('promise', '7'));
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(bench.disk.ringWrites).toBe(2);
    const image = bench.disk.image();
    image.ring[60]! ^= 1; // the real entry
    const after = await Bench.open(image);
    expect(after.recovery.damaged).toBe(true);
    expect(guardOf(after.recovery)).toEqual({ promise: '7' });
  });

  it('stops at the first failure of the disk and tells nobody anything more', async () => {
    const bench = await Bench.open();
    await bench.append(home(1, 'a'));
    bench.disk.writeRing = () => Promise.reject(new Error('EIO'));
    let told = 0;
    bench.journal.append([home(2, 'b')], () => told++);
    bench.journal.append([home(3, 'c')], () => told++);
    await bench.journal.drain();
    expect(bench.fatal?.message).toBe('EIO');
    bench.journal.append([home(4, 'd')], () => told++);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(told).toBe(0);
  });
});

/** Six entries with home and guard ops, the last one not known to be followed by anything. */
async function sixEntries(): Promise<{ image: JournalImage; remembered: number }> {
  const bench = await Bench.open();
  for (let i = 1; i <= 6; i++)
    await bench.append(home(i, `v${i}`.repeat(i === 3 ? 2500 : 20)), guard(`g${i}`, `${i}`));
  return { image: bench.disk.image(), remembered: bench.remembered };
}

describe('journal recovery', () => {
  it('calls every single flipped bit of a needed entry damage, but of the newest a torn tail', async () => {
    const { image } = await sixEntries();
    const plain = await Bench.open(image);
    const sectors = RING_BYTES / SECTOR_BYTES;
    const used: number[] = [];
    for (let sector = 0; sector < sectors; sector++) {
      if (image.ring.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES).some((byte) => byte !== 0))
        used.push(sector);
    }
    expect(used.length).toBe(7); // the third takes two
    const last = used.at(-1)!;
    for (const sector of used) {
      for (let byte = 0; byte < SECTOR_BYTES; byte += sector === last ? 1 : 13) {
        const at = sector * SECTOR_BYTES + byte;
        const isPadding = image.ring.subarray(at, (sector + 1) * SECTOR_BYTES).every((value) => value === 0);
        if (isPadding) break;
        const flipped = copyImage(image);
        flipped.ring[at]! ^= 1 << (byte % 8);
        const after = await Bench.open(flipped);
        const isNewest = sector === last;
        expect(after.recovery.damaged, `byte ${byte} of sector ${sector}`).toBe(!isNewest);
        expect(after.recovery.findings.length > 0).toBe(!isNewest);
        if (!isNewest) expect(homesOf(after.recovery).length).toBe(5);
        else expect(homesOf(after.recovery)).toEqual(homesOf(plain.recovery).slice(0, 5));
      }
    }
  });

  it('knows a missing newest entry for damage when the store remembers a later one, or a guard file does', async () => {
    const { image, remembered } = await sixEntries();
    const cut = copyImage(image);
    cut.ring.fill(0, 4 * SECTOR_BYTES);
    expect((await Bench.open(cut, { rememberedSequence: 0 })).recovery.damaged).toBe(false);
    expect((await Bench.open(cut, { rememberedSequence: remembered })).recovery.damaged).toBe(true);
    const lastOnly = copyImage(image);
    const lastSector = image.ring.findLastIndex((byte) => byte !== 0) / SECTOR_BYTES;
    lastOnly.ring.fill(0, Math.floor(lastSector) * SECTOR_BYTES);
    // Given to the store while its entry was on the way: what the store remembers of it proves nothing.
    expect((await Bench.open(lastOnly, { rememberedSequence: remembered })).recovery.damaged).toBe(false);
  });

  it('calls a lost write damage: an intact entry that does not continue the chain', async () => {
    const { image } = await sixEntries();
    const other = await Bench.open();
    for (let i = 1; i <= 6; i++) await other.append(home(i, 'other'));
    const mixed = copyImage(image);
    mixed.ring.set(other.disk.image().ring.subarray(SECTOR_BYTES, 2 * SECTOR_BYTES), SECTOR_BYTES);
    const after = await Bench.open(mixed);
    expect(after.recovery.damaged).toBe(true);
    expect(after.recovery.findings.join()).toMatch(/does not follow/);
  });

  it('calls what cannot be read damage', async () => {
    const { image } = await sixEntries();
    const disk = new MemoryJournalDisk(image);
    disk.unreadable = { from: SECTOR_BYTES, to: 2 * SECTOR_BYTES };
    const { recovery } = await Journal.open({
      disk,
      crc32: nodeCrc32,
      timers: nodeTimers,
      flushStore: async () => {},
      onFatal: () => {},
    });
    expect(recovery.damaged).toBe(true);
    expect(homesOf(recovery).length).toBe(5);
  });

  it('goes on after a torn tail, and after damage still reports it at the next start', async () => {
    const { image } = await sixEntries();
    const torn = copyImage(image);
    torn.ring[((image.ring.findLastIndex((byte) => byte !== 0) / SECTOR_BYTES) | 0) * SECTOR_BYTES + 70]! ^=
      4;
    const second = await Bench.open(torn);
    await second.append(home(60, 'again'), guard('g6', 'again'));
    const third = await Bench.open(second.disk.image());
    expect(third.recovery.damaged).toBe(false);
    expect(homesOf(third.recovery).at(-1)).toBe('003c=again');
    expect(guardOf(third.recovery)).toMatchObject({ g5: '5', g6: 'again' });

    const damaged = copyImage(image);
    damaged.ring[70]! ^= 4;
    const fourth = await Bench.open(damaged, { replayed: false });
    await fourth.append(guard('quarantine', 'yes'));
    const fifth = await Bench.open(fourth.disk.image(), { replayed: false });
    expect(fifth.recovery.damaged).toBe(true);
    expect(guardOf(fifth.recovery)).toMatchObject({ quarantine: 'yes', g2: '2' });
  });

  it('refuses an intact entry of a format it does not know', async () => {
    const { image } = await sixEntries();
    const newer = copyImage(image);
    const view = new DataView(newer.ring.buffer);
    view.setUint16(4, 2, true);
    const payloadBytes = view.getUint32(40, true);
    view.setUint32(52, 0, true);
    view.setUint32(52, nodeCrc32(newer.ring.subarray(0, 56 + payloadBytes)), true);
    await expect(Bench.open(newer)).rejects.toMatchObject({ code: 'WRONG_FORMAT' });
  });
});

describe('guard files', () => {
  it('survive any single flipped byte in either copy', async () => {
    const bench = await Bench.open();
    await bench.append(guard('a', 'one'), guard('b', 'two'), guard('c', 'three'));
    await bench.journal.close();
    const image = bench.disk.image();
    image.ring.fill(0);
    for (const copy of ['guard-a', 'guard-b'] as const) {
      for (let at = 0; at < image.guards.get(copy)!.length; at++) {
        const flipped = copyImage(image);
        flipped.guards.get(copy)![at]! ^= 0x40;
        const after = await Bench.open(flipped);
        expect(guardOf(after.recovery), `${copy} byte ${at}`).toEqual({ a: 'one', b: 'two', c: 'three' });
        expect(after.recovery.damaged).toBe(false);
        // Repaired: both copies are whole again.
        const again = await Bench.open(after.disk.image());
        expect(again.recovery.findings).toEqual([]);
      }
    }
  });

  it('of different generations, with the newer one damaged, say everything together with the ring', async () => {
    const cut: PowerCut = ({ target, sizeBytes }) =>
      target === 'guard-b' && ++copies > 2 ? sizeBytes - 1 : null;
    let copies = 0;
    const bench = await Bench.open(emptyImage(RING_BYTES), { powerCut: cut });
    await bench.append(guard('a', 'first'), guard('b', 'stays'), guard('c', 'goes'));
    for (let i = 0; copies < 3; i++) {
      await bench.append(home(i, 'x'), ...(i === 2 ? [guard('c', null)] : []), guard('a', `${i}`));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const image = bench.disk.image();
    const whole = await Bench.open(image);
    expect(whole.recovery.damaged).toBe(false);
    const newer = image.guards.get('guard-a')!;
    for (let at = 40; at < newer.length; at++) {
      const flipped = copyImage(image);
      flipped.guards.get('guard-a')![at]! ^= 2;
      const after = await Bench.open(flipped);
      expect(guardOf(after.recovery), `byte ${at}`).toEqual(guardOf(whole.recovery));
      expect(after.recovery.damaged).toBe(false);
      // ... and of the ring what lies between the two generations is needed then.
      flipped.ring.fill(0);
      expect((await Bench.open(flipped)).recovery.damaged).toBe(true);
    }
  });

  it('name the key whose value is damaged in both copies', async () => {
    const bench = await Bench.open();
    await bench.append(guard('a', 'one'), guard('b', 'two'));
    await bench.journal.close();
    const image = bench.disk.image();
    for (const bytes of image.guards.values()) bytes[Buffer.from(bytes).indexOf('one')]! ^= 1;
    const after = await Bench.open(image);
    expect(after.recovery.damaged).toBe(true);
    expect(after.recovery.findings.join()).toMatch(/value of a is damaged in every copy/);
    expect(guardOf(after.recovery)).toEqual({ b: 'two' });
  });

  it('are damage when both are gone while the ring has been reused', async () => {
    const bench = await Bench.open();
    for (let i = 0; i < 40; i++) await bench.append(home(i, 'x'), guard('promise', `${i}`));
    const image: JournalImage = { ring: bench.disk.image().ring, guards: new Map() };
    expect((await Bench.open(image)).recovery.damaged).toBe(true);
  });
});

describe('power cuts', () => {
  /** Writes numbered changes until the power goes; checks that all that was acknowledged is there, and nothing is called damage. */
  it('lose nothing acknowledged, whichever write they hit and wherever they tear it', async () => {
    await fc.assert(
      fc.asyncProperty(
        // A new journal's first two writes are its empty guard files.
        fc.integer({ min: 3, max: 60 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.array(fc.integer({ min: 1, max: 9_000 }), { minLength: 5, maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        async (cutAtWrite, share, sizes, width) => {
          let writes = 0;
          let cut = (): void => {};
          const power = new Promise<void>((resolve) => {
            cut = () => setImmediate(() => setImmediate(resolve));
          });
          const powerCut: PowerCut = ({ sizeBytes }) => {
            if (++writes !== cutAtWrite) return null;
            cut();
            return Math.floor(share * sizeBytes);
          };
          const bench = await Bench.open(emptyImage(RING_BYTES), { powerCut });
          const acknowledged = new Map<string, number>();
          const ackedHomes = new Set<number>();
          let isCut = false;
          for (const [index, size] of sizes.entries()) {
            if (isCut) break;
            const batch = Array.from({ length: width }, (_, lane) => {
              const id = index * 8 + lane;
              return bench
                .append(home(id, `${id}:`.padEnd(size, '.')), guard(`g${lane}`, `${index}`))
                .then(() => {
                  acknowledged.set(`g${lane}`, index);
                  ackedHomes.add(id);
                });
            });
            await Promise.race([Promise.all(batch), power]);
            isCut = writes >= cutAtWrite;
          }
          const flushed = new Set(bench.flushed);
          const after = await Bench.open(bench.disk.image(), { rememberedSequence: bench.remembered });
          expect(after.recovery.findings).toEqual([]);
          expect(after.recovery.damaged).toBe(false);
          const inRing = new Set(after.recovery.entries.flat().map((op) => (op.key[0]! << 8) | op.key[1]!));
          for (const id of ackedHomes) {
            const key = Buffer.from([id >> 8, id & 255]).toString('hex');
            expect(inRing.has(id) || flushed.has(key), `home ${id}`).toBe(true);
          }
          for (const [key, index] of acknowledged) {
            expect(Number(guardOf(after.recovery)[key])).toBeGreaterThanOrEqual(index);
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});

/**
 * The journal's ring and guard files on a simulated disk. A write takes time; a crash in the middle of one leaves nothing of it, all of it, its
 * beginning, or any of its blocks. Faults make a write land elsewhere, or nowhere although it was acknowledged.
 */
import { Buffer } from 'node:buffer';
import { TidemarkError } from '../../../src/base/errors.ts';
import {
  type GuardCopy,
  type JournalDisk,
  SECTOR_BYTES,
} from '../../../storage-node/adapters/journal-disk.ts';
import type { SimProcess } from '../world/process.ts';
import type { Chance } from '../world/random.ts';
import type { DiskState } from './disk-state.ts';

/** What of a write a disk does as one. */
const BLOCK_BYTES = 512;

export class JournalFiles {
  ring: Uint8Array;
  readonly guards: Map<GuardCopy, Uint8Array>;
  isNew: boolean;
  /** The write that is on its way; a crash tears it. */
  underWay: { readonly offset: number; readonly bytes: Uint8Array } | null = null;
  /** Sectors that cannot be read. */
  readonly unreadable = new Set<number>();
  /** What happens to the next write of the ring. */
  nextWrite: 'lands' | 'is-lost' | 'is-misdirected' = 'lands';

  constructor(ringBytes: number) {
    this.ring = new Uint8Array(ringBytes);
    this.guards = new Map();
    this.isNew = true;
  }

  copy(): JournalFiles {
    const copy = new JournalFiles(0);
    copy.ring = this.ring.slice();
    for (const [name, bytes] of this.guards) copy.guards.set(name, bytes);
    copy.isNew = this.isNew;
    return copy;
  }

  /** The process, or the power, is gone in the middle of whatever was written. Returns the write when all of it is on the disk. */
  tear(chance: Chance): Uint8Array | null {
    if (this.underWay === null) return null;
    const { offset, bytes } = this.underWay;
    this.underWay = null;
    switch (chance.below(4)) {
      case 0:
        break;
      case 1:
        this.ring.set(bytes, offset);
        break;
      case 2:
        this.ring.set(bytes.subarray(0, chance.below(bytes.length + 1)), offset);
        break;
      default:
        for (let at = 0; at < bytes.length; at += BLOCK_BYTES)
          if (chance.chance(0.5)) this.ring.set(bytes.subarray(at, at + BLOCK_BYTES), offset + at);
    }
    const there = this.ring.subarray(offset, offset + bytes.length);
    return Buffer.compare(there, bytes) === 0 ? bytes : null;
  }

  flipBit(where: 'ring' | GuardCopy, chance: Chance): void {
    if (where === 'ring') flip(this.ring, chance);
    else {
      const bytes = this.guards.get(where)?.slice();
      if (bytes === undefined || bytes.length === 0) return;
      flip(bytes, chance);
      this.guards.set(where, bytes);
    }
  }
}

function flip(bytes: Uint8Array, chance: Chance): void {
  const at = chance.below(bytes.length);
  bytes[at] = (bytes[at] as number) ^ (1 << chance.below(8));
}

export class SimJournalDisk implements JournalDisk {
  readonly #files: JournalFiles;
  readonly #process: SimProcess;
  readonly #chance: Chance;
  readonly #state: DiskState;
  readonly #onDurable: (entry: Uint8Array) => void;

  constructor(options: {
    readonly files: JournalFiles;
    readonly process: SimProcess;
    readonly chance: Chance;
    readonly state: DiskState;
    /** An entry of the ring is on the disk. */
    readonly onDurable: (entry: Uint8Array) => void;
  }) {
    this.#files = options.files;
    this.#process = options.process;
    this.#chance = options.chance;
    this.#state = options.state;
    this.#onDurable = options.onDurable;
  }

  get ringBytes(): number {
    return this.#files.ring.length;
  }

  get isNew(): boolean {
    return this.#files.isNew;
  }

  readRing(offset: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#later('ring-read', 0.2, () => {
      const first = Math.floor(offset / SECTOR_BYTES);
      const last = Math.floor((offset + lengthBytes - 1) / SECTOR_BYTES);
      for (let sector = first; sector <= last; sector += 1)
        if (this.#files.unreadable.has(sector)) throw ioError('reading the journal failed');
      return this.#files.ring.slice(offset, offset + lengthBytes);
    });
  }

  writeRing(offset: number, bytes: Uint8Array): Promise<void> {
    this.#files.underWay = { offset, bytes };
    return this.#later('ring-write', 0.3, () => {
      if (this.#state.failsWrites) {
        const whole = this.#files.tear(this.#chance);
        if (whole !== null) this.#onDurable(whole);
        throw ioError('writing the journal failed');
      }
      this.#files.underWay = null;
      this.#files.isNew = false;
      this.#land(offset, bytes);
      this.#onDurable(bytes);
    });
  }

  readGuard(copy: GuardCopy): Promise<Uint8Array | null> {
    return this.#later('guard-read', 0.1, () => this.#files.guards.get(copy) ?? null);
  }

  /** By rename: all or nothing. */
  replaceGuard(copy: GuardCopy, bytes: Uint8Array): Promise<void> {
    return this.#later('guard-write', 1, () => {
      if (this.#state.failsWrites) throw ioError(`writing ${copy} failed`);
      this.#files.isNew = false;
      this.#files.guards.set(copy, bytes.slice());
    });
  }

  async close(): Promise<void> {}

  #land(offset: number, bytes: Uint8Array): void {
    const { nextWrite, ring } = this.#files;
    this.#files.nextWrite = 'lands';
    if (nextWrite === 'is-lost') return;
    const sectors = (ring.length - bytes.length) / SECTOR_BYTES;
    const at = nextWrite === 'lands' ? offset : this.#chance.below(sectors + 1) * SECTOR_BYTES;
    ring.set(bytes, at);
    for (let sector = at / SECTOR_BYTES; sector < (at + bytes.length) / SECTOR_BYTES; sector += 1)
      this.#files.unreadable.delete(sector);
  }

  #later<Result>(what: string, typicalMs: number, act: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#process.later(this.#state.delayMs(this.#chance, typicalMs), what, () => {
        try {
          resolve(act());
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  }
}

function ioError(message: string): TidemarkError {
  return new TidemarkError('IO_ERROR', `${message}: EIO`);
}

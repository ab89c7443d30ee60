import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packChanges, unpackChanges } from '../../../compute-node/engine/mtr-packing.ts';
import { SharedState } from '../../../compute-node/engine/shared-state.ts';
import { putU32, u32 } from '../../../compute-node/engine/sqlite-header.ts';
import { MemoryFile } from '../../../compute-node/engine/worker/memory-file.ts';
import { Scheduler, TURN, type Wait, type Wake } from '../../../compute-node/engine/worker/scheduler.ts';
import { isBlank, kindOf } from '../../../compute-node/engine/worker/sql-text.ts';
import { WriterLock } from '../../../compute-node/engine/worker/writer-lock.ts';
import { toPageNumber } from '../../../src/log/lsn.ts';

describe('packed changes', () => {
  it('come out as they went in', () => {
    const change = fc.record({
      page: fc.integer({ min: 1, max: 0xffff_fffe }).map(toPageNumber),
      kind: fc.constantFrom('delta' as const, 'image' as const),
      body: fc.uint8Array({ maxLength: 5000 }),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
        expect(unpackChanges(packChanges(changes))).toEqual(changes);
      }),
    );
  });
});

describe('SharedState', () => {
  it('is the same from both sides', () => {
    const main = SharedState.create(4);
    const worker = new SharedState(main.buffers);
    main.set('vdl', Number.MAX_SAFE_INTEGER);
    expect(worker.get('vdl')).toBe(Number.MAX_SAFE_INTEGER);
    main.add('mtrBytesTaken', 5);
    main.add('mtrBytesTaken', 7);
    expect(worker.get('mtrBytesTaken')).toBe(12);
    worker.setFlag('wantsNews', 1);
    expect([main.flag('wantsNews'), main.flag('writable')]).toEqual([1, 0]);
    main.interrupt(2, 77);
    expect([worker.isInterrupted(2, 77), worker.isInterrupted(2, 78), worker.isInterrupted(1, 77)]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it('sleeps no longer when the answer is there already', () => {
    const state = SharedState.create(1);
    const seen = state.flag('pageAnswers');
    state.announcePageAnswer();
    const start = performance.now();
    state.waitForPageAnswer(seen, 5_000);
    expect(performance.now() - start).toBeLessThan(1_000);
  });
});

describe('statement kinds', () => {
  it('are told from the first words', () => {
    const kinds: [string, ReturnType<typeof kindOf>][] = [
      ['begin', 'begin'],
      ['BEGIN IMMEDIATE', 'begin'],
      [' /* x */ BEGIN TRANSACTION READONLY', 'begin-readonly'],
      ['BEGIN READONLY', 'begin-readonly'],
      ['COMMIT', 'commit'],
      ['end transaction', 'commit'],
      ['ROLLBACK', 'rollback'],
      ['ROLLBACK TO x', 'other'],
      ['ROLLBACK TRANSACTION TO x', 'other'],
      ['-- c\nINSERT INTO t', 'dml'],
      ['WITH x AS (SELECT 1) DELETE FROM t', 'dml'],
      ['PRAGMA x', 'pragma'],
      ['VACUUM', 'vacuum'],
      ['SELECT 1', 'other'],
      ['', 'other'],
      ['(', 'other'],
    ];
    for (const [sql, kind] of kinds) expect(kindOf(sql), sql).toBe(kind);
  });

  it('blank text holds no statement', () => {
    expect(['', ' ;\n', '-- x', '/* open', ' /* a */ ; -- b\n'].every(isBlank)).toBe(true);
    expect(['x', '; SELECT 1', '/* a */ b'].some(isBlank)).toBe(false);
  });
});

describe('WriterLock', () => {
  it('passes on in the order of asking, and forgets those who left', () => {
    const granted: string[] = [];
    const lock = new WriterLock<string>((owner) => granted.push(owner));
    expect(lock.acquire('a', 1)).toBe(true);
    expect(lock.acquire('a', 2)).toBe(true);
    expect(['b', 'c', 'd', 'b'].map((who) => lock.acquire(who, 3))).toEqual([false, false, false, false]);
    expect(lock.waiting).toBe(3);
    lock.release('c', 4);
    lock.release('a', 5);
    expect([granted, lock.owner, lock.sinceMs]).toEqual([['b'], 'b', 5]);
    // A newcomer does not overtake.
    expect(lock.acquire('e', 6)).toBe(false);
    lock.release('b', 7);
    lock.release('d', 8);
    lock.release('e', 9);
    expect([granted, lock.owner]).toEqual([['b', 'd', 'e'], null]);
    lock.release('nobody', 10);
  });
});

describe('Scheduler', () => {
  it('gives slices in turn, wakes what waits, and tells late from woken', () => {
    const scheduler = new Scheduler();
    const log: string[] = [];
    const worker = function* (name: string): Generator<Wait, void, Wake> {
      log.push(`${name}1`);
      yield TURN;
      log.push(`${name}2`);
      log.push(`${name}:${yield { kind: 'event', deadlineMs: 100 }}`);
    };
    const a = scheduler.start(worker('a'), () => log.push('a ended'));
    scheduler.start(worker('b'), () => log.push('b ended'));
    while (scheduler.runOne());
    expect(log).toEqual(['a1', 'b1', 'a2', 'b2']);
    expect([scheduler.hasReady, scheduler.nextDeadlineMs]).toEqual([false, 100]);
    scheduler.wake(a);
    scheduler.wake(a);
    scheduler.wakeLate(99);
    while (scheduler.runOne());
    scheduler.wakeLate(100);
    while (scheduler.runOne());
    expect(log.slice(4)).toEqual(['a:woken', 'a ended', 'b:late', 'b ended']);
    expect(scheduler.nextDeadlineMs).toBe(null);
  });
});

describe('MemoryFile', () => {
  it('reads what was written, zeros beyond, and shrinks', () => {
    const file = new MemoryFile();
    file.write(Uint8Array.of(1, 2, 3), 70_000);
    const into = new Uint8Array(5).fill(9);
    expect(file.read(into, 69_999)).toBe(false);
    expect([...into]).toEqual([0, 1, 2, 3, 0]);
    expect(file.sizeBytes).toBe(70_003);
    file.truncate(70_001);
    file.write(Uint8Array.of(7), 70_002);
    expect(file.read(into, 69_998)).toBe(true);
    expect([...into]).toEqual([0, 0, 1, 0, 7]);
    expect(() => file.write(Uint8Array.of(1), 2 ** 40)).toThrow(
      expect.objectContaining({ code: 'TOO_LARGE' }),
    );
  });
});

describe('header fields', () => {
  it('are unsigned and big-endian', () => {
    const bytes = new Uint8Array(8);
    putU32(bytes, 2, 0xfedc_ba98);
    expect([...bytes]).toEqual([0, 0, 0xfe, 0xdc, 0xba, 0x98, 0, 0]);
    expect(u32(bytes, 2)).toBe(0xfedc_ba98);
  });
});

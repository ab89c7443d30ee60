/** Messages that cross on their way between the two threads, and what a program's output depends on. */
import { describe, expect, it } from 'vitest';
import { PageCache } from '../../../compute-node/engine/worker/page-cache.ts';
import { CoreHarness, stepOf } from '../../support/core-harness.ts';

describe('a connection that is gone', () => {
  it('may still be spoken of by a main thread that does not know yet', async () => {
    const h = await CoreHarness.create();
    const gone = h.connect();
    h.ok(gone, 'CREATE TABLE t (a)');
    h.disconnect(gone);
    h.core.accept({ kind: 'credit', connection: gone, run: 1, bytes: 64 });
    h.core.accept({ kind: 'cancel', connection: gone, run: 1 });
    h.core.accept({ kind: 'disconnect', connection: gone });
    h.turn();
    expect(h.rows(h.connect(), 'SELECT count(*) FROM t')).toEqual([[0n]]);
  });
});

describe('a program that has committed', () => {
  it('needs no confirmation for the steps it then skips', async () => {
    const h = await CoreHarness.create();
    const c = h.connect();
    const unless = (sql: string, step: number) => ({
      ...stepOf(sql),
      condition: { kind: 'not', cond: { kind: 'ok', step } } as const,
    });
    const steps = [stepOf('CREATE TABLE t (a)'), unless('ROLLBACK', 0)];
    const run = h.start(c, { kind: 'steps', steps });
    h.finish(run);
    expect(h.output(run).needsConfirmation).toEqual([false]);
    const reading = h.start(c, {
      kind: 'steps',
      steps: [stepOf('DELETE FROM t WHERE 0'), unless('ROLLBACK', 0)],
    });
    h.finish(reading);
    expect(h.output(reading).needsConfirmation).toEqual([true]);
  });
});

describe('a cache that was cleared', () => {
  it('believes an answer that was asked for before at no other read point than its own', () => {
    const cache = new PageCache(1 << 20);
    cache.clear(50);
    cache.putFetched(3, 7, 20, new Uint8Array(4096).fill(1), true);
    expect(cache.peek(3, 20)).not.toBeNull();
    expect(cache.peek(3, 50)).toBeNull();
    cache.putFetched(3, 40, 50, new Uint8Array(4096).fill(2), false);
    expect(cache.peek(3, 60)?.[0]).toBe(2);
  });
});

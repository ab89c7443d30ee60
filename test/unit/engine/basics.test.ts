import { describe, expect, it } from 'vitest';
import { CoreHarness } from '../../support/core-harness.ts';

describe('engine core basics', () => {
  it('creates, inserts, selects', async () => {
    const h = await CoreHarness.create();
    const c = h.connect();
    h.ok(c, 'CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, x REAL, b BLOB)');
    h.ok(c, ['INSERT INTO t VALUES (?, ?, ?, ?)', 1n, 'één', 1.5, new Uint8Array([1, 2])]);
    h.ok(c, ['INSERT INTO t VALUES (?, ?, ?, ?)', 2n, null, null, new Uint8Array(0)]);
    expect(h.rows(c, 'SELECT * FROM t ORDER BY id')).toEqual([
      [1n, 'één', 1.5, new Uint8Array([1, 2])],
      [2n, null, null, new Uint8Array(0)],
    ]);
    expect(h.volume.mtrs.length).toBe(3);
    const d = h.connect();
    expect(h.rows(d, 'SELECT count(*), "double quoted" FROM t')).toEqual([[2n, 'double quoted']]);
    expect(h.rows(d, 'PRAGMA journal_mode')).toEqual([['memory']]);
    expect(h.rows(d, 'PRAGMA page_size')).toEqual([[4096n]]);
  });
});

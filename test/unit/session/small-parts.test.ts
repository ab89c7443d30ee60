import { describe, expect, it } from 'vitest';
import { SqlFailure } from '../../../compute-node/engine/api.ts';
import { parseConsistency, STRONG } from '../../../compute-node/session/consistency.ts';
import { isExpected, reportError, SessionError } from '../../../compute-node/session/errors.ts';
import { DEFAULT_SESSION_LIMITS } from '../../../compute-node/session/limits.ts';
import { StoredSql } from '../../../compute-node/session/stored-sql.ts';
import { transactionWord } from '../../../compute-node/session/transaction-word.ts';
import { TidemarkError } from '../../../src/base/errors.ts';

describe('transactionWord', () => {
  it.each([
    ['BEGIN', 'begin'],
    ['begin immediate', 'begin'],
    [' -- hello\n /* there */ Begin;', 'begin'],
    ['savepoint a', 'begin'],
    ['COMMIT', 'commit'],
    ['end transaction', 'commit'],
    ['ROLLBACK', 'rollback'],
    ['rollback transaction;', 'rollback'],
    ['rollback; to', 'rollback'],
    ['ROLLBACK TO a', 'other'],
    ['rollback /**/ transaction to savepoint a', 'other'],
    ['release a', 'other'],
    ['select 1', 'other'],
    ['beginning', 'other'],
    ['', 'other'],
    ['/* unclosed begin', 'other'],
  ])('%j is %s', (sql, word) => {
    expect(transactionWord(sql)).toBe(word);
  });

  it('takes linear time on long comments and spaces', () => {
    const sql = `${'/* x */ -- y\n'.repeat(20_000)}${' '.repeat(200_000)}rollback`;
    const start = performance.now();
    expect(transactionWord(sql)).toBe('rollback');
    expect(performance.now() - start).toBeLessThan(500);
  });
});

describe('parseConsistency', () => {
  it('is strong unless said otherwise', () => {
    expect(parseConsistency(undefined, null)).toBe(STRONG);
    expect(parseConsistency('session', '42')).toEqual({ level: 'session', minLsn: 42 });
    expect(parseConsistency('snapshot', undefined)).toEqual({ level: 'snapshot', minLsn: 0 });
    expect(parseConsistency(undefined, 7)).toEqual({ level: 'strong', minLsn: 7 });
  });

  it.each([
    ['eventual', null],
    [5, null],
    ['session', '-1'],
    ['session', '1.5'],
    ['session', '99999999999999999'],
    ['session', {}],
  ])('refuses %j at %j', (level, lsn) => {
    expect(() => parseConsistency(level, lsn)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
  });
});

describe('StoredSql', () => {
  const limits = { ...DEFAULT_SESSION_LIMITS, maxStoredSqlCount: 2, maxStoredSqlBytes: 10 };

  it('stores, finds, closes and reuses ids', () => {
    const sqls = new StoredSql(limits);
    sqls.store(1, 'select 1');
    expect(sqls.get(1)).toBe('select 1');
    sqls.close(1);
    sqls.close(1);
    expect(() => sqls.get(1)).toThrow(expect.objectContaining({ code: 'SQL_NOT_STORED' }));
    sqls.store(1, 'select 2');
  });

  it('is bounded in count and bytes', () => {
    const sqls = new StoredSql(limits);
    sqls.store(1, 'a');
    expect(() => sqls.store(2, 'x'.repeat(10))).toThrow(
      expect.objectContaining({ code: 'SQL_STORE_TOO_LARGE' }),
    );
    sqls.store(2, 'b');
    expect(() => sqls.store(3, 'c')).toThrow(expect.objectContaining({ code: 'SQL_STORE_TOO_MANY' }));
  });
});

describe('reportError', () => {
  it('tells what clients and the cluster can cause, and hides the details of bugs', () => {
    const sql = { code: 'SQLITE_ERROR', extendedCode: null, message: 'no', offset: 3 };
    expect(reportError(new SqlFailure(sql))).toEqual({ ...sql, nextStep: null });
    const tidemark = new TidemarkError('NO_QUORUM', 'alone', { nextStep: 'wait' });
    expect(reportError(tidemark)).toMatchObject({ code: 'NO_QUORUM', message: 'alone', nextStep: 'wait' });
    expect(reportError(new SessionError('BATON_REUSED', 'again'))).toMatchObject({ code: 'BATON_REUSED' });
    const bug = new TypeError('secret path /root');
    expect(isExpected(bug)).toBe(false);
    expect(JSON.stringify(reportError(bug))).not.toContain('secret');
  });
});

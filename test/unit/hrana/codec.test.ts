import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SqlValue } from '../../../compute-node/engine/api.ts';
import { decodeBatch, decodeStmt } from '../../../compute-node/hrana/decode-stmt.ts';
import { decodeValue } from '../../../compute-node/hrana/decode-value.ts';
import { encodeError, encodeStmtResult } from '../../../compute-node/hrana/encode-result.ts';
import { encodeRow, encodeValue } from '../../../compute-node/hrana/encode-value.ts';
import { ProtocolError } from '../../../compute-node/hrana/protocol-error.ts';
import { DEFAULT_SESSION_LIMITS } from '../../../compute-node/session/limits.ts';
import { StoredSql } from '../../../compute-node/session/stored-sql.ts';

const malformed = expect.objectContaining({ code: 'BAD_REQUEST' });
const context = (version: 1 | 2 | 3 = 3) => ({
  version,
  sqls: new StoredSql(DEFAULT_SESSION_LIMITS),
  maxConditionDepth: 8,
});

const sqlValue: fc.Arbitrary<SqlValue> = fc.oneof(
  fc.constant(null),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)),
  fc.string({ unit: 'binary' }),
  fc.uint8Array({ maxLength: 40 }),
);

describe('values', () => {
  it('come back as they went, through JSON', () => {
    fc.assert(
      fc.property(fc.array(sqlValue), (row) => {
        const back = (JSON.parse(encodeRow(row)) as unknown[]).map(decodeValue);
        expect(back.map((value) => (value instanceof Uint8Array ? new Uint8Array(value) : value))).toEqual(
          row,
        );
      }),
    );
  });

  it('have the shapes of the specification', () => {
    expect(encodeValue(null)).toBe('{"type":"null"}');
    expect(encodeValue(-(2n ** 63n))).toBe('{"type":"integer","value":"-9223372036854775808"}');
    expect(encodeValue(1)).toBe('{"type":"float","value":1}');
    expect(encodeValue('a"\n\u2028\ud800')).toBe('{"type":"text","value":"a\\"\\n\u2028\\ud800"}');
    expect(encodeValue(new Uint8Array([1]))).toBe('{"type":"blob","base64":"AQ"}');
    expect(encodeValue(new Uint8Array([1, 2, 3]).subarray(1))).toBe('{"type":"blob","base64":"AgM"}');
    expect(encodeValue(new Uint8Array())).toBe('{"type":"blob","base64":""}');
  });

  it('write infinities as JSON that reads as infinities', () => {
    expect(JSON.parse(encodeValue(Number.POSITIVE_INFINITY))).toEqual({ type: 'float', value: Infinity });
    expect(JSON.parse(encodeValue(Number.NEGATIVE_INFINITY))).toEqual({ type: 'float', value: -Infinity });
  });

  it.each(['AQ', 'AQ=='])('take base64 with and without padding: %s', (base64) => {
    expect(decodeValue({ type: 'blob', base64 })).toEqual(Buffer.from([1]));
  });

  it('take small integers sent as numbers, and ignore unknown fields', () => {
    expect(decodeValue({ type: 'integer', value: 5, extra: [] })).toBe(5n);
  });

  it.each([
    [{ type: 'integer', value: '9223372036854775808' }],
    [{ type: 'integer', value: '-9223372036854775809' }],
    [{ type: 'integer', value: '99999999999999999999' }],
    [{ type: 'integer', value: '0x10' }],
    [{ type: 'integer', value: '' }],
    [{ type: 'integer', value: ' 1' }],
    [{ type: 'integer', value: 1.5 }],
    [{ type: 'integer' }],
    [{ type: 'float', value: '1' }],
    [{ type: 'float', value: Infinity }],
    [{ type: 'text', value: 1 }],
    [{ type: 'blob', base64: 'A' }],
    [{ type: 'blob', base64: 'AQ!!' }],
    [{ type: 'blob', base64: 'AQ==AQ' }],
    [{ type: 'blob', base64: 'AQ-_' }],
    [{ type: 'blob' }],
    [{ type: 'boolean', value: true }],
    [{}],
    [null],
    ['text'],
    [[]],
  ])('refuse %j', (json) => {
    expect(() => decodeValue(json)).toThrow(malformed);
  });
});

describe('statements', () => {
  it('default to no arguments and wanted rows', () => {
    expect(decodeStmt({ sql: 'select 1' }, context())).toEqual({
      sql: 'select 1',
      args: [],
      namedArgs: [],
      wantRows: true,
    });
  });

  it('find stored SQL', () => {
    const stored = context();
    stored.sqls.store(-7, 'select 2');
    expect(decodeStmt({ sql_id: -7, want_rows: false, sql: null }, stored)).toMatchObject({
      sql: 'select 2',
      wantRows: false,
    });
    expect(() => decodeStmt({ sql_id: 8 }, stored)).toThrow(
      expect.objectContaining({ code: 'SQL_NOT_STORED' }),
    );
  });

  it('say where they are wrong', () => {
    const bad = { sql: '', args: [{ type: 'null' }, { type: 'float', value: 'x' }] };
    expect(() => decodeStmt(bad, context())).toThrow(
      'args[1]: a float value must be a number, but is string',
    );
    const batch = { steps: [{ stmt: { sql: '' } }, { stmt: { sql: '', named_args: [{ name: 3 }] } }] };
    expect(() => decodeBatch(batch, context())).toThrow('steps[1]: named_args[0]: the name must be a string');
  });

  it.each([
    [{}],
    [{ sql: 1 }],
    [{ sql: 'a', sql_id: 1 }],
    [{ sql_id: 1.5 }],
    [{ sql: 'a', args: {} }],
    [{ sql: 'a', want_rows: 'yes' }],
    [null],
    [7],
  ])('refuse %j', (json) => {
    expect(() => decodeStmt(json, context())).toThrow(malformed);
  });
});

describe('batches', () => {
  const withCondition = (condition: unknown, version: 1 | 2 | 3 = 3) =>
    decodeBatch({ steps: [{ stmt: { sql: 'a' } }, { condition, stmt: { sql: 'b' } }] }, context(version))[1]!
      .condition;

  it('decode every condition', () => {
    const condition = {
      type: 'and',
      conds: [
        { type: 'ok', step: 0 },
        {
          type: 'or',
          conds: [
            { type: 'error', step: 0 },
            { type: 'not', cond: { type: 'is_autocommit' } },
          ],
        },
      ],
    };
    expect(withCondition(condition)).toEqual({
      kind: 'and',
      conds: [
        { kind: 'ok', step: 0 },
        {
          kind: 'or',
          conds: [
            { kind: 'error', step: 0 },
            { kind: 'not', cond: { kind: 'is-autocommit' } },
          ],
        },
      ],
    });
    expect(withCondition(null)).toBeNull();
  });

  it.each([
    [{ type: 'ok', step: 2 }],
    [{ type: 'ok', step: -1 }],
    [{ type: 'ok' }],
    [{ type: 'maybe' }],
    [{ type: 'not' }],
    [{ type: 'and', conds: null }],
    ['ok'],
  ])('refuse the condition %j', (condition) => {
    expect(() => withCondition(condition)).toThrow(malformed);
  });

  it('bound the depth of conditions', () => {
    let condition: object = { type: 'ok', step: 0 };
    for (let i = 0; i < 8; i++) condition = { type: 'not', cond: condition };
    expect(() => withCondition(condition)).toThrow('nested deeper than 8');
  });

  it('know which version brought what', () => {
    expect(() => withCondition({ type: 'is_autocommit' }, 2)).toThrow(ProtocolError);
    expect(() => decodeStmt({ sql_id: 1 }, context(1))).toThrow(ProtocolError);
  });
});

describe('results', () => {
  it('are JSON whatever names and types columns have', () => {
    const end = {
      kind: 'step-end',
      step: 0,
      affectedRows: 3,
      lastInsertRowid: 2n ** 60n,
      rowsRead: 1,
      rowsWritten: 2,
      durationMs: 0.5,
    } as const;
    expect(
      JSON.parse(encodeStmtResult('[{"name":"a\\"","decltype":null}]', '[{"type":"null"}]', end)),
    ).toEqual({
      cols: [{ name: 'a"', decltype: null }],
      rows: [[{ type: 'null' }]],
      affected_row_count: 3,
      last_insert_rowid: '1152921504606846976',
      rows_read: 1,
      rows_written: 2,
      query_duration_ms: 0.5,
    });
  });

  it('carry errors with the place and the next step in the message', () => {
    const error = {
      code: 'SQLITE_ERROR',
      message: 'near "x"',
      nextStep: 'look',
      extendedCode: null,
      offset: 4,
    };
    expect(JSON.parse(encodeError(error))).toEqual({
      message: 'near "x" (at offset 4); look',
      code: 'SQLITE_ERROR',
      offset: 4,
      next_step: 'look',
    });
  });
});

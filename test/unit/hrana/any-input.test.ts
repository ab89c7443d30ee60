/** Whatever JSON comes in, decoding gives a request or a typed error, never anything else. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { asObject } from '../../../compute-node/hrana/json-read.ts';
import { decodeLegacyStatements } from '../../../compute-node/hrana/legacy.ts';
import { decodeStreamRequest } from '../../../compute-node/hrana/stream-request.ts';
import { SessionError } from '../../../compute-node/session/errors.ts';
import { DEFAULT_SESSION_LIMITS } from '../../../compute-node/session/limits.ts';
import { StoredSql } from '../../../compute-node/session/stored-sql.ts';

/** Objects made of the protocol's own words, with anything in their places. */
const { message } = fc.letrec<{ message: unknown }>((tie) => ({
  message: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    fc.constantFrom(
      'execute',
      'batch',
      'integer',
      'text',
      'blob',
      'ok',
      'not',
      'and',
      'is_autocommit',
      '__proto__',
    ),
    fc.jsonValue({ maxDepth: 1 }),
    fc.array(tie('message'), { maxLength: 3 }),
    fc.dictionary(
      fc.constantFrom(
        ...['type', 'stmt', 'batch', 'steps', 'condition', 'cond', 'conds', 'step', 'sql', 'sql_id', 'args'],
        ...['named_args', 'name', 'value', 'base64', 'want_rows', 'statements', 'q', 'params', '__proto__'],
      ),
      tie('message'),
    ),
  ),
}));

it('decodes or refuses', () => {
  const context = { version: 3 as const, sqls: new StoredSql(DEFAULT_SESSION_LIMITS), maxConditionDepth: 8 };
  fc.assert(
    fc.property(message, fc.constantFrom('execute', 'batch', 'sequence', 'describe'), (json, type) => {
      for (const decode of [
        () => decodeStreamRequest(type, asObject(json, 'request'), context),
        () => decodeStreamRequest(type, { stmt: json, batch: { steps: [{ stmt: json }] } }, context),
        () => decodeLegacyStatements(json),
        () => decodeLegacyStatements([json]),
      ]) {
        try {
          decode();
        } catch (error) {
          expect(error).toBeInstanceOf(SessionError);
        }
      }
    }),
    { numRuns: 2000 },
  );
});

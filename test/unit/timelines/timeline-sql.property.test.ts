/** Whatever text comes in: a statement or an error with a place; scripts cut without loss; programs in pieces decided as in one. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Condition, ProgramEvent, Step } from '../../../compute-node/engine/api.ts';
import { SqlFailure } from '../../../compute-node/engine/api.ts';
import { TimelineConnection } from '../../../compute-node/timelines/sql/connection.ts';
import { splitScript, timelineStatementKind } from '../../../compute-node/timelines/sql/find.ts';
import { parseTimelineStatement } from '../../../compute-node/timelines/sql/parse.ts';
import { MemoryEngine } from '../../support/memory-engine.ts';
import { MemoryTimelines } from '../../support/memory-timelines.ts';

const piece = fc.constantFrom(
  ...['create', 'CLONE', 'clone', 'drop', 'volume', 'Snapshot', 'snapshots', 'volumes', 'show', 'backtrack'],
  ...['to', 'AT', 'from', 'of', 'dev', 'my-dev', "'-5m'", "'it''s'", '"a"', '[b]', '`c`', "'", '"', '[', '`'],
  ...[
    '?',
    '?2',
    ':a',
    '@b',
    '$c',
    ';',
    ';;',
    '--',
    '-- x\n',
    '/*',
    '*/',
    '/* ; */',
    '-',
    '@',
    'é',
    '\n',
    '\t',
    '',
  ],
  ...['select 1', "insert into t values (';')", 'begin', 'end', '😀', '\0'],
);
const heads = [
  '',
  '',
  'create clone ',
  'create snapshot ',
  'drop volume ',
  'drop snapshot ',
  'backtrack ',
  'show snapshots ',
];
const text = fc
  .tuple(
    fc.constantFrom(...heads),
    fc.array(fc.tuple(piece, fc.constantFrom(' ', ' ', '', '\n')), { maxLength: 14 }),
  )
  .map(([head, words]) => head + words.map(([word, gap]) => word + gap).join(''));

it('parses or tells a place in the text', () => {
  fc.assert(
    fc.property(text, (sql) => {
      if (timelineStatementKind(sql) === null) return;
      try {
        parseTimelineStatement({
          sql,
          args: ['first', 'second'],
          namedArgs: [
            { name: 'a', value: 'x' },
            { name: '$c', value: 'y' },
          ],
        });
      } catch (error) {
        expect(error).toBeInstanceOf(SqlFailure);
        const { code, offset } = (error as SqlFailure).error;
        if (code === 'SQLITE_ERROR') expect(offset).toBeLessThanOrEqual(Buffer.byteLength(sql));
        else expect(code).toBe('BAD_REQUEST');
      }
    }),
    { numRuns: 3_000 },
  );
});

it('cuts scripts without losing or moving anything', () => {
  fc.assert(
    fc.property(text, (script) => {
      const parts = splitScript(script) ?? [];
      const bytes = Buffer.from(script);
      let end = 0;
      for (const { kind, text: part, offset } of parts) {
        expect(bytes.subarray(end, offset).toString().trim()).toBe('');
        end = offset + Buffer.byteLength(part);
        expect(bytes.subarray(offset, end).toString()).toBe(part);
        expect(timelineStatementKind(part) === null && kind === 'timeline').toBe(false);
      }
      if (parts.length > 0) expect(bytes.subarray(end).toString().trim()).toBe('');
    }),
    { numRuns: 3_000 },
  );
});

/** Ours and SQLite's, each in a kind that succeeds and one that fails. */
const statement = fc.constantFrom('show volumes', 'drop volume missing', 'select 1', 'select nothing');
const condition = (step: number): fc.Arbitrary<Condition | null> => {
  const leaf: fc.Arbitrary<Condition> = fc.oneof(
    fc.record({ kind: fc.constantFrom('ok' as const, 'error' as const), step: fc.nat({ max: step }) }),
    fc.constant<Condition>({ kind: 'is-autocommit' }),
  );
  const { any } = fc.letrec<{ any: Condition }>((tie) => ({
    any: fc.oneof(
      { maxDepth: 2 },
      leaf,
      fc.record({ kind: fc.constant('not' as const), cond: tie('any') }),
      fc.record({
        kind: fc.constantFrom('and' as const, 'or' as const),
        conds: fc.array(tie('any'), { maxLength: 3 }),
      }),
    ),
  }));
  return fc.option(any, { nil: null });
};
const program = fc
  .array(statement, { minLength: 1, maxLength: 6 })
  .chain((sqls) =>
    fc.tuple(...sqls.map((sql, i) => fc.record({ sql: fc.constant(sql), condition: condition(i) }))),
  );

it('decides the steps of a program in pieces as an engine decides them in one', async () => {
  const engine = new MemoryEngine();
  const connection = await TimelineConnection.open(() => engine.connect({ readonly: false }), {
    timelines: new MemoryTimelines(),
    volume: 'main',
    moment: null,
  });
  const plain = await engine.connect({ readonly: false });
  const outcomes = async (on: Pick<TimelineConnection, 'run'>, steps: readonly Step[]): Promise<string[]> => {
    const came: string[] = [];
    await on.run(steps, {
      consistency: 'strong',
      onEvent: (event: ProgramEvent) => {
        if (event.kind !== 'rows' && event.kind !== 'step-begin') came.push(`${event.step} ${event.kind}`);
      },
    });
    return came;
  };
  const stepOf = (sql: string, when: Condition | null): Step => ({
    statement: { sql, args: [], namedArgs: [], wantRows: true },
    condition: when,
  });
  await fc.assert(
    fc.asyncProperty(program, async (steps) => {
      const inOne = steps.map(({ sql, condition: when }) => {
        const succeeds = sql === 'show volumes' || sql === 'select 1';
        return stepOf(succeeds ? 'select 1' : 'select nothing', when);
      });
      const mixed = steps.map(({ sql, condition: when }) => stepOf(sql, when));
      expect(await outcomes(connection, mixed)).toEqual(await outcomes(plain, inOne));
    }),
    { numRuns: 300 },
  );
  await connection.close();
  await plain.close();
  await engine.close();
});

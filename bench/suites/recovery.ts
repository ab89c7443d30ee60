/**
 * How long another compute node needs from being asked for a volume to its first commit there, over the number of redo records that the one before it
 * wrote just now: it wins the epoch, fences, computes, and replays nothing. The taker runs already, and holds another volume; its read lease is
 * waited for by reads, not by commits.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { open } from '../../client/open.ts';
import type { Client } from '../../client/types.ts';
import { median } from '../contest.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import type { Suite, SuiteContext } from '../suite.ts';
import { ratio } from '../target.ts';

/** Four rows on each page, and one statement changes a few bytes on all of them. */
const ROWS = 6_000;
const ROW_CHARS = 1_000;

interface Recovery {
  readonly records: number;
  readonly rounds: readonly number[];
  readonly medianMs: number;
}

export const recovery: Suite = {
  name: 'recovery',
  about: 'take-over to first commit, over the length of the log',
  run: async (context) => {
    const { own } = await context.cluster({ withoutCompute: true });
    if (own === null) {
      throw new TidemarkError('UNSUPPORTED', 'volumes of a cluster at --url are not taken over', {
        nextStep: 'Leave out --url: the benchmark then starts a cluster of its own.',
      });
    }
    const lengths = context.isQuick ? [10_000, 100_000] : [10_000, 100_000, 1_000_000];
    const taker = await open({ nodes: own.nodes });
    context.closeLater(() => taker.close());
    const recoveries: Recovery[] = [];
    for (const records of lengths) {
      const rounds: number[] = [];
      for (let round = 0; round < context.load.rounds; round++) {
        context.say(`${records.toLocaleString('en')} records, round ${round + 1} of ${context.load.rounds}…`);
        const volume = `recovery-${records}-${round}`;
        await writeRecords(own.nodes, volume, records, context);
        rounds.push(await takeOver(taker, volume));
      }
      recoveries.push({ records, rounds, medianMs: median(rounds) });
    }
    const [short, long] = [recoveries[0]!, recoveries.at(-1)!];
    const target = ({ records, medianMs }: Recovery) =>
      ({
        name: `recovery to first commit after ${records.toLocaleString('en')} records`,
        wanted: 300,
        is: 'at-most',
        unit: 'ms',
        found: medianMs,
      }) as const;
    return {
      tables: [
        {
          title: `Take-over to first commit, median of ${context.load.rounds}`,
          head: ['records', 'ms', 'fastest', 'slowest'],
          rows: recoveries.map(({ records, rounds, medianMs }) => [
            records.toLocaleString('en'),
            medianMs.toFixed(0),
            Math.min(...rounds).toFixed(0),
            Math.max(...rounds).toFixed(0),
          ]),
        },
      ],
      targets: [
        target(short),
        target(long),
        {
          name: `recovery after ${long.records.toLocaleString('en')} records, to that after ${short.records.toLocaleString('en')}`,
          wanted: 1.3,
          is: 'at-most',
          unit: '×',
          found: ratio(long.medianMs, short.medianMs),
        },
      ],
      results: recoveries,
    };
  },
};

async function writeRecords(
  nodes: readonly ClusterNode[],
  volume: string,
  records: number,
  context: SuiteContext,
): Promise<void> {
  const writer = await open({ nodes, volume, create: true });
  try {
    await writer.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, v TEXT NOT NULL)');
    await writer.execute(
      `INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS})
       SELECT i, 0, hex(randomblob(${ROW_CHARS / 2})) FROM n`,
    );
    const pages = Number((await writer.execute('PRAGMA page_count')).rows[0]![0]);
    const statements = Math.max(1, Math.round(records / pages));
    context.say(`  ${statements} statements over ${pages} pages…`);
    for (let i = 0; i < statements; i++) await writer.execute('UPDATE t SET n = n + 1');
  } finally {
    await writer.close();
  }
}

/** Milliseconds. */
async function takeOver(taker: Client, volume: string): Promise<number> {
  const client = taker.volume(volume);
  const startedMs = performance.now();
  await client.execute('UPDATE t SET n = -1 WHERE id = 1');
  const tookMs = performance.now() - startedMs;
  await client.close();
  return tookMs;
}

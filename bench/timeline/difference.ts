/** The difference between the largest volume and a clone of it in which a hundred rows were changed. */
import { TidemarkError } from '../../src/base/errors.ts';
import { median } from '../contest.ts';
import { payload } from '../workloads/rows.ts';
import { atMost, type Part } from './part.ts';
import { cloneOf, connect, TABLE, timed } from './setting.ts';

const CHANGED_ROWS = 100;
const CLONE = 'differs';

export const difference: Part = {
  name: 'diff',
  run: async (setting) => {
    const { admin, context, sizes } = setting;
    const { volume, rows, sizeBytes } = sizes.at(-1)!;
    const rounds = context.isQuick ? 3 : 5;
    await cloneOf(setting, volume, CLONE);
    const client = await connect(setting, CLONE);
    // Far from each other, so that each is on a page of its own.
    await client.batch(
      Array.from({ length: CHANGED_ROWS }, (_, i) => ({
        sql: `UPDATE ${TABLE} SET v = ? WHERE id = ?`,
        args: [payload(), 1 + Math.floor((i * rows) / CHANGED_ROWS)],
      })),
      'write',
    );
    client.close();
    const took: number[] = [];
    for (let round = 0; round < rounds; round++) {
      context.say(`diff, round ${round + 1} of ${rounds}…`);
      took.push(
        await timed(async () => {
          const events = await admin.events<{ readonly kind: string }>('/-/diff', {
            from: volume,
            to: CLONE,
          });
          const found = events.filter(({ kind }) => kind === 'update').length;
          if (found !== CHANGED_ROWS) {
            throw new TidemarkError('CORRUPT', `the diff found ${found} changed rows, not ${CHANGED_ROWS}`);
          }
        }),
      );
    }
    const [firstMs] = took;
    return {
      tables: [
        {
          title: `Diff of ${CHANGED_ROWS} changed rows in ${Math.round(sizeBytes / 1e6)} MB`,
          head: ['', 'ms'],
          rows: [
            ['the first', firstMs!.toFixed(0)],
            [`median of ${rounds}`, median(took).toFixed(0)],
          ],
        },
      ],
      targets: [
        atMost(`diff of ${CHANGED_ROWS} changed rows in the largest volume`, 1, 's', median(took) / 1_000),
      ],
      results: took,
    };
  },
};

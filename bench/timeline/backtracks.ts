/**
 * A backtrack from the request to the answer of the first statement: at the three sizes, and over short and long distances; in between it is gone forward
 * again, which is a backtrack as well.
 */
import { median } from '../contest.ts';
import { ratio } from '../target.ts';
import { atMost, type Part } from './part.ts';
import { commitUpdates, connect, firstAnswer, statusOf, timed } from './setting.ts';

const NEAR_COMMITS = 10;

export const backtracks: Part = {
  name: 'backtrack',
  run: async (setting) => {
    const { admin, context, sizes } = setting;
    const rounds = context.isQuick ? 3 : 9;
    const farCommits = context.isQuick ? 500 : 5_000;
    const took: { factor: number; distance: 'near' | 'far'; ms: number[] }[] = [];
    const points: { readonly volume: string; readonly near: number; readonly far: number }[] = [];
    for (const { volume, rows } of sizes) {
      context.say(`${farCommits} commits to go back over…`);
      const client = await connect(setting, volume);
      const durable = async (): Promise<number> => (await statusOf(setting, volume)).vdl;
      await commitUpdates(client, rows, 1);
      const far = await durable();
      await commitUpdates(client, rows, farCommits - NEAR_COMMITS);
      const near = await durable();
      await commitUpdates(client, rows, NEAR_COMMITS);
      client.close();
      points.push({ volume, near, far });
    }
    for (let round = 0; round <= rounds; round++) {
      context.say(`backtracks, round ${round} of ${rounds}…`);
      for (const distance of ['near', 'far'] as const) {
        for (const [i, { factor }] of sizes.entries()) {
          const { volume } = points[i]!;
          const back = async (to: string): Promise<string> => {
            const body = { to };
            return (await admin.json<{ undo: string }>('POST', `/-/volumes/${volume}/backtrack`, body)).undo;
          };
          let undo = '';
          const ms = await timed(async () => {
            undo = await back(`lsn:${points[i]![distance]}`);
            await firstAnswer(setting, volume);
          });
          const found = took.find((one) => one.factor === factor && one.distance === distance);
          if (round === 0) took.push({ factor, distance, ms: [] });
          else found?.ms.push(ms);
          await back(undo);
          await firstAnswer(setting, volume);
        }
      }
    }
    const at = (factor: number, distance: 'near' | 'far'): number =>
      median(took.find((one) => one.factor === factor && one.distance === distance)?.ms ?? []);
    return {
      tables: [
        {
          title: `Backtrack, request to first statement answered, median of ${rounds}`,
          head: ['', `${NEAR_COMMITS} commits, ms`, `${farCommits} commits, ms`],
          rows: sizes.map(({ factor }) => [
            `${factor}×`,
            at(factor, 'near').toFixed(1),
            at(factor, 'far').toFixed(1),
          ]),
        },
      ],
      targets: [
        atMost('backtrack, first statement answered, at 100×, far', 250, 'ms', at(100, 'far')),
        atMost("backtrack at 100×, to 1×'s", 1.2, '×', ratio(at(100, 'far'), at(1, 'far'))),
        atMost('backtrack far, to near', 1.2, '×', ratio(at(100, 'far'), at(100, 'near'))),
      ],
      results: took,
    };
  },
};

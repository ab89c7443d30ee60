/** A clone at the three sizes, from the request to the answer of the first query, the sizes taking turns. */
import { median } from '../contest.ts';
import { ratio } from '../target.ts';
import { atMost, type Part } from './part.ts';
import { cloneOf, dropVolume, firstAnswer, timed } from './setting.ts';

export const clones: Part = {
  name: 'clone',
  run: async (setting) => {
    const { context, sizes } = setting;
    const rounds = context.isQuick ? 5 : 15;
    const took = new Map<number, number[]>(sizes.map(({ factor }) => [factor, []]));
    for (const { volume } of sizes) await firstAnswer(setting, volume);
    // The first round is not counted: code that never ran before is no part of a clone.
    for (let round = 0; round <= rounds; round++) {
      context.say(`clones, round ${round} of ${rounds}…`);
      for (const { factor, volume } of sizes) {
        const clone = `clone-${factor}-${round}`;
        const ms = await timed(async () => {
          await cloneOf(setting, volume, clone);
          await firstAnswer(setting, clone);
        });
        if (round > 0) took.get(factor)?.push(ms);
        await dropVolume(setting, clone);
      }
    }
    const medians = sizes.map(({ factor }) => median(took.get(factor) ?? []));
    return {
      tables: [
        {
          title: `Clone, request to first query answered, median of ${rounds}`,
          head: ['', 'MB', 'ms'],
          rows: sizes.map(({ factor, sizeBytes }, i) => [
            `${factor}×`,
            (sizeBytes / 1e6).toFixed(1),
            medians[i]!.toFixed(1),
          ]),
        },
      ],
      targets: [
        atMost('clone, first query answered, at 100×', 100, 'ms', medians.at(-1)!),
        atMost("clone at 100×, to 1×'s", 1.2, '×', ratio(medians.at(-1), medians[0])),
      ],
      results: Object.fromEntries(took),
    };
  },
};

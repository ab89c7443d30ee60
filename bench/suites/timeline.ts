/** Clones, backtracks, diffs and the window at 1×, 10× and 100× volume size. Each part is a file under timeline/. */
import type { Suite, SuiteOutcome } from '../suite.ts';
import { backtracks } from '../timeline/backtracks.ts';
import { clones } from '../timeline/clones.ts';
import { depth } from '../timeline/depth.ts';
import { difference } from '../timeline/difference.ts';
import { many } from '../timeline/many.ts';
import type { Part } from '../timeline/part.ts';
import { prepareSetting } from '../timeline/setting.ts';
import { window } from '../timeline/window.ts';

const PARTS: readonly Part[] = [clones, difference, backtracks, depth, window, many];

export const timeline: Suite = {
  name: 'timeline',
  about: 'clones, backtracks, diffs and the window, at 1×, 10× and 100× volume size',
  run: async (context) => {
    const setting = await prepareSetting(context);
    const outcomes: SuiteOutcome[] = [];
    for (const part of PARTS) outcomes.push(await part.run(setting));
    return {
      tables: [
        {
          title: 'Volumes',
          head: ['', 'MB', 'rows', 'imported at MB/s'],
          rows: setting.sizes.map(({ factor, sizeBytes, rows, importSeconds }) => [
            `${factor}×`,
            (sizeBytes / 1e6).toFixed(1),
            rows.toLocaleString('en'),
            (sizeBytes / 1e6 / importSeconds).toFixed(1),
          ]),
        },
        ...outcomes.flatMap(({ tables }) => tables),
      ],
      targets: outcomes.flatMap(({ targets }) => targets),
      results: {
        sizes: setting.sizes,
        ...Object.fromEntries(PARTS.map(({ name }, i) => [name, outcomes[i]!.results])),
      },
    };
  },
};

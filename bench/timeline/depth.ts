/**
 * Reads of a clone ten clones deep beside those of the root, each level with changes of its own, as many as the root had meanwhile: warm, of rows in the
 * page cache; and cold, right after a start of the compute node, rows here and there and all of them.
 */
import { contest, findStanding, median } from '../contest.ts';
import { ratio } from '../target.ts';
import { contenderOf } from '../ways/crew.ts';
import { wsWay } from '../ways/ws.ts';
import { anyId } from '../workloads/rows.ts';
import { atMost, type Part } from './part.ts';
import { cloneOf, connect, SELECT, type Setting, sleep, TABLE, timed, updateRows } from './setting.ts';

const DEPTH = 10;
const WARM_ROWS = 2_000;
const WARM_CLIENTS = 8;
/** For what was written to come into page form. */
const SETTLE_MS = 5_000;

interface Cold {
  readonly volume: string;
  readonly selectsMs: number;
  readonly scanMs: number;
}

export const depth: Part = {
  name: 'depth',
  run: async (setting) => {
    const { context, own, sizes } = setting;
    const { volume: root, rows, factor } = sizes[1]!;
    const updates = context.isQuick ? 200 : 2_000;
    let deepest = root;
    for (let level = 1; level <= DEPTH; level++) {
      context.say(`clone ${level} of clones…`);
      const clone = `deep-${level}`;
      await cloneOf(setting, deepest, clone);
      await update(setting, clone, rows, updates);
      deepest = clone;
    }
    await update(setting, root, rows, DEPTH * updates);
    await sleep(SETTLE_MS);

    const standings = await contest({
      contenders: [root, deepest].map((volume) =>
        contenderOf({ ...wsWay(setting.target(volume)), name: volume }, (client) => async () => {
          await client.run(SELECT, [anyId(WARM_ROWS)]);
        }),
      ),
      clients: [WARM_CLIENTS],
      load: context.load,
      say: context.say,
    });
    const warm = (volume: string) => findStanding(standings, volume, WARM_CLIENTS);

    const colds: Cold[] = [];
    for (let round = 0; round < context.load.rounds; round++) {
      context.say(`cold reads, round ${round + 1} of ${context.load.rounds}…`);
      await own.restartCompute();
      // Who comes second finds warm disks and code: so each is second now and then.
      const order = round % 2 === 0 ? [root, deepest] : [deepest, root];
      for (const volume of order) colds.push(await readCold(setting, volume, rows));
    }
    const cold = (volume: string, field: 'selectsMs' | 'scanMs'): number =>
      median(colds.filter((one) => one.volume === volume).map((one) => one[field]));
    const row = (name: string, volume: string): readonly string[] => [
      name,
      Math.round(warm(volume)?.perSecond ?? Number.NaN).toLocaleString('en'),
      cold(volume, 'selectsMs').toFixed(0),
      cold(volume, 'scanMs').toFixed(0),
    ];
    return {
      tables: [
        {
          title: `Reads of a clone ${DEPTH} deep, at ${factor}×`,
          head: ['', 'warm selects/s', `${COLD_SELECTS} cold selects, ms`, 'cold scan, ms'],
          rows: [row('root', root), row(`${DEPTH} deep`, deepest)],
        },
      ],
      targets: [
        atMost(
          "warm reads, time to the root's",
          1.1,
          '×',
          ratio(warm(root)?.perSecond, warm(deepest)?.perSecond),
        ),
        ...(['selectsMs', 'scanMs'] as const).map((field) =>
          atMost(
            `cold ${field === 'selectsMs' ? 'selects' : 'scan'}, time to the root's`,
            1.5,
            '×',
            ratio(cold(deepest, field), cold(root, field)),
          ),
        ),
      ],
      results: { standings, colds },
    };
  },
};

const COLD_SELECTS = 500;

async function update(setting: Setting, volume: string, rows: number, count: number): Promise<void> {
  const client = await connect(setting, volume);
  await updateRows(client, rows, count);
  client.close();
}

async function readCold(setting: Setting, volume: string, rows: number): Promise<Cold> {
  const client = await connect(setting, volume);
  try {
    // The volume is open, and its schema read.
    await client.run(SELECT, [1]);
    const selectsMs = await timed(async () => {
      for (let i = 0; i < COLD_SELECTS; i++) await client.run(SELECT, [anyId(rows)]);
    });
    const scanMs = await timed(() => client.run(`SELECT sum(length(v)) FROM ${TABLE}`, []));
    return { volume, selectsMs, scanMs };
  } finally {
    client.close();
  }
}

/** A thousand live clones of one volume: made in one go, every one of them read; what they cost the storage nodes in memory and on disk. */
import { atMost, type Part } from './part.ts';
import { cloneOf, firstAnswer, sleep, timed } from './setting.ts';
import { mostGrown, storageUse } from './storage-use.ts';

const KIB = 1_024;
const MIB = 1_024 * KIB;
/** Requests at a time. */
const CONCURRENCY = 4;
const SETTLE_MS = 5_000;

export const many: Part = {
  name: 'many',
  run: async (setting) => {
    const { context, own, sizes } = setting;
    const { volume } = sizes[0]!;
    const count = context.isQuick ? 50 : 1_000;
    const names = Array.from({ length: count }, (_, i) => `many-${i + 1}`);
    await firstAnswer(setting, volume);
    const before = storageUse(own);
    context.say(`${count} clones…`);
    const madeMs = await timed(() => inTurns(names, (name) => cloneOf(setting, volume, name)));
    context.say('asking every one of them…');
    const askedMs = await timed(() => inTurns(names, (name) => firstAnswer(setting, name)));
    await sleep(SETTLE_MS);
    const after = storageUse(own);
    const memory = mostGrown(before, after, 'residentBytes');
    const perSegment = mostGrown(before, after, 'storeBytes') / count;
    const rate = (ms: number): string => (count / (ms / 1_000)).toFixed(1);
    return {
      tables: [
        {
          title: `${count} clones of one volume, ${CONCURRENCY} requests at a time`,
          head: ['', ''],
          rows: [
            ['made, per second', rate(madeMs)],
            ['opened and read, per second', rate(askedMs)],
            ['memory of a storage node grew by, MiB', (memory / MIB).toFixed(1)],
            ['disk per segment, KiB', (perSegment / KIB).toFixed(2)],
          ],
          note: 'Of the storage node where it is most.',
        },
      ],
      targets: [
        atMost(`memory of a storage node, after ${count} clones`, 64, 'MiB', memory / MIB),
        atMost('disk of a clone, per segment', 8, 'KiB', perSegment / KIB),
      ],
      results: { count, madeMs, askedMs, before, after },
    };
  },
};

async function inTurns(names: readonly string[], work: (name: string) => Promise<void>): Promise<void> {
  const left = [...names];
  const one = async (): Promise<void> => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) await work(name);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, one));
}

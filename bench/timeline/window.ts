/**
 * What the storage nodes keep for the window: one-row commits over a volume whose window holds all of them, beside the redo that they were. What the nodes
 * take is read from the disk, after what was written has come into page form.
 */
import { atMost, type Part } from './part.ts';
import { cloneOf, commitUpdates, connect, sleep, statusOf } from './setting.ts';
import { mostGrown, storageUse } from './storage-use.ts';

const CLIENTS = 16;
const VOLUME = 'window';
/** The store's own compaction follows behind. */
const SETTLE_MS = 10_000;

export const window: Part = {
  name: 'window',
  run: async (setting) => {
    const { context, own, sizes } = setting;
    const { volume, rows } = sizes[1]!;
    const commits = context.isQuick ? 5_000 : 100_000;
    await cloneOf(setting, volume, VOLUME);
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => connect(setting, VOLUME)));
    await sleep(SETTLE_MS);
    const before = storageUse(own);
    const redoBefore = (await statusOf(setting, VOLUME)).redoBytes;
    context.say(`${commits} commits…`);
    await Promise.all(clients.map((client) => commitUpdates(client, rows, Math.ceil(commits / CLIENTS))));
    const redoBytes = (await statusOf(setting, VOLUME)).redoBytes - redoBefore;
    for (const client of clients) client.close();
    await sleep(SETTLE_MS);
    const after = storageUse(own);
    const keptBytes = mostGrown(before, after, 'storeBytes');
    return {
      tables: [
        {
          title: `Storage of the window, ${commits} commits`,
          head: ['', 'MB'],
          rows: [
            ['redo written', (redoBytes / 1e6).toFixed(1)],
            ['disk of a storage node grew by', (keptBytes / 1e6).toFixed(1)],
          ],
          note: 'Of the storage node where it is most.',
        },
      ],
      targets: [atMost('storage of the window, to the redo written in it', 1.3, '×', keptBytes / redoBytes)],
      results: { commits, redoBytes, before, after },
    };
  },
};

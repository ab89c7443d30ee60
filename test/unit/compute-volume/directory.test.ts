/** The directory over real storage-node cores in memory: what becomes of a volume that is given up by others while it is being made. */
import { afterEach, describe, expect, it } from 'vitest';
import { openDirectory } from '../../../compute-node/driver/directory.ts';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import { nodeRandom } from '../../../src/adapters/random.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { decodeRetention, encodeRetention } from '../../../src/register/codec.ts';
import { placeOf } from '../../../src/register/place.ts';
import { TEST_NODES } from '../../support/storage-cluster.ts';
import { MemoryTransport } from '../../support/writer-memory-transport.ts';

const toClose: { close(): void }[] = [];
afterEach(() => {
  for (const thing of toClose.splice(0).reverse()) thing.close();
});

describe('a volume that is being made', () => {
  it('is not told to be there, and has no name, when it was given up meanwhile', async () => {
    const transport = new MemoryTransport();
    toClose.push(transport);
    const directory = await openDirectory({
      ...{ random: nodeRandom, clock: nodeClock, timers: nodeTimers, logger: silentLogger },
      clients: transport.clients,
      nodes: TEST_NODES,
    });
    toClose.push(directory);
    const giveName = directory.giveName.bind(directory);
    directory.giveName = async (mine) => {
      await directory.registers.changeVolume('retention', mine.volume, placeOf(mine), (bytes) =>
        bytes === null ? null : encodeRetention({ ...decodeRetention(bytes), dropped: true }),
      );
      await giveName(mine);
    };
    await expect(directory.createVolume('main')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await directory.lookup('main')).toBeNull();
    directory.giveName = giveName;
    const again = await directory.createVolume('main');
    expect((await directory.lookup('main'))?.volume).toBe(again.volume);
  });
});

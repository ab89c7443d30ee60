/**
 * Registers that move, over real storage-node cores in memory. Old and new place have the same six nodes here, which is as close as two places can
 * be: only the generation in the key keeps them apart.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { openDirectory } from '../../../compute-node/driver/directory.ts';
import { commitManifest } from '../../../compute-node/driver/manifest-commit.ts';
import type { StorageNodeClients } from '../../../compute-node/driver/registers.ts';
import { takeOverVolume } from '../../../compute-node/driver/take-over.ts';
import type { TakenOver } from '../../../compute-node/volume/taken-over.ts';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import { nodeRandom } from '../../../src/adapters/random.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { StorageNodeClient } from '../../../src/env/transport.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import { decodeRetention, encodeRetention } from '../../../src/register/codec.ts';
import { decodeMoved, encodeMoved, placeOf, registerKey } from '../../../src/register/place.ts';
import { TEST_NODES } from '../../support/storage-cluster.ts';
import { MemoryTransport } from '../../support/writer-memory-transport.ts';

const SIX: readonly NodeId[] = TEST_NODES.map(({ nodeId }) => nodeId);
const NEW_PLACE = { members: SIX, generation: 1 };
const NEWEST_PLACE = { members: [...SIX].reverse(), generation: 3 };
const toClose: { close(): void }[] = [];
afterEach(() => {
  for (const thing of toClose.splice(0).reverse()) thing.close();
});

async function world() {
  const transport = new MemoryTransport();
  toClose.push(transport);
  const common = { random: nodeRandom, clock: nodeClock, timers: nodeTimers, logger: silentLogger };
  const directory = await openDirectory({
    ...common,
    clients: transport.clients,
    nodes: TEST_NODES,
    timeoutMs: 1_500,
  });
  toClose.push(directory);
  const name = await directory.createVolume('main', { pgPages: 4 });
  const take = (): Promise<TakenOver> =>
    takeOverVolume({
      ...common,
      name,
      cluster: directory.cluster,
      clients: transport.clients,
      computeId: 'c1',
      force: true,
      timeoutMs: 5_000,
      crc32: nodeCrc32,
    });
  const commit = (
    { epoch, manifest, manifestVersion, registerPlace }: TakenOver,
    clients: StorageNodeClients = transport.clients,
  ) =>
    commitManifest({
      clients,
      clusterId: directory.cluster.clusterId,
      epoch,
      proposal: { version: manifestVersion + 1, manifest, place: registerPlace, moveTo: NEW_PLACE },
    });
  const { registers } = directory;
  return { transport, directory, registers, name, volume: name.volume, take, commit };
}

/** Nothing about registers of the new place comes through. */
function stoppedHalfWay(clients: StorageNodeClients): StorageNodeClients {
  const stop = (client: StorageNodeClient): StorageNodeClient => ({
    ...client,
    call: (method, request, options) =>
      'key' in request && String(request.key).endsWith('-1')
        ? Promise.reject(new TidemarkError('UNAVAILABLE', 'lost'))
        : client.call(method, request, options),
  });
  return new Map([...clients].map(([node, client]) => [node, stop(client)]));
}

describe('a tombstone', () => {
  it('is told from every other value, and leads on', () => {
    const moved = { value: Uint8Array.of(1, 2, 3), place: NEW_PLACE };
    expect(decodeMoved(encodeMoved(moved))).toEqual(moved);
    expect(decodeMoved(null)).toBeNull();
    expect(decodeMoved(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))).toBeNull();
    const flipped = encodeMoved(moved);
    flipped[9]! ^= 1;
    expect(decodeMoved(flipped)).toBeNull();
  });
});

describe('the retention register', () => {
  it('is found and changed where it has moved, from wherever one begins', async () => {
    const { registers, name, volume } = await world();
    const from = placeOf(name);
    await registers.moveVolume('retention', volume, from, NEW_PLACE);
    const widened = await registers.changeVolume('retention', volume, from, (bytes) =>
      encodeRetention({ ...decodeRetention(bytes!), windowMs: 77 }),
    );
    expect(widened).toMatchObject({ changed: true, place: NEW_PLACE });
    await registers.moveVolume('retention', volume, from, NEWEST_PLACE);
    for (const place of [from, NEW_PLACE, NEWEST_PLACE]) {
      const found = await registers.readVolume('retention', volume, place);
      expect(decodeRetention(found.content.value!).windowMs).toBe(77);
      expect(found.place).toEqual(NEWEST_PLACE);
    }
    // Asked for again, or to a place that is behind, it stays.
    await registers.moveVolume('retention', volume, from, NEWEST_PLACE);
    await registers.moveVolume('retention', volume, from, NEW_PLACE);
    expect((await registers.readVolume('retention', volume, from)).place).toEqual(NEWEST_PLACE);
  });

  it('goes on from the tombstone’s value when whoever moved it did not get further', async () => {
    const { registers, name, volume } = await world();
    const from = placeOf(name);
    await registers.change(registerKey('retention', volume, from), SIX, (value) =>
      encodeMoved({ value: value!, place: NEW_PLACE }),
    );
    const read = await registers.readVolume('retention', volume, from);
    expect(decodeRetention(read.content.value!).volume).toBe(volume);
    await registers.changeVolume('retention', volume, from, (bytes) =>
      encodeRetention({ ...decodeRetention(bytes!), windowMs: 5 }),
    );
    const { value } = await registers.read(registerKey('retention', volume, NEW_PLACE), SIX);
    expect(decodeRetention(value!).windowMs).toBe(5);
  });
});

describe('the manifest register', () => {
  it('is won by the next epoch where it has moved', async () => {
    const { registers, name, volume, take, commit } = await world();
    const first = await take();
    expect(await commit(first)).toEqual({ kind: 'committed' });
    await registers.moveVolume('retention', volume, placeOf(name), NEW_PLACE);
    const second = await take();
    expect(second.registerPlace).toEqual(NEW_PLACE);
    expect(second.manifest.runs.length).toBe(2);
    // The first one's term is over at both places.
    expect(await commit(first)).toMatchObject({ kind: 'refused' });
    const there = { ...first, registerPlace: NEW_PLACE };
    expect(await commit(there)).toMatchObject({ kind: 'refused' });
    const third = await take();
    expect(third.manifest.runs.map(({ epoch }) => epoch)).toEqual([
      ...second.manifest.runs.map(({ epoch }) => epoch),
      third.epoch,
    ]);
  });

  it('is taken over from the tombstone alone, when nobody has written at the new place', async () => {
    const { transport, take, commit } = await world();
    const first = await take();
    expect(await commit(first, stoppedHalfWay(transport.clients))).toEqual({ kind: 'failed' });
    const second = await take();
    expect(second.registerPlace).toEqual(NEW_PLACE);
    expect(second.manifest.runs.length).toBe(2);
    // The first one's late words change nothing there.
    expect(await commit(first)).toMatchObject({ kind: 'refused' });
    expect((await take()).manifest.runs.length).toBe(3);
  });
});

describe('the name', () => {
  it('leads to the newest place it was told of', async () => {
    const { directory, name } = await world();
    await directory.moveRegisters(name, NEWEST_PLACE);
    await directory.moveRegisters(name, NEW_PLACE);
    expect(placeOf((await directory.lookup('main'))!)).toEqual(NEWEST_PLACE);
  });
});

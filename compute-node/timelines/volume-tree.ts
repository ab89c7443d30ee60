/**
 * All volumes with whom they were cloned from, and what they take. Registers are read in bulk: a thousand volumes cost a few questions to each node.
 *
 * Sizes are what segments say of themselves: log and pages of a volume's own on six nodes, pages about. What a clone shares is counted as all that
 * its ancestors have now, so it is never too little.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import type { VolumeId } from '../../src/log/lsn.ts';
import type { SegmentStatus } from '../../src/messages/messages.ts';
import { WRITE_QUORUM } from '../../src/quorum/quorum.ts';
import { decodeManifest, decodeRetention } from '../../src/register/codec.ts';
import { decodeMoved, placeOf, registerKey, type VolumeRegister } from '../../src/register/place.ts';
import { SNAPSHOT_PIN_PREFIX } from '../../src/timeline/resolve-moment.ts';
import type { RunParent } from '../../src/timeline/run.ts';
import type { NamedVolume } from '../driver/directory.ts';
import { scanRegisters } from '../driver/register-scan.ts';
import type { VolumeNode } from './api.ts';
import type { TimelineContext } from './context.ts';

const STATUS_TIMEOUT_MS = 1_500;
const READ_CONCURRENCY = 16;

export async function volumeTree(context: TimelineContext): Promise<readonly VolumeNode[]> {
  const { directory } = context;
  // Ancestors that were dropped are among the records only.
  const records = await directory.records.list();
  const [names, manifests, retentions, bytes] = await Promise.all([
    directory.list(),
    readAll(context, 'manifest', records),
    readAll(context, 'retention', records),
    ownBytes(context),
  ]);
  const parents = new Map([...manifests].map(([volume, value]) => [volume, parentOf(value, volume)]));
  const nameOf = new Map(names.map(({ volume, name }) => [volume, name]));
  return names.flatMap(({ name, volume }) => {
    const value = retentions.get(volume);
    // Made, or dropped, while this was read.
    if (value === undefined) return [];
    const { windowMs, pins } = decodeRetention(value);
    const parent = parents.get(volume) ?? null;
    const ancestors = ancestorsOf(volume, parents);
    return [
      {
        name,
        volume,
        parent: parent && { ...parent, name: nameOf.get(parent.volume) ?? null },
        ownBytes: bytes && (bytes.get(volume) ?? 0),
        sharedBytes: bytes && ancestors.reduce((sum, ancestor) => sum + (bytes.get(ancestor) ?? 0), 0),
        windowMs,
        snapshots: pins.filter((pin) => pin.name.startsWith(SNAPSHOT_PIN_PREFIX)).length,
      },
    ];
  });
}

function parentOf(manifest: Uint8Array, volume: VolumeId): RunParent | null {
  const parent = decodeManifest(manifest).runs[0]?.parent ?? null;
  return parent?.volume === volume ? null : parent;
}

function ancestorsOf(volume: VolumeId, parents: ReadonlyMap<VolumeId, RunParent | null>): VolumeId[] {
  const ancestors: VolumeId[] = [];
  for (let at = parents.get(volume) ?? null; at !== null; at = parents.get(at.volume) ?? null) {
    if (ancestors.includes(at.volume)) break;
    ancestors.push(at.volume);
  }
  return ancestors;
}

/** Volume → committed value. One question per six that keep registers; those that have moved meanwhile one by one. */
async function readAll(
  { directory, clients }: TimelineContext,
  register: VolumeRegister,
  volumes: readonly NamedVolume[],
): Promise<ReadonlyMap<VolumeId, Uint8Array>> {
  const { registers } = directory;
  const { clusterId } = directory.cluster;
  const bySix = new Map<string, NamedVolume[]>();
  for (const named of volumes) {
    const six = named.registerMembers.join();
    const group = bySix.get(six);
    if (group === undefined) bySix.set(six, [named]);
    else group.push(named);
  }
  const found = new Map<VolumeId, Uint8Array>();
  const others: NamedVolume[] = [];
  for (const group of bySix.values()) {
    const members = group[0]?.registerMembers ?? [];
    const keys = new Map(group.map((named) => [registerKey(register, named.volume, placeOf(named)), named]));
    const options = { registers, clients, clusterId, members };
    const filter = { isWanted: (key: string) => keys.has(key), isDisturbing: register !== 'manifest' };
    for (const [key, value] of await scanRegisters(options, `${register}/`, filter)) {
      const named = keys.get(key) as NamedVolume;
      if (decodeMoved(value) === null) found.set(named.volume, value);
      else others.push(named);
    }
  }
  for (let at = 0; at < others.length; at += READ_CONCURRENCY) {
    await Promise.all(
      others.slice(at, at + READ_CONCURRENCY).map(async (named) => {
        const { content } = await registers.readVolume(register, named.volume, placeOf(named));
        if (content.value !== null) found.set(named.volume, content.value);
      }),
    );
  }
  return found;
}

/** null: too few nodes answered to say. Those that did not are counted as the average of the others. */
async function ownBytes({
  directory,
  clients,
}: TimelineContext): Promise<ReadonlyMap<VolumeId, number> | null> {
  const { clusterId, nodes } = directory.cluster;
  const replies = await Promise.all(
    nodes.map(async ({ nodeId }): Promise<readonly SegmentStatus[] | null> => {
      try {
        const status = await clients
          .get(nodeId)
          ?.call('status', { clusterId }, { timeoutMs: STATUS_TIMEOUT_MS });
        return status === undefined || status.refusal !== null ? null : status.segments;
      } catch (error) {
        if (!isTidemarkError(error)) throw error;
        return null;
      }
    }),
  );
  const answered = replies.filter((segments) => segments !== null);
  if (answered.length < WRITE_QUORUM) return null;
  const bytes = new Map<VolumeId, number>();
  for (const { volume, storedBytes, pageBytes } of answered.flat())
    bytes.set(volume, (bytes.get(volume) ?? 0) + storedBytes + pageBytes);
  const share = nodes.length / answered.length;
  return new Map([...bytes].map(([volume, sum]) => [volume, Math.round(sum * share)]));
}

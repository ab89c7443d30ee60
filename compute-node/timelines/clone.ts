/**
 * Clones (design section 7): a new volume whose first run goes on from a point of another. Nothing is copied and nobody is disturbed; it costs a few
 * register writes, whatever the size.
 *
 * Invariants
 * 1. The pin in the parent comes before the name, which is what shows the clone to be there.
 * 2. Before the pin comes all that tells whose it is: what a crash leaves half made has a record (volume-records.ts) and a manifest that names the
 *    parent, and no name; so it is cleared away like a dropped volume, and no pin is ever left over.
 * 3. The name comes last, and is taken back when the clone was given up meanwhile as an orphan.
 */
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import { encodeManifest, encodeRetention } from '../../src/register/codec.ts';
import { placeOf } from '../../src/register/place.ts';
import { REGISTER_FORMAT, type RetentionValue } from '../../src/register/values.ts';
import type { Moment } from '../../src/timeline/moment.ts';
import { checkVolumeName, type NamedVolume, volumeExists } from '../driver/directory.ts';
import { makingTooSlow } from '../driver/volume-records.ts';
import { cloneManifest } from '../volume/take-over-manifest.ts';
import { placeSix } from '../volume/placement.ts';
import type { Clone } from './api.ts';
import type { TimelineContext } from './context.ts';
import type { MomentResolver, ResolvedPoint } from './moment-resolver.ts';
import { clonePin, pinPoint, readRetention } from './pins.ts';

const ID_CHARS = 16;

export interface CloneSource {
  readonly name: string;
  readonly moment: Moment | null;
}

export interface CloneOptions {
  readonly context: TimelineContext;
  readonly resolver: MomentResolver;
  /** Clears away what was made of a clone that is not to be. */
  readonly giveUp: (volume: NamedVolume) => Promise<void>;
}

export async function cloneVolume(options: CloneOptions, source: CloneSource, name: string): Promise<Clone> {
  const { context, resolver } = options;
  const { directory, random } = context;
  checkVolumeName(name);
  if (name === source.name) {
    throw new TidemarkError('CYCLE', `'${name}' cannot be a clone of itself`, {
      nextStep: 'Choose another name; to go back to a moment in place is a backtrack.',
    });
  }
  if ((await directory.lookup(name)) !== null) throw volumeExists(name);
  const from = await resolver.resolve(source.name, source.moment);
  await announce(context, from);
  const child: NamedVolume = {
    format: REGISTER_FORMAT,
    name,
    volume: random.id(ID_CHARS) as VolumeId,
    registerMembers: await registerMembers(context, from.named),
    registerGeneration: 0,
  };
  try {
    const pin = { name: clonePin(child.volume), point: from.point };
    await settled([directory.records.enter(child), ...firstValues(context, child, from)]);
    await pinPoint(directory.registers, from.named, from.manifest, pin);
    await directory.giveName(child);
    if ((await readRetention(directory.registers, child)).dropped) throw makingTooSlow(name);
  } catch (error) {
    await options.giveUp(child).catch((cause: unknown) => {
      if (!isTidemarkError(cause)) throw cause;
      context.logger.log('warn', 'what was made of a clone is cleared away later', { name, error: cause });
    });
    throw error;
  }
  context.logger.log('info', 'cloned a volume', { from: source.name, lsn: from.point.lsn, name });
  return { name, volume: child.volume, from };
}

/**
 * Where the parent has several PGs, those that have no record near the point are complete up to it only for storage nodes that know a VDL beyond it.
 * Its writer tells them within a heartbeat's interval anyway; should it die before, they would wait until the parent is opened again.
 */
async function announce(context: TimelineContext, { named, manifest }: ResolvedPoint): Promise<void> {
  if (manifest.pgs.length === 1) return;
  const opened = await context.openHere(named.name)?.catch(() => null);
  await opened?.log.past.announce();
}

/** As the parent's: one that is being emptied is spared. */
async function registerMembers(context: TimelineContext, parent: NamedVolume): Promise<readonly NodeId[]> {
  const { directory } = context;
  const { draining, nodes } = directory.cluster;
  const isGood = parent.registerMembers.every(
    (member) => !draining.includes(member) && nodes.some(({ nodeId }) => nodeId === member),
  );
  return isGood ? parent.registerMembers : placeSix(nodes, await directory.loads());
}

function firstValues(
  { directory, random }: TimelineContext,
  child: NamedVolume,
  { point, manifest, retention, committedAtMicros }: ResolvedPoint,
): readonly Promise<unknown>[] {
  const { volume } = child;
  const { registers } = directory;
  const first: RetentionValue = {
    format: REGISTER_FORMAT,
    volume,
    floor: point.lsn,
    windowMs: retention.windowMs,
    dropped: false,
    pins: [],
  };
  const origin = cloneManifest({
    volume,
    epoch: { number: 1, writerId: random.id(ID_CHARS) },
    parent: manifest,
    at: point,
    lastCommitTimeMicros: committedAtMicros ?? 0,
  });
  return [
    registers.changeVolume('retention', volume, placeOf(child), (current) =>
      current === null ? encodeRetention(first) : null,
    ),
    registers.changeVolume('manifest', volume, placeOf(child), (current) =>
      current === null ? encodeManifest(origin) : null,
    ),
  ];
}

/** All have come to an end before the first failure is told: what is cleared away then is not written any more. */
async function settled(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

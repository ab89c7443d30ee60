/** Snapshots: read points under a name, kept until they are dropped. All there is of one is its pin in the volume's retention register. */
import { TidemarkError } from '../../src/base/errors.ts';
import { VOLUME_NAME_PATTERN } from '../../src/base/limits.ts';
import { type Moment, parseMoment } from '../../src/timeline/moment.ts';
import { SNAPSHOT_PIN_PREFIX } from '../../src/timeline/resolve-moment.ts';
import type { Snapshot } from './api.ts';
import type { TimelineContext } from './context.ts';
import type { MomentResolver, ResolvedPoint } from './moment-resolver.ts';
import { changeRetention, type Pin, pinPoint, readRetention, samePoint } from './pins.ts';

/** Stamps looked up at a time for a listing. */
const LIST_CONCURRENCY = 8;

export class Snapshots {
  readonly #context: TimelineContext;
  readonly #resolver: MomentResolver;

  constructor(context: TimelineContext, resolver: MomentResolver) {
    this.#context = context;
    this.#resolver = resolver;
  }

  async create(volume: string, snapshot: string, moment: Moment | null): Promise<Snapshot> {
    checkSnapshotName(snapshot);
    const { registers } = this.#context.directory;
    const known = await readRetention(registers, await this.#context.lookup(volume));
    if (known.pins.some(({ name }) => name === SNAPSHOT_PIN_PREFIX + snapshot))
      throw exists(volume, snapshot);
    const resolved = await this.#resolver.resolve(volume, moment);
    const { named, manifest, point } = resolved;
    const pin: Pin = { name: SNAPSHOT_PIN_PREFIX + snapshot, point };
    const { pins } = await pinPoint(registers, named, manifest, pin);
    const kept = pins.find(({ name }) => name === pin.name);
    if (kept === undefined || !samePoint(kept.point, point)) throw exists(volume, snapshot);
    return described(volume, snapshot, resolved);
  }

  async drop(volume: string, snapshot: string): Promise<Snapshot> {
    const resolved = await this.#resolver.resolve(volume, { kind: 'snapshot', name: snapshot });
    await changeRetention(this.#context.directory.registers, resolved.named, (current) => {
      const pins = current.pins.filter(
        ({ name, point }) => name !== SNAPSHOT_PIN_PREFIX + snapshot || !samePoint(point, resolved.point),
      );
      return pins.length === current.pins.length ? null : { ...current, pins };
    });
    return described(volume, snapshot, resolved);
  }

  /** By age. */
  async list(volume: string): Promise<readonly Snapshot[]> {
    const named = await this.#context.lookup(volume);
    const { pins } = await readRetention(this.#context.directory.registers, named);
    const names = pins.flatMap(({ name }) =>
      name.startsWith(SNAPSHOT_PIN_PREFIX) ? [name.slice(SNAPSHOT_PIN_PREFIX.length)] : [],
    );
    const snapshots: Snapshot[] = [];
    for (let at = 0; at < names.length; at += LIST_CONCURRENCY) {
      const some = names.slice(at, at + LIST_CONCURRENCY).map((name) => this.#describe(volume, name));
      snapshots.push(...(await Promise.all(some)).filter((snapshot) => snapshot !== null));
    }
    return snapshots.sort((a, b) => a.lsn - b.lsn);
  }

  /** null: dropped meanwhile. */
  async #describe(volume: string, name: string): Promise<Snapshot | null> {
    try {
      return described(volume, name, await this.#resolver.resolve(volume, { kind: 'snapshot', name }));
    } catch (error) {
      if (error instanceof TidemarkError && error.code === 'SNAPSHOT_NOT_FOUND') return null;
      throw error;
    }
  }
}

function described(
  volume: string,
  name: string,
  { point, committedAtMicros }: Pick<ResolvedPoint, 'point' | 'committedAtMicros'>,
): Snapshot {
  return { name, volume, lsn: point.lsn, committedAtMicros };
}

/** A name that reads as another moment would never be found again. */
export function checkSnapshotName(name: string): void {
  if (VOLUME_NAME_PATTERN.test(name) && parseMoment(name).kind === 'snapshot') return;
  throw new TidemarkError('BAD_NAME', `'${name.slice(0, 80)}' cannot be a snapshot's name`, {
    nextStep:
      'Use 1 to 63 lower-case letters, digits and hyphens, beginning with a letter or digit, that are no date or time.',
  });
}

function exists(volume: string, snapshot: string): TidemarkError {
  return new TidemarkError('SNAPSHOT_EXISTS', `${volume} has a snapshot '${snapshot}' already`, {
    nextStep: 'Choose another name, or drop that snapshot first.',
  });
}

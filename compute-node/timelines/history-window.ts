/** How far back a volume can be read: its retention floor, what that means on the clock, and the window that the floor follows. */
import { TidemarkError } from '../../src/base/errors.ts';
import { MAX_WINDOW_MS } from '../../src/base/limits.ts';
import { type Lsn, toPgIndex } from '../../src/log/lsn.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { headRun } from '../../src/timeline/visibility.ts';
import type { HistoryWindow } from './api.ts';
import type { TimelineContext } from './context.ts';
import type { MomentResolver } from './moment-resolver.ts';
import { changeRetention } from './pins.ts';

const STATUS_TIMEOUT_MS = 1_000;
const MS_PER_HOUR = 3_600_000;

export class HistoryWindows {
  readonly #context: TimelineContext;
  readonly #resolver: MomentResolver;

  constructor(context: TimelineContext, resolver: MomentResolver) {
    this.#context = context;
    this.#resolver = resolver;
  }

  /** Opens nothing: of a volume that is open nowhere the newest is what its storage nodes were told last. */
  async read(name: string): Promise<HistoryWindow> {
    const known = await this.#resolver.known(name);
    const { manifest, retention } = known;
    const { volume, runs } = manifest;
    const head = headRun(runs);
    const newestLsn = head.lastLsn ?? (await this.#durableLsn(name, manifest));
    const newest = { volume, run: head.id, lsn: newestLsn };
    const [oldestMicros, newestMicros] = await Promise.all([
      this.#resolver.floorStamp(known),
      this.#resolver.stampOf(known, newest),
    ]);
    return { windowMs: retention.windowMs, floorLsn: retention.floor, oldestMicros, newestLsn, newestMicros };
  }

  async set(name: string, windowMs: number): Promise<HistoryWindow> {
    if (!Number.isSafeInteger(windowMs) || windowMs < 0 || windowMs > MAX_WINDOW_MS) {
      throw new TidemarkError('BAD_REQUEST', `a window of ${windowMs} ms cannot be kept`, {
        nextStep: `Give between 0 and ${MAX_WINDOW_MS / MS_PER_HOUR} hours.`,
      });
    }
    const named = await this.#context.lookup(name);
    const committed = await changeRetention(this.#context.directory.registers, named, (current) =>
      current.windowMs === windowMs ? null : { ...current, windowMs },
    );
    const opened = await this.#context.openHere(name)?.catch(() => null);
    opened?.log.past.noteRetention(committed);
    return this.read(name);
  }

  async #durableLsn(name: string, manifest: ManifestValue): Promise<Lsn> {
    const opened = await this.#context.openHere(name)?.catch(() => null);
    if (opened != null) return opened.log.vdl;
    const { clients, directory } = this.#context;
    const { clusterId } = directory.cluster;
    const first = manifest.pgs[toPgIndex(0)];
    const nodes = first === undefined ? [] : QuorumSet.of(first).nodes;
    const replies = await Promise.allSettled(
      nodes.map((node) => clients.get(node)?.call('status', { clusterId }, { timeoutMs: STATUS_TIMEOUT_MS })),
    );
    const segments = replies.flatMap((reply) =>
      reply.status === 'fulfilled' ? (reply.value?.segments ?? []) : [],
    );
    const told = segments.flatMap(({ volume, vdl }) => (volume === manifest.volume ? [vdl] : []));
    return Math.max(headRun(manifest.runs).firstLsn - 1, ...told) as Lsn;
  }
}

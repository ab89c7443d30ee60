/**
 * A full scrub on demand: started on every storage node (or one), watched until each has looked at all it stores and has repaired what it found. The
 * nodes do the work and go on with it whoever watches.
 */
import { isTidemarkError, TidemarkError } from '../src/base/errors.ts';
import type { Clock, Timers } from '../src/env/env.ts';
import type { NodeId, VolumeId } from '../src/log/lsn.ts';
import type { ScrubReply } from '../src/messages/messages.ts';
import { pause } from './driver/pause.ts';
import type { StorageNodeClients } from './driver/registers.ts';

const CALL_TIMEOUT_MS = 3_000;
const POLL_MS = 500;
/** How long a node that does not answer, or repairs, is waited for before it is told as it is. */
const PATIENCE_MS = 60_000;

export interface NodeScrub {
  readonly nodeId: NodeId;
  /** Why it cannot be asked; null: it answers. */
  readonly error: string | null;
  /** As last heard. */
  readonly scrub: ScrubReply | null;
}

export interface ScrubProgress {
  readonly done: boolean;
  readonly nodes: readonly NodeScrub[];
}

export interface ScrubWishes {
  readonly clusterId: string;
  readonly nodeIds: readonly NodeId[];
  readonly onlyVolume: VolumeId | null;
  readonly clients: StorageNodeClients;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Ends with `done: true`. Rejects UNAVAILABLE when no node can be asked. */
export async function* scrubNodes(
  wishes: ScrubWishes,
  isAbandoned: () => boolean,
): AsyncGenerator<ScrubProgress> {
  const watches = wishes.nodeIds.map((nodeId) => new Watch(wishes, nodeId));
  await Promise.all(watches.map((watch) => watch.ask(true)));
  if (watches.every(({ isSilent }) => isSilent)) {
    throw new TidemarkError('UNAVAILABLE', 'no storage node can be asked to scrub', {
      nextStep: 'See `tidemark status`.',
    });
  }
  while (!watches.every(({ isOver }) => isOver)) {
    yield { done: false, nodes: watches.map((watch) => watch.told) };
    if (isAbandoned()) return;
    await pause(wishes.timers, POLL_MS);
    await Promise.all(watches.map((watch) => watch.ask(false)));
  }
  yield { done: true, nodes: watches.map((watch) => watch.told) };
}

/** One node's scrub as seen from here. */
class Watch {
  private readonly wishes: ScrubWishes;
  private readonly nodeId: NodeId;
  private error: string | null = null;
  private scrub: ScrubReply | null = null;
  /** Since when nothing but waiting is left: for an answer, or for repairs. */
  private waitingSinceMs: number | null = null;

  constructor(wishes: ScrubWishes, nodeId: NodeId) {
    this.wishes = wishes;
    this.nodeId = nodeId;
  }

  get told(): NodeScrub {
    return { nodeId: this.nodeId, error: this.error, scrub: this.scrub };
  }

  get isSilent(): boolean {
    return this.error !== null;
  }

  get isOver(): boolean {
    const isWhole =
      this.error === null && this.scrub !== null && !this.scrub.running && this.scrub.pagesInDoubt === 0;
    if (isWhole) return true;
    if (this.error === null && this.scrub?.running === true) {
      this.waitingSinceMs = null;
      return false;
    }
    const nowMs = this.wishes.clock.now().monotonicMs;
    this.waitingSinceMs ??= nowMs;
    return nowMs - this.waitingSinceMs >= PATIENCE_MS;
  }

  async ask(start: boolean): Promise<void> {
    if (this.isOver && !start && this.scrub !== null) return;
    const { clients, clusterId, onlyVolume } = this.wishes;
    try {
      const client = clients.get(this.nodeId);
      if (client === undefined) throw new TidemarkError('UNAVAILABLE', 'it is not connected');
      const call = (begin: boolean): Promise<ScrubReply> =>
        client.call(
          'scrub',
          { clusterId, start: begin, onlyVolume: onlyVolume ?? '' },
          { timeoutMs: CALL_TIMEOUT_MS },
        );
      const reply = await call(start);
      if (reply.refusal !== null) throw new TidemarkError(reply.refusal.code, reply.refusal.message);
      // It was started anew meanwhile, to mend its store: from the beginning, then.
      this.scrub = reply.startedMicros === 0 ? await call(true) : reply;
      this.error = null;
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      this.error = error.message;
    }
  }
}

/**
 * Where a page read goes (design section 4): to one segment that is known to suffice, the fastest by tracked latency; to a second when the
 * first is late; to the next when one cannot serve. There is no read quorum: a segment whose SCL has reached the PG's tail at the read point has all it needs,
 * and one that has not says BEHIND instead of showing an older page.
 *
 * Pure: events in, effects out. The driver carries `send` effects over the page streams and calls `step` with what comes back and, at
 * `nextDeadlineMs`, with a tick.
 *
 * Invariants
 * 1. A fetch ends exactly once, in `done` or `failed`; late answers to its other attempts only teach latency.
 * 2. Of one fetch at most MAX_ATTEMPTS_IN_FLIGHT attempts are on the way, each to another node: two hung nodes (a zone) delay no read for long.
 * 3. A reply counts only when it holds exactly the pages asked for, none newer than the read point.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import type { Lsn, NodeId, PageNumber, PgIndex, RunId } from '../../src/log/lsn.ts';
import type { PageVersion, ReadPagesReply } from '../../src/messages/messages.ts';
import { NodeLatency } from './read-router-latency.ts';

/** Pages of one request: 256 KiB of data, well below a message's limit. */
export const MAX_PAGES_PER_FETCH = 64;
/** Fetches on the way at a time; more wait in line, so that a scan cannot fill the streams. */
const MAX_FETCHES_IN_FLIGHT = 64;
const MAX_ATTEMPTS_IN_FLIGHT = 3;
/** An attempt without an answer for so long is given up; the node may be hung. */
const ATTEMPT_TIMEOUT_MS = 2_000;
/** Pause before all nodes are asked anew, after none could serve; doubled up to the second figure. */
const RETRY_PAUSE_MS = 20;
const MAX_RETRY_PAUSE_MS = 250;
/** For so long a node that lacks or distrusts a segment is asked for its pages only as a last resort. */
const AVOID_MS = 1_000;
/** How long a fetch goes on looking for somebody who can serve. */
export const DEFAULT_READ_TIMEOUT_MS = 10_000;

/** What the router knows of one copy of a PG; kept current by the writer. */
export interface SegmentView {
  readonly nodeId: NodeId;
  /** Highest SCL heard from it. */
  readonly scl: Lsn;
  /** It acknowledged the install of this term's manifest, so that what it says about runs is final. */
  readonly isInstalled: boolean;
}

export interface Fetch {
  readonly pg: PgIndex;
  readonly run: RunId;
  readonly lsn: Lsn;
  readonly requiredScl: Lsn;
  readonly pages: readonly PageNumber[];
}

export type FetchId = number;
export type AttemptId = number;

export type ReadEvent =
  | { readonly kind: 'start'; readonly fetchId: FetchId; readonly fetch: Fetch }
  | { readonly kind: 'reply'; readonly attempt: AttemptId; readonly reply: ReadPagesReply }
  /** The attempt's stream went down (or was down): no answer will come. */
  | { readonly kind: 'lost'; readonly attempt: AttemptId }
  | { readonly kind: 'node-up'; readonly node: NodeId }
  | { readonly kind: 'node-down'; readonly node: NodeId }
  | { readonly kind: 'tick' }
  /** The term is over or the volume closes: everything outstanding fails with this. */
  | { readonly kind: 'stop'; readonly reason: TidemarkError };

export type ReadEffect =
  | { readonly kind: 'send'; readonly attempt: AttemptId; readonly node: NodeId; readonly fetch: Fetch }
  | { readonly kind: 'done'; readonly fetchId: FetchId; readonly pages: readonly PageVersion[] }
  | { readonly kind: 'failed'; readonly fetchId: FetchId; readonly error: TidemarkError };

interface ActiveFetch {
  readonly id: FetchId;
  readonly fetch: Fetch;
  readonly deadlineMs: number;
  /** Nodes asked since the last pause. */
  readonly tried: Set<NodeId>;
  readonly attempts: Set<AttemptId>;
  hedgeAtMs: number;
  /** Set while it pauses after nobody could serve. */
  retryAtMs: number | null;
  retryPauseMs: number;
  lastTrouble: string;
}

interface Attempt {
  readonly node: NodeId;
  readonly sentAtMs: number;
  readonly pageCount: number;
  /** null once the fetch is over: the answer is awaited for its latency alone. */
  fetchId: FetchId | null;
}

export class ReadRouter {
  private readonly segmentsOf: (pg: PgIndex) => readonly SegmentView[];
  private readonly timeoutMs: number;
  private readonly latencies = new Map<NodeId, NodeLatency>();
  private readonly upNodes = new Set<NodeId>();
  /** node/PG → until when it is asked last. */
  private readonly avoided = new Map<string, number>();
  private readonly active = new Map<FetchId, ActiveFetch>();
  private readonly attempts = new Map<AttemptId, Attempt>();
  private waiting: { readonly id: FetchId; readonly fetch: Fetch; readonly deadlineMs: number }[] = [];
  private nextAttempt = 1;
  private effects: ReadEffect[] = [];
  private stopReason: TidemarkError | null = null;

  constructor(options: {
    readonly segmentsOf: (pg: PgIndex) => readonly SegmentView[];
    readonly timeoutMs?: number;
  }) {
    this.segmentsOf = options.segmentsOf;
    this.timeoutMs = options.timeoutMs ?? DEFAULT_READ_TIMEOUT_MS;
  }

  step(event: ReadEvent, nowMs: number): readonly ReadEffect[] {
    switch (event.kind) {
      case 'start':
        this.onStart(event.fetchId, event.fetch, nowMs);
        break;
      case 'reply':
        this.onReply(event.attempt, event.reply, nowMs);
        break;
      case 'lost':
        this.onAttemptOver(event.attempt, 'its stream went down', nowMs);
        break;
      case 'node-up':
        this.upNodes.add(event.node);
        this.latencyOf(event.node).forget();
        this.wakePausing(nowMs);
        break;
      case 'node-down':
        this.upNodes.delete(event.node);
        for (const [id, attempt] of [...this.attempts]) {
          if (attempt.node === event.node) this.onAttemptOver(id, 'its stream went down', nowMs);
        }
        break;
      case 'tick':
        this.onTick(nowMs);
        break;
      case 'stop':
        this.onStop(event.reason);
        break;
    }
    const effects = this.effects;
    this.effects = [];
    return effects;
  }

  /** When the next tick is due; null while nothing waits for time to pass. */
  get nextDeadlineMs(): number | null {
    let next = Number.POSITIVE_INFINITY;
    for (const fetch of this.active.values()) {
      next = Math.min(next, fetch.deadlineMs, fetch.retryAtMs ?? fetch.hedgeAtMs);
    }
    for (const { fetchId, sentAtMs } of this.attempts.values()) {
      if (fetchId === null) next = Math.min(next, sentAtMs + ATTEMPT_TIMEOUT_MS);
    }
    if (this.waiting.length > 0) next = Math.min(next, this.waiting[0]!.deadlineMs);
    return next === Number.POSITIVE_INFINITY ? null : next;
  }

  /** Average latency of small reads from a node, null before the first. */
  readLatencyMs(node: NodeId): number | null {
    return this.latencies.get(node)?.averageMs ?? null;
  }

  private onStart(id: FetchId, fetch: Fetch, nowMs: number): void {
    if (this.stopReason !== null) {
      this.effects.push({ kind: 'failed', fetchId: id, error: this.stopReason });
      return;
    }
    const deadlineMs = nowMs + this.timeoutMs;
    if (this.active.size >= MAX_FETCHES_IN_FLIGHT) this.waiting.push({ id, fetch, deadlineMs });
    else this.activate(id, fetch, deadlineMs, nowMs);
  }

  private activate(id: FetchId, fetch: Fetch, deadlineMs: number, nowMs: number): void {
    const state: ActiveFetch = {
      id,
      fetch,
      deadlineMs,
      tried: new Set(),
      attempts: new Set(),
      hedgeAtMs: Number.POSITIVE_INFINITY,
      retryAtMs: null,
      retryPauseMs: RETRY_PAUSE_MS,
      lastTrouble: 'no storage node of it is connected',
    };
    this.active.set(id, state);
    this.tryNext(state, nowMs);
  }

  /** Sends to the best node not asked yet; pauses when there is none and nothing is on the way. */
  private tryNext(state: ActiveFetch, nowMs: number): void {
    const node = this.choose(state, nowMs);
    if (node === null) {
      state.hedgeAtMs = Number.POSITIVE_INFINITY;
      if (state.attempts.size === 0) {
        state.retryAtMs = nowMs + state.retryPauseMs;
        state.retryPauseMs = Math.min(state.retryPauseMs * 2, MAX_RETRY_PAUSE_MS);
        state.tried.clear();
      } else {
        state.hedgeAtMs = this.attemptTimeoutOf(state);
      }
      return;
    }
    const latency = this.latencyOf(node);
    const attempt = this.nextAttempt++;
    state.tried.add(node);
    state.attempts.add(attempt);
    this.attempts.set(attempt, {
      node,
      sentAtMs: nowMs,
      pageCount: state.fetch.pages.length,
      fetchId: state.id,
    });
    latency.onSent();
    state.hedgeAtMs =
      state.attempts.size < MAX_ATTEMPTS_IN_FLIGHT
        ? nowMs + latency.hedgeBudgetMs(state.fetch.pages.length)
        : this.attemptTimeoutOf(state);
    this.effects.push({ kind: 'send', attempt, node, fetch: state.fetch });
  }

  private attemptTimeoutOf(state: ActiveFetch): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const id of state.attempts) {
      oldest = Math.min(oldest, this.attempts.get(id)?.sentAtMs ?? Number.POSITIVE_INFINITY);
    }
    return oldest + ATTEMPT_TIMEOUT_MS;
  }

  private choose(state: ActiveFetch, nowMs: number): NodeId | null {
    let best: NodeId | null = null;
    let bestScore = Number.POSITIVE_INFINITY;
    for (const segment of this.segmentsOf(state.fetch.pg)) {
      const node = segment.nodeId;
      if (!this.upNodes.has(node) || state.tried.has(node)) continue;
      const isAvoided = (this.avoided.get(avoidKey(node, state.fetch.pg)) ?? 0) > nowMs;
      const rank = !segment.isInstalled || isAvoided ? 2 : segment.scl >= state.fetch.requiredScl ? 0 : 1;
      const score = rank * 1e9 + this.latencyOf(node).score(state.fetch.pages.length, nowMs);
      if (score < bestScore) {
        best = node;
        bestScore = score;
      }
    }
    return best;
  }

  private onReply(id: AttemptId, reply: ReadPagesReply, nowMs: number): void {
    const attempt = this.attempts.get(id);
    if (attempt === undefined) return;
    const state = attempt.fetchId === null ? undefined : this.active.get(attempt.fetchId);
    this.latencyOf(attempt.node).onAnswer(nowMs - attempt.sentAtMs, attempt.pageCount, nowMs);
    if (state === undefined) {
      this.attempts.delete(id);
      return;
    }
    if (reply.refusal === null) {
      const fault = faultOf(reply, state.fetch);
      if (fault === null) {
        this.attempts.delete(id);
        state.attempts.delete(id);
        this.finish(state, { kind: 'done', fetchId: state.id, pages: reply.pages }, nowMs);
        return;
      }
      this.avoided.set(avoidKey(attempt.node, state.fetch.pg), nowMs + AVOID_MS);
      this.dropAttempt(id);
      this.goOn(state, `${attempt.node} sent a wrong reply: ${fault}`, nowMs);
      return;
    }
    const { code, message } = reply.refusal;
    const isFinalWord = code === 'GONE' || (code === 'CUT' && this.isInstalled(attempt.node, state.fetch.pg));
    this.dropAttempt(id);
    if (isFinalWord) {
      const error = new TidemarkError(code, `read at LSN ${state.fetch.lsn}: ${message}`, {
        nextStep: 'Read at a newer point: the history asked for is not kept.',
      });
      this.finish(state, { kind: 'failed', fetchId: state.id, error }, nowMs);
      return;
    }
    if (code !== 'BEHIND') this.avoided.set(avoidKey(attempt.node, state.fetch.pg), nowMs + AVOID_MS);
    this.goOn(state, `${attempt.node} refused with ${code} (${message})`, nowMs);
  }

  private onAttemptOver(id: AttemptId, why: string, nowMs: number): void {
    const attempt = this.attempts.get(id);
    if (attempt === undefined) return;
    const state = attempt.fetchId === null ? undefined : this.active.get(attempt.fetchId);
    this.latencyOf(attempt.node).onNoAnswer();
    this.dropAttempt(id);
    if (state !== undefined) this.goOn(state, `${attempt.node} did not answer: ${why}`, nowMs);
  }

  private dropAttempt(id: AttemptId): void {
    const attempt = this.attempts.get(id);
    this.attempts.delete(id);
    if (attempt === undefined || attempt.fetchId === null) return;
    this.active.get(attempt.fetchId)?.attempts.delete(id);
  }

  private goOn(state: ActiveFetch, trouble: string, nowMs: number): void {
    state.lastTrouble = trouble;
    this.tryNext(state, nowMs);
  }

  private finish(state: ActiveFetch, effect: ReadEffect, nowMs: number): void {
    for (const id of state.attempts) {
      const late = this.attempts.get(id);
      if (late === undefined) continue;
      late.fetchId = null;
      this.latencyOf(late.node).onLate(nowMs - late.sentAtMs, late.pageCount, nowMs);
    }
    this.active.delete(state.id);
    this.effects.push(effect);
    while (this.waiting.length > 0 && this.active.size < MAX_FETCHES_IN_FLIGHT) {
      const next = this.waiting.shift()!;
      this.activate(next.id, next.fetch, next.deadlineMs, nowMs);
    }
  }

  private onTick(nowMs: number): void {
    for (const state of [...this.active.values()]) {
      if (!this.active.has(state.id)) continue;
      if (nowMs >= state.deadlineMs)
        this.finish(state, this.timedOut(state.id, state.fetch, state.lastTrouble), nowMs);
      else if (state.retryAtMs !== null) {
        if (nowMs >= state.retryAtMs) this.retry(state, nowMs);
      } else if (nowMs >= state.hedgeAtMs) this.onLate(state, nowMs);
    }
    while (this.waiting.length > 0 && nowMs >= this.waiting[0]!.deadlineMs) {
      const { id, fetch } = this.waiting.shift()!;
      this.effects.push(this.timedOut(id, fetch, 'too many reads are on the way'));
    }
    for (const [id, attempt] of this.attempts) {
      if (attempt.fetchId !== null || nowMs - attempt.sentAtMs < ATTEMPT_TIMEOUT_MS) continue;
      this.attempts.delete(id);
      this.latencyOf(attempt.node).onNoAnswer();
    }
  }

  /** Nobody has answered in time: give up attempts that are long overdue, and ask one more node. */
  private onLate(state: ActiveFetch, nowMs: number): void {
    for (const id of [...state.attempts]) {
      const attempt = this.attempts.get(id);
      if (attempt === undefined) continue;
      const elapsed = nowMs - attempt.sentAtMs;
      this.latencyOf(attempt.node).onLate(elapsed, attempt.pageCount, nowMs);
      if (elapsed < ATTEMPT_TIMEOUT_MS) continue;
      state.attempts.delete(id);
      this.attempts.delete(id);
      this.latencyOf(attempt.node).onNoAnswer();
      state.lastTrouble = `${attempt.node} did not answer within ${ATTEMPT_TIMEOUT_MS} ms`;
    }
    if (state.attempts.size < MAX_ATTEMPTS_IN_FLIGHT) this.tryNext(state, nowMs);
    else state.hedgeAtMs = this.attemptTimeoutOf(state);
  }

  private wakePausing(nowMs: number): void {
    for (const state of [...this.active.values()]) if (state.retryAtMs !== null) this.retry(state, nowMs);
  }

  private retry(state: ActiveFetch, nowMs: number): void {
    state.retryAtMs = null;
    this.tryNext(state, nowMs);
  }

  private timedOut(fetchId: FetchId, fetch: Fetch, trouble: string): ReadEffect {
    const error = new TidemarkError(
      'NO_QUORUM',
      `no storage node could serve pages of PG ${fetch.pg} at LSN ${fetch.lsn} within ${this.timeoutMs} ms; last: ${trouble}`,
      { nextStep: 'Check with `tidemark status` which storage nodes are reachable, then read again.' },
    );
    return { kind: 'failed', fetchId, error };
  }

  private onStop(reason: TidemarkError): void {
    this.stopReason = reason;
    const ids = [...this.active.keys(), ...this.waiting.map(({ id }) => id)];
    this.active.clear();
    this.attempts.clear();
    this.waiting = [];
    for (const fetchId of ids) this.effects.push({ kind: 'failed', fetchId, error: reason });
  }

  private isInstalled(node: NodeId, pg: PgIndex): boolean {
    return this.segmentsOf(pg).some((segment) => segment.nodeId === node && segment.isInstalled);
  }

  private latencyOf(node: NodeId): NodeLatency {
    let latency = this.latencies.get(node);
    if (latency === undefined) {
      latency = new NodeLatency();
      this.latencies.set(node, latency);
    }
    return latency;
  }
}

function avoidKey(node: NodeId, pg: PgIndex): string {
  return `${pg}/${node}`;
}

/** What is wrong with a reply that claims to serve, null when nothing is. */
function faultOf(reply: ReadPagesReply, fetch: Fetch): string | null {
  if (reply.pages.length !== fetch.pages.length) {
    return `${reply.pages.length} pages instead of ${fetch.pages.length}`;
  }
  for (let i = 0; i < fetch.pages.length; i++) {
    const version = reply.pages[i]!;
    if (version.page !== fetch.pages[i]) return `page ${version.page} instead of ${fetch.pages[i]}`;
    if (version.lsn > fetch.lsn) return `page ${version.page} as of LSN ${version.lsn}, after ${fetch.lsn}`;
    const expected = version.lsn === 0 ? 0 : PAGE_SIZE_BYTES;
    if (version.data.byteLength !== expected)
      return `page ${version.page} of ${version.data.byteLength} bytes`;
  }
  return null;
}

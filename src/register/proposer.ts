/**
 * The asking side of a replicated register: one operation on one register of six acceptors, as a pure machine. Events in, effects out;
 * deadlines, retries and the random pause between them are the driver's (one `call-failed` per call that had no answer in time).
 *
 * - `peek`     asks without a ballot: disturbs nobody, in particular not the holder of a manifest. It succeeds when four acceptors
 *              hold the same (ballot, version): then that is committed, and nothing newer had been when the peek began.
 * - `read`     peeks, and where the acceptors disagree wins its ballot and completes the highest accepted value.
 * - `change`   wins its ballot and proposes change(current) as the next version (compare-and-set). When `change` gives null, it
 *              leaves the value as it is, but completes it first, so that its answer is the truth.
 * - `acquire`  wins its ballot, completes what it learned, and then holds the register: any number of `propose` events follow, one
 *              after another, each the next version under the same ballot. A manifest's ballot is the volume's epoch.
 *
 * Invariants
 * 1. `done` reports only what is committed: four acceptors have accepted that very (ballot, version); or, version 0, that nothing
 *    had ever been committed.
 * 2. Under one ballot one version is proposed with one value only; the next version only once this one is committed.
 * 3. A value is proposed only after four promises, on the highest (ballot, version) that they report.
 * A ballot is never used by two machines: its writer id is fresh and random for every attempt.
 */
import { assert, assertNever } from '../base/assert.ts';
import { compareEpochs, type Epoch, NO_EPOCH, sameEpoch } from '../log/epoch.ts';
import type { NodeId } from '../log/lsn.ts';
import type { RegisterAcceptReply, RegisterPrepareReply } from '../messages/messages.ts';
import { COPIES, WRITE_QUORUM } from '../quorum/quorum.ts';
import { sameBytes } from './bytes.ts';

/** What a register holds. `value` null, version 0 and NO_EPOCH: nothing yet. */
export interface RegisterContent {
  readonly value: Uint8Array | null;
  readonly version: number;
  readonly ballot: Epoch;
}

export type RegisterOperation =
  | { readonly kind: 'peek' }
  | { readonly kind: 'read'; readonly ballot: Epoch }
  | {
      readonly kind: 'change';
      readonly ballot: Epoch;
      /** The next value, or null to leave the register as it is. Called once. */
      readonly change: (current: RegisterContent) => Uint8Array | null;
    }
  | { readonly kind: 'acquire'; readonly ballot: Epoch };

export type ProposerEvent =
  | { readonly kind: 'start' }
  | {
      readonly kind: 'prepare-reply';
      readonly node: NodeId;
      /** Of the request that this answers. */
      readonly ballot: Epoch;
      readonly reply: RegisterPrepareReply;
    }
  | {
      readonly kind: 'accept-reply';
      readonly node: NodeId;
      readonly ballot: Epoch;
      readonly version: number;
      readonly reply: RegisterAcceptReply;
    }
  /** Not reached, or no answer in time. `version` null: the call was a prepare. */
  | {
      readonly kind: 'call-failed';
      readonly node: NodeId;
      readonly ballot: Epoch;
      readonly version: number | null;
    }
  /** Only on a held register. */
  | { readonly kind: 'propose'; readonly value: Uint8Array }
  /** Only after `failed` of a held register's proposal: asks again those that have not accepted it. */
  | { readonly kind: 'retry' };

/**
 * STALE_EPOCH: a higher ballot stands in the way; try again above `promised`, after a random pause. NO_QUORUM: fewer than four
 * could answer. UNDECIDED: a peek found no four that agree. CORRUPT: one (ballot, version) with two values.
 */
export type ProposerFailure = 'STALE_EPOCH' | 'NO_QUORUM' | 'UNDECIDED' | 'CORRUPT';

export type ProposerEffect =
  | { readonly kind: 'prepare'; readonly node: NodeId; readonly ballot: Epoch }
  | {
      readonly kind: 'accept';
      readonly node: NodeId;
      readonly ballot: Epoch;
      readonly version: number;
      readonly value: Uint8Array;
    }
  | {
      readonly kind: 'done';
      readonly content: RegisterContent;
      /** True when `content` is what this machine proposed (a change, or a held register's value). */
      readonly changed: boolean;
    }
  | {
      readonly kind: 'failed';
      readonly code: ProposerFailure;
      /** Highest ballot that any acceptor told of. */
      readonly promised: Epoch | null;
      /** The value proposed may have been accepted somewhere: it may yet come to be, completed by someone else. */
      readonly outcomeUnknown: boolean;
      readonly message: string;
    };

type Answer = 'yes' | 'no' | 'unreached';

type Phase =
  | { readonly kind: 'new' }
  | { readonly kind: 'peeking'; readonly replies: Map<NodeId, RegisterPrepareReply> }
  | { readonly kind: 'preparing'; readonly replies: Map<NodeId, RegisterPrepareReply> }
  | {
      readonly kind: 'accepting';
      readonly version: number;
      readonly value: Uint8Array;
      /** False while a value learned is completed. */
      readonly isOwn: boolean;
      readonly failed: boolean;
    }
  | { readonly kind: 'held' }
  | { readonly kind: 'ended' };

const NOTHING: RegisterContent = { value: null, version: 0, ballot: NO_EPOCH };

export class Proposer {
  readonly members: readonly NodeId[];
  private readonly operation: RegisterOperation;
  private phase: Phase = { kind: 'new' };
  /** Who has answered what in this phase. */
  private answers = new Map<NodeId, Answer>();
  private content: RegisterContent = NOTHING;
  private highestPromise: Epoch | null = null;
  private refusals: string[] = [];

  constructor(members: readonly NodeId[], operation: RegisterOperation) {
    assert(
      new Set(members).size === COPIES,
      `a register has ${COPIES} different members: ${members.join(', ')}`,
    );
    if (operation.kind !== 'peek') {
      assert(compareEpochs(operation.ballot, NO_EPOCH) > 0, 'NO_EPOCH is not a ballot');
    }
    this.members = [...members];
    this.operation = operation;
  }

  /** What a held register contains, committed; before that, what was learned last. */
  get current(): RegisterContent {
    return this.content;
  }

  step(event: ProposerEvent): readonly ProposerEffect[] {
    switch (event.kind) {
      case 'start':
        return this.start();
      case 'prepare-reply':
        return this.onPrepareReply(event.node, event.ballot, event.reply);
      case 'accept-reply':
        return this.onAcceptReply(event.node, event.ballot, event.version, event.reply);
      case 'call-failed':
        return this.onCallFailed(event.node, event.ballot, event.version);
      case 'propose':
        assert(this.phase.kind === 'held', `propose while ${this.phase.kind}`);
        return this.propose(this.content.version + 1, event.value, true);
      case 'retry':
        return this.retry();
      default:
        return assertNever(event, 'proposer event');
    }
  }

  private start(): readonly ProposerEffect[] {
    assert(this.phase.kind === 'new', `start while ${this.phase.kind}`);
    const { kind } = this.operation;
    if (kind === 'peek' || kind === 'read') return this.ask('peeking', NO_EPOCH);
    return this.ask('preparing', this.operation.ballot);
  }

  private ask(kind: 'peeking' | 'preparing', ballot: Epoch): readonly ProposerEffect[] {
    this.phase = { kind, replies: new Map() };
    this.newRound();
    return this.members.map((node) => ({ kind: 'prepare', node, ballot }));
  }

  private onPrepareReply(
    node: NodeId,
    ballot: Epoch,
    reply: RegisterPrepareReply,
  ): readonly ProposerEffect[] {
    const { phase } = this;
    if (phase.kind !== 'peeking' && phase.kind !== 'preparing') return [];
    if (!sameEpoch(ballot, this.askedBallot(phase.kind)) || !this.isAwaited(node)) return [];
    this.noteReply(node, reply.promisedBallot, reply.refusal);
    if (reply.refusal !== null) {
      this.answers.set(node, 'unreached');
    } else if (phase.kind === 'preparing' && !reply.promised) {
      this.answers.set(node, 'no');
    } else {
      this.answers.set(node, 'yes');
      phase.replies.set(node, reply);
    }
    return this.decideAsking();
  }

  private onAcceptReply(
    node: NodeId,
    ballot: Epoch,
    version: number,
    reply: RegisterAcceptReply,
  ): readonly ProposerEffect[] {
    const { phase } = this;
    if (phase.kind !== 'accepting' || phase.version !== version) return [];
    if (!sameEpoch(ballot, this.ownBallot()) || this.answers.get(node) === 'yes' || !this.isMember(node))
      return [];
    this.noteReply(node, reply.promisedBallot, reply.refusal);
    if (reply.accepted) this.answers.set(node, 'yes');
    else this.answers.set(node, reply.refusal === null ? 'no' : 'unreached');
    return this.decideAccepting();
  }

  private onCallFailed(node: NodeId, ballot: Epoch, version: number | null): readonly ProposerEffect[] {
    const { phase } = this;
    if (!this.isAwaited(node)) return [];
    if (phase.kind === 'peeking' || phase.kind === 'preparing') {
      if (version !== null || !sameEpoch(ballot, this.askedBallot(phase.kind))) return [];
      this.answers.set(node, 'unreached');
      return this.decideAsking();
    }
    if (phase.kind !== 'accepting' || version !== phase.version) return [];
    this.answers.set(node, 'unreached');
    return this.decideAccepting();
  }

  /** The one decision after every event of asking. */
  private decideAsking(): readonly ProposerEffect[] {
    const { phase } = this;
    if (phase.kind !== 'peeking' && phase.kind !== 'preparing') return [];
    const learned = summarize([...phase.replies.values()]);
    if (learned.conflict) return this.fail('CORRUPT', false, 'one ballot and version holds two values');
    if (phase.kind === 'peeking') return this.decidePeek(learned);

    if (this.count('yes') < WRITE_QUORUM) return this.failWhenBlocked();
    this.content = learned.highest;
    // Four promises that all report the same have shown it committed; anything less is completed first.
    if (this.operation.kind === 'change') {
      const next = this.operation.change(this.content);
      if (next !== null) return this.propose(this.content.version + 1, next, true);
    }
    if (learned.committed !== null || this.content.value === null) return this.finish(false);
    return this.propose(this.content.version, this.content.value, false);
  }

  private decidePeek(learned: Summary): readonly ProposerEffect[] {
    if (learned.committed !== null) {
      this.content = learned.committed;
      return this.finish(false);
    }
    const awaited = COPIES - this.answers.size;
    if (learned.largestGroup + awaited >= WRITE_QUORUM) return [];
    if (this.operation.kind === 'read') return this.ask('preparing', this.operation.ballot);
    const answered = this.count('yes');
    if (answered < WRITE_QUORUM)
      return this.fail('NO_QUORUM', false, `only ${answered} of ${COPIES} answered`);
    return this.fail('UNDECIDED', false, 'no four acceptors agree');
  }

  private propose(version: number, value: Uint8Array, isOwn: boolean): readonly ProposerEffect[] {
    this.phase = { kind: 'accepting', version, value: new Uint8Array(value), isOwn, failed: false };
    this.newRound();
    return this.acceptEffects(this.members);
  }

  private retry(): readonly ProposerEffect[] {
    const { phase } = this;
    assert(phase.kind === 'accepting' && phase.failed, `retry while ${phase.kind}`);
    this.phase = { ...phase, failed: false };
    const missing = this.members.filter((node) => this.answers.get(node) !== 'yes');
    for (const node of missing) this.answers.delete(node);
    this.refusals = [];
    return this.acceptEffects(missing);
  }

  private acceptEffects(nodes: readonly NodeId[]): readonly ProposerEffect[] {
    const { phase } = this;
    assert(phase.kind === 'accepting', 'accepting');
    const { version, value } = phase;
    const ballot = this.ownBallot();
    return nodes.map((node) => ({ kind: 'accept', node, ballot, version, value }));
  }

  private decideAccepting(): readonly ProposerEffect[] {
    const { phase } = this;
    if (phase.kind !== 'accepting') return [];
    if (this.count('yes') >= WRITE_QUORUM) {
      this.content = { value: phase.value, version: phase.version, ballot: this.ownBallot() };
      return this.finish(phase.isOwn);
    }
    return phase.failed ? [] : this.failWhenBlocked();
  }

  private finish(changed: boolean): readonly ProposerEffect[] {
    this.phase = { kind: this.operation.kind === 'acquire' ? 'held' : 'ended' };
    return [{ kind: 'done', content: this.content, changed }];
  }

  private failWhenBlocked(): readonly ProposerEffect[] {
    const lost = this.count('no') + this.count('unreached');
    if (COPIES - lost >= WRITE_QUORUM) return [];
    const { phase } = this;
    // Even six refusals prove nothing: one of them may have accepted a first time, its answer lost, and refused when asked again.
    const outcomeUnknown = phase.kind === 'accepting' && phase.isOwn;
    const doing = phase.kind === 'accepting' ? 'accepted' : 'promised';
    const detail = this.refusals.length === 0 ? '' : ` (${this.refusals.join('; ')})`;
    const message = `${this.count('yes')} of ${COPIES} ${doing}, ${lost} did not${detail}`;
    return this.fail(this.count('no') > 0 ? 'STALE_EPOCH' : 'NO_QUORUM', outcomeUnknown, message);
  }

  private fail(code: ProposerFailure, outcomeUnknown: boolean, message: string): readonly ProposerEffect[] {
    const { phase } = this;
    const mayRetry = phase.kind === 'accepting' && phase.isOwn && this.operation.kind === 'acquire';
    this.phase = mayRetry ? { ...phase, failed: true } : { kind: 'ended' };
    return [{ kind: 'failed', code, promised: this.highestPromise, outcomeUnknown, message }];
  }

  private newRound(): void {
    this.answers = new Map();
    this.refusals = [];
  }

  private noteReply(
    node: NodeId,
    promised: Epoch | null,
    refusal: { readonly code: string; readonly promised: Epoch | null } | null,
  ): void {
    for (const told of [promised, refusal?.promised ?? null]) {
      if (told === null) continue;
      if (this.highestPromise === null || compareEpochs(told, this.highestPromise) > 0)
        this.highestPromise = told;
    }
    if (refusal !== null) this.refusals.push(`${node}: ${refusal.code}`);
  }

  private isMember(node: NodeId): boolean {
    return this.members.includes(node);
  }

  private isAwaited(node: NodeId): boolean {
    return this.isMember(node) && !this.answers.has(node);
  }

  private count(answer: Answer): number {
    let count = 0;
    for (const given of this.answers.values()) if (given === answer) count += 1;
    return count;
  }

  private askedBallot(phase: 'peeking' | 'preparing'): Epoch {
    return phase === 'peeking' ? NO_EPOCH : this.ownBallot();
  }

  private ownBallot(): Epoch {
    assert(this.operation.kind !== 'peek', 'a peek has no ballot');
    return this.operation.ballot;
  }
}

interface Summary {
  /** Highest accepted by (ballot, version). */
  readonly highest: RegisterContent;
  /** What four hold alike (nothing, too), if any four do. */
  readonly committed: RegisterContent | null;
  readonly largestGroup: number;
  /** One (ballot, version) with two values was seen. */
  readonly conflict: boolean;
}

function summarize(replies: readonly RegisterPrepareReply[]): Summary {
  const groups: { readonly content: RegisterContent; count: number }[] = [];
  let conflict = false;
  for (const reply of replies) {
    const content = contentOf(reply);
    const group = groups.find((other) => compareContent(other.content, content) === 0);
    if (group === undefined) {
      groups.push({ content, count: 1 });
      continue;
    }
    group.count += 1;
    conflict ||= !sameBytes(group.content.value ?? new Uint8Array(0), content.value ?? new Uint8Array(0));
  }
  const highest = groups.reduce(
    (best, { content }) => (compareContent(content, best) > 0 ? content : best),
    NOTHING,
  );
  const committed = groups.find((group) => group.count >= WRITE_QUORUM)?.content ?? null;
  const largestGroup = groups.reduce((largest, { count }) => Math.max(largest, count), 0);
  return { highest, committed, largestGroup, conflict };
}

function contentOf(reply: RegisterPrepareReply): RegisterContent {
  if (reply.acceptedBallot === null) return NOTHING;
  return { value: reply.acceptedValue, version: reply.acceptedVersion, ballot: reply.acceptedBallot };
}

function compareContent(a: RegisterContent, b: RegisterContent): number {
  const byBallot = compareEpochs(a.ballot, b.ballot);
  return byBallot !== 0 ? byBallot : a.version - b.version;
}

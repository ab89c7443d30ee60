/**
 * What the peers remember of this node, held against what it knows itself: how a node that was put back to an old disk image, or lost its disk, is
 * found out before it votes or acknowledges anything (design section 5, "Peers remember each other").
 *
 * At a start every peer is asked (memory-exchange.ts). Settled is the matter when all have answered, or after ANSWERS_WITHIN_MS when three of the
 * bootstrap nodes have; a segment then also needs three of its own peers. Only then the node takes its incarnation, a counter above every one
 * that it or a peer knows of; until then it goes by 0. What a peer tells later is looked at all the same.
 *
 * Invariants
 * 1. Before it is settled the node tells nothing of itself and writes no counter: it may crash and ask again.
 * 2. Whatever a peer remembers of promises and watermarks is in force here, durably, before anything that was held up for it goes out.
 * 3. Anything remembered that is not here, however little, puts the whole node in doubt (doubt.ts): peers remember up to a second less than there was.
 */
import { formatIncarnation, incarnationCounter, incarnationSeed } from '../../src/log/incarnation.ts';
import { NO_EPOCH } from '../../src/log/epoch.ts';
import { type NodeId, NO_LSN } from '../../src/log/lsn.ts';
import type { Recollection, Refusal } from '../../src/messages/messages.ts';
import type { NodeContext } from './context.ts';
import type { Doubt } from './doubt.ts';
import type { DurableOp } from './effects.ts';
import { GUARD } from './keys.ts';
import { clampToRuns } from './manifests.ts';
import { addSegment } from './membership.ts';
import { type MemoryItem, exceeds, itemName, merged } from './memory-items.ts';
import { rememberersOf, segmentItem } from './own-state.ts';
import { itemsOf } from './peer-memory.ts';
import { refusal } from './refusals.ts';
import type { Registers } from './registers.ts';
import type { Segment } from './segment.ts';
import { encodeText } from './values.ts';

/** All five peers are waited for so long. */
const ANSWERS_WITHIN_MS = 2_000;
/** From then on so many suffice: any three of five include one that did not come back from an old image together with this node. */
const ENOUGH_ANSWERS = 3;

export class Recall {
  isSettled = false;
  private readonly registers: Registers;
  private readonly doubt: Doubt;
  private readonly answered = new Set<NodeId>();
  /** All who are asked. */
  private readonly asked = new Set<NodeId>();
  /** What the peers remember, until it is settled. */
  private claims = new Map<string, MemoryItem>();
  /** What of it was found to be forgotten in this life. */
  private readonly found = new Map<string, MemoryItem>();
  private startedAtMs = 0;
  /** As the guard has it. */
  private lastCounter = 0;
  private highestCounter = 0;

  constructor(registers: Registers, doubt: Doubt) {
    this.registers = registers;
    this.doubt = doubt;
  }

  begin(ctx: NodeContext, lastCounter: number, seed: string): void {
    this.startedAtMs = ctx.now.monotonicMs;
    this.lastCounter = lastCounter;
    ctx.incarnation = formatIncarnation(0, seed);
  }

  /** One who is known only since the matter was settled is asked, too, but not waited for: no earlier life has dealt with it. */
  ask(peer: NodeId): void {
    this.asked.add(peer);
    if (this.isSettled) this.answered.add(peer);
  }

  onAnswered(peer: NodeId): void {
    this.answered.add(peer);
  }

  /** A peer remembers this of us; in a page, or because it was told less. */
  hear(ctx: NodeContext, recollection: Recollection): void {
    this.highestCounter = Math.max(this.highestCounter, incarnationCounter(recollection.incarnation));
    for (const item of itemsOf(recollection)) {
      const name = itemName(item);
      this.claims.set(name, merged(this.claims.get(name), item));
    }
    if (this.isSettled) this.judge(ctx);
  }

  /** The node's own state is loaded, and the peers have answered as far as they must. */
  settleIfAnswered(ctx: NodeContext): boolean {
    if (this.isSettled || !this.isAnswered(ctx)) return false;
    this.judge(ctx);
    this.isSettled = true;
    return true;
  }

  /** Why the node may not promise or acknowledge anything (for this segment) yet; null: it may. */
  whyUnsure(ctx: NodeContext, segment: Segment | null): Refusal | null {
    if (!this.isSettled) return unsure(`storage node ${ctx.options.nodeId}`);
    if (segment === null || this.answered.size === this.asked.size) return null;
    return this.countAnswered(rememberersOf(ctx, segment)) >= ENOUGH_ANSWERS ? null : unsure(segment.name);
  }

  private isAnswered(ctx: NodeContext): boolean {
    if (this.answered.size === this.asked.size) return true;
    const isLate = ctx.now.monotonicMs - this.startedAtMs >= ANSWERS_WITHIN_MS;
    return isLate && this.countAnswered(ctx.options.peers.map(({ nodeId }) => nodeId)) >= ENOUGH_ANSWERS;
  }

  private countAnswered(peers: readonly NodeId[]): number {
    return peers.filter((peer) => this.answered.has(peer)).length;
  }

  private judge(ctx: NodeContext): void {
    const ops: DurableOp[] = [];
    const claims = [...this.claims.values()].map((claim) => standing(ctx, claim));
    const lapses = claims.filter((claim) => isLapse(ctx, this.registers, claim) && this.isNews(claim));
    this.claims.clear();
    const known = this.isSettled ? incarnationCounter(ctx.incarnation) : this.lastCounter;
    const isOldImage = this.highestCounter > known;
    if (lapses.length > 0 || isOldImage) {
      const what = lapses.slice(0, 3).map(itemName).join(', ');
      const why = `the other nodes remember more of this one than it knows${what === '' ? '' : `: ${what}`}`;
      ops.push(...this.doubt.begin(ctx, why));
      for (const lapse of lapses) ops.push(...makeGood(ctx, this.registers, lapse));
    }
    if (!this.isSettled || isOldImage) ops.push(this.takeIncarnation(ctx));
    ctx.persist(ops, []);
  }

  /** What was found to be forgotten is being made good; that the peers still say so until then is no reason to begin anew. */
  private isNews(claim: MemoryItem): boolean {
    const name = itemName(claim);
    const found = this.found.get(name);
    if (found !== undefined && !exceeds(claim, found)) return false;
    this.found.set(name, merged(found, claim));
    return true;
  }

  private takeIncarnation(ctx: NodeContext): DurableOp {
    const counter = Math.max(this.lastCounter, this.highestCounter) + 1;
    this.lastCounter = counter;
    ctx.incarnation = formatIncarnation(counter, incarnationSeed(ctx.incarnation));
    return { kind: 'guard', key: GUARD.incarnation, value: encodeText(String(counter)) };
  }
}

function unsure(who: string): Refusal {
  return refusal('UNAVAILABLE', `${who} is asking its peers what it may have forgotten`);
}

/** What of a claim still stands: what a manifest has cut, or what left this node, was not forgotten. */
function standing(ctx: NodeContext, claim: MemoryItem): MemoryItem {
  if (claim.kind === 'register') return claim;
  const { volume, pg } = claim;
  const segment = ctx.segments.known(volume, pg);
  if (segment === null) return claim;
  // One that left, or came back and is not whole yet, vouches for nothing but its promise.
  if (!segment.isInForce || !segment.isHydrated) return { ...claim, watermark: NO_LSN, installed: null };
  const runs = segment.manifest?.value.runs;
  return runs === undefined ? claim : { ...claim, watermark: clampToRuns(runs, pg, claim.watermark) };
}

/** Remembered, and not known here. */
function isLapse(ctx: NodeContext, registers: Registers, claim: MemoryItem): boolean {
  if (claim.kind === 'register') return exceeds(claim, registers.itemOf(claim.key));
  const segment = ctx.segments.known(claim.volume, claim.pg);
  const own =
    segment === null
      ? { ...claim, watermark: NO_LSN, promised: NO_EPOCH, installed: null }
      : segmentItem(segment);
  return exceeds(claim, own);
}

/** Raises to what is remembered. Values and records come from the others, by the repair of what is in doubt. */
function makeGood(ctx: NodeContext, registers: Registers, lapse: MemoryItem): DurableOp[] {
  if (lapse.kind === 'register') return registers.recall(lapse);
  const { volume, pg } = lapse;
  return (ctx.segments.known(volume, pg) ?? addSegment(ctx, volume, pg)).recall(lapse);
}

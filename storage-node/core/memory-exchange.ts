/**
 * The talk between nodes about what they remember of each other: tells every peer what has changed here, remembers what they tell, asks them at a start
 * what they remember of this node (recall.ts), and answers the same question, in any state.
 *
 * One call per peer is under way at a time, at most one in TELL_INTERVAL_MS, and none while there is nothing to say. With the pause before what was
 * heard is written, a peer's memory is at most a second old.
 *
 * A node that waits says so in its replies as well: whoever reaches it brings the answer along. So six nodes that start one after the other wait
 * for the last of them, and not for a connection to be tried again.
 *
 * Invariants
 * 1. What is told of this node is durable here: the call rides on a persist.
 * 2. While it asks, the node tells nothing: an old image must not overwrite what is remembered of its later life.
 */
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import { incarnationSeed } from '../../src/log/incarnation.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type {
  ExchangeMemoryReply,
  ExchangeMemoryRequest,
  Recollection,
} from '../../src/messages/messages.ts';
import type { NodeContext, Request } from './context.ts';
import { type News, OwnState, rememberersOf } from './own-state.ts';
import { MAX_ITEMS_PER_MESSAGE, PeerMemory, itemsOf, splitItems } from './peer-memory.ts';
import { type Program, callPeer } from './program.ts';
import type { Recall } from './recall.ts';
import { refusal, refuse } from './refusals.ts';
import type { Registers } from './registers.ts';
import type { Segment } from './segment.ts';

const TELL_INTERVAL_MS = 500;
/** A peer that does not answer our question is asked again after so long. */
const ASK_INTERVAL_MS = 100;
/** What was heard is written at most so often. */
const WRITE_INTERVAL_MS = 250;
/** Calls in a row to one peer, as long as each brings something. */
const MAX_CALLS_IN_A_ROW = 64;
const NODE_FORM = /^[0-9A-Za-z._-]{1,64}$/;

interface Link {
  readonly nodeId: NodeId;
  /** The peer's life that was told of this node, and up to which change. */
  life: string | null;
  told: number;
  /** Where our question to it goes on; null: answered. */
  asksAfter: string | null;
  /** Where its question to us goes on, by its last reply. */
  askedAfter: string | null;
  isCalling: boolean;
  nextAtMs: number;
}

export class MemoryExchange {
  readonly memory = new PeerMemory();
  private readonly recall: Recall;
  private readonly registers: Registers;
  private readonly own = new OwnState();
  private readonly links = new Map<NodeId, Link>();
  private refreshAtMs = 0;
  private writeAtMs = 0;

  constructor(recall: Recall, registers: Registers) {
    this.recall = recall;
    this.registers = registers;
  }

  /** Called first thing at a start: the guard is known, the segments are not yet. */
  begin(ctx: NodeContext): void {
    this.link(ctx);
    this.callAllDue(ctx);
  }

  /** The segments are known, and with them all peers. */
  onLoaded(ctx: NodeContext): void {
    this.link(ctx);
    this.callAllDue(ctx);
  }

  onSettled(ctx: NodeContext): void {
    this.own.refresh(ctx, this.registers);
    this.callAllDue(ctx);
  }

  onTick(ctx: NodeContext): void {
    const nowMs = ctx.now.monotonicMs;
    if (this.memory.hasChanges && nowMs >= this.writeAtMs) {
      this.writeAtMs = nowMs + WRITE_INTERVAL_MS;
      ctx.persist(this.memory.takeChanges(), []);
    }
    if (nowMs >= this.refreshAtMs) {
      this.refreshAtMs = nowMs + TELL_INTERVAL_MS;
      this.link(ctx);
      if (this.recall.isSettled) this.own.refresh(ctx, this.registers);
    }
    this.callAllDue(ctx);
  }

  onExchange(ctx: NodeContext, { to, body }: Request<'exchangeMemory'>): void {
    const { nodeId, incarnation, asks } = body;
    if (!NODE_FORM.test(nodeId) || nodeId === ctx.options.nodeId) {
      const because = refusal('BAD_REQUEST', `a storage node called ${JSON.stringify(nodeId.slice(0, 100))}`);
      ctx.reply(to, refuse({ method: 'exchangeMemory', body }, because, ctx));
      return;
    }
    const link = this.links.get(nodeId);
    if (link !== undefined) this.hearFrom(ctx, link, body);
    const more = this.memory.take(nodeId, incarnation, itemsOf(body));
    const recalls = asks === null ? more : this.memory.recall(nodeId, asks.after);
    const ownQuestion = link === undefined ? null : questionOf(link);
    ctx.reply(to, {
      method: 'exchangeMemory',
      body: { incarnation: ctx.incarnation, asks: ownQuestion, recalls, refusal: null },
    });
  }

  /** The peer speaks: it is up, and perhaps another life than the one that was told of this node. */
  private hearFrom(ctx: NodeContext, link: Link, body: ExchangeMemoryRequest): void {
    if (body.recalls !== null) this.hear(ctx, link, body.recalls);
    if (link.life !== incarnationSeed(body.incarnation)) {
      link.life = null;
      link.told = 0;
    } else if (link.asksAfter === null) return;
    link.nextAtMs = ctx.now.monotonicMs;
  }

  private hear(ctx: NodeContext, link: Link, recollection: Recollection): boolean {
    this.recall.hear(ctx, recollection);
    const { after, through, done } = recollection;
    if (link.asksAfter === null || after !== link.asksAfter || (!done && through <= after)) return false;
    link.asksAfter = done ? null : through;
    if (done) this.recall.onAnswered(link.nodeId);
    return true;
  }

  private link(ctx: NodeContext): void {
    for (const { nodeId } of ctx.options.peers) this.linkTo(ctx, nodeId);
    for (const segment of ctx.segments.all()) {
      for (const nodeId of rememberersOf(ctx, segment)) this.linkTo(ctx, nodeId);
    }
  }

  private linkTo(ctx: NodeContext, nodeId: NodeId): void {
    if (nodeId === ctx.options.nodeId || this.links.has(nodeId)) return;
    this.recall.ask(nodeId);
    this.links.set(nodeId, {
      nodeId,
      life: null,
      told: 0,
      asksAfter: '',
      askedAfter: null,
      isCalling: false,
      nextAtMs: ctx.now.monotonicMs,
    });
  }

  private callAllDue(ctx: NodeContext): void {
    for (const link of this.links.values()) {
      if (link.isCalling || ctx.now.monotonicMs < link.nextAtMs || !this.hasReason(ctx, link)) continue;
      link.isCalling = true;
      ctx.run(this.talk(ctx, link));
    }
  }

  private hasReason(ctx: NodeContext, link: Link): boolean {
    if (link.asksAfter !== null || link.askedAfter !== null) return true;
    return this.recall.isSettled && (link.life === null || this.hasNews(ctx, link));
  }

  private hasNews(ctx: NodeContext, link: Link): boolean {
    if (link.told === this.own.newest) return false;
    if (this.newsFor(ctx, link).items.length > 0) return true;
    link.told = this.own.newest;
    return false;
  }

  private *talk(ctx: NodeContext, link: Link): Program<void> {
    try {
      for (let calls = 0; calls < MAX_CALLS_IN_A_ROW; calls += 1) {
        if (!(yield* this.call(ctx, link))) break;
      }
    } catch (error) {
      if (!isTidemarkError(error, 'UNAVAILABLE')) throw error;
    } finally {
      link.isCalling = false;
      const isWaitedFor = link.asksAfter !== null && !this.recall.isSettled;
      link.nextAtMs = ctx.now.monotonicMs + (isWaitedFor ? ASK_INTERVAL_MS : TELL_INTERVAL_MS);
    }
  }

  /** One call. Returns whether another should follow at once. */
  private *call(ctx: NodeContext, link: Link): Program<boolean> {
    const { isSettled } = this.recall;
    const base = { life: link.life, told: link.told };
    const news = isSettled ? this.newsFor(ctx, link) : { items: [], through: 0 };
    const answeredAfter = link.askedAfter;
    const body: ExchangeMemoryRequest = {
      clusterId: ctx.clusterId,
      nodeId: ctx.options.nodeId,
      incarnation: ctx.incarnation,
      ...splitItems(news.items),
      asks: questionOf(link),
      recalls: answeredAfter === null ? null : this.memory.recall(link.nodeId, answeredAfter),
    };
    const answer = yield* callPeer(
      link.nodeId,
      { method: 'exchangeMemory', body },
      { isBehindDisk: isSettled },
    );
    if (answer.method !== 'exchangeMemory' || answer.body.refusal !== null) {
      throw new TidemarkError('UNAVAILABLE', `${link.nodeId} does not exchange memory`);
    }
    const reply: ExchangeMemoryReply = answer.body;
    const hasMore = isSettled && this.noteTold(link, base, news, reply);
    const isHeard = reply.recalls !== null && this.hear(ctx, link, reply.recalls);
    link.askedAfter = reply.asks?.after ?? null;
    const isAskedMore = link.askedAfter !== null && link.askedAfter !== answeredAfter;
    return isAskedMore || (isHeard && link.asksAfter !== null) || hasMore;
  }

  private newsFor(ctx: NodeContext, link: Link): News {
    const isBootstrap = ctx.options.peers.some(({ nodeId }) => nodeId === link.nodeId);
    const isFor = (segment: Segment | null): boolean =>
      segment === null ? isBootstrap : rememberersOf(ctx, segment).includes(link.nodeId);
    return this.own.since(link.told, isFor, MAX_ITEMS_PER_MESSAGE);
  }

  /** Returns whether there is more to tell now. */
  private noteTold(
    link: Link,
    base: { readonly life: string | null; readonly told: number },
    news: News,
    reply: ExchangeMemoryReply,
  ): boolean {
    // It was heard from meanwhile, as another life.
    if (link.life !== base.life) return true;
    const life = incarnationSeed(reply.incarnation);
    // A life that got everything is as well informed as one that was told all along.
    link.told = base.life === life || base.told === 0 ? news.through : 0;
    link.life = life;
    return link.told < this.own.newest;
  }
}

function questionOf(link: Link): { readonly after: string } | null {
  return link.asksAfter === null ? null : { after: link.asksAfter };
}

/**
 * The node as an acceptor of the replicated registers (src/register/acceptor.ts): one state per key, in the guard, durable before every
 * reply, also before one that changed nothing (its state may still be on the way).
 *
 * The first value accepted for `cluster` tells the node its cluster. Until the node holds anything else of that cluster another bootstrap may
 * still win, so the value is followed; after that the cluster is fixed.
 *
 * After damage to the journal, or when the peers remember more of it, the acceptor may have forgotten promises and values. Then it votes only
 * once three intact nodes have told what they hold, and everything they hold is adopted (register-repair.ts says why that suffices). That also
 * goes for registers it has no state for: at a start its peers are asked about every register, not only about those it knows (recall.ts).
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { compareEpochs } from '../../src/log/epoch.ts';
import {
  type AcceptorState,
  EMPTY_ACCEPTOR,
  accept,
  decodeAcceptor,
  encodeAcceptor,
  prepare,
} from '../../src/register/acceptor.ts';
import { decodeCluster } from '../../src/register/codec.ts';
import type { AcceptedRegister, Refusal } from '../../src/messages/messages.ts';
import type { ClusterValue } from '../../src/register/values.ts';
import type { NodeContext, Request } from './context.ts';
import type { DurableOp } from './effects.ts';
import { GUARD } from './keys.ts';
import type { MemoryItem } from './memory-items.ts';
import { refusal, refuse } from './refusals.ts';
import { encodeText } from './values.ts';

export const CLUSTER_KEY = 'cluster';
const KEY_FORM = /^(cluster|(name|volume|manifest|retention)\/[0-9A-Za-z_-]{1,64})$/;
/** A register's value travels in one message. */
const MAX_VALUE_BYTES = 900 * 1024;

type LostValue = Pick<AcceptorState, 'acceptedBallot' | 'acceptedVersion'>;
type RegisterItem = Extract<MemoryItem, { kind: 'register' }>;

export class Registers {
  private readonly states = new Map<string, AcceptorState>();
  /**
   * What was accepted here and is gone, by what the peers remember, until as much is accepted again. The value may be known to nobody else
   * yet, and still be counted by its proposer: the acceptor tells nobody that it holds less.
   */
  private readonly lost = new Map<string, LostValue>();
  /** False after damage, until repaired. */
  isTrusted = true;

  load(key: string, value: Uint8Array): void {
    this.states.set(key, decodeAcceptor(value));
  }

  loadLost(key: string, value: Uint8Array): void {
    const { promised, acceptedBallot, acceptedVersion } = decodeAcceptor(value);
    this.lost.set(key, { acceptedBallot: acceptedBallot ?? promised, acceptedVersion });
  }

  get(key: string): AcceptorState {
    return this.states.get(key) ?? EMPTY_ACCEPTOR;
  }

  keys(prefix: string): string[] {
    return [...this.states.keys()].filter((key) => key.startsWith(prefix)).sort();
  }

  /** What was accepted here and is gone; null: nothing. */
  lostOf(key: string): LostValue | null {
    return this.lost.get(key) ?? null;
  }

  /** Everything that it answers for. */
  itemOf(key: string): RegisterItem {
    const { promised, ...accepted } = this.get(key);
    const { acceptedBallot, acceptedVersion } = this.lost.get(key) ?? accepted;
    return { kind: 'register', key, promised, acceptedBallot, acceptedVersion };
  }

  *items(): Generator<RegisterItem> {
    for (const key of this.states.keys()) yield this.itemOf(key);
  }

  get size(): number {
    return this.states.size;
  }

  /** The new state as a durable change; nothing when it is the old one. */
  put(key: string, state: AcceptorState): DurableOp[] {
    if (this.states.get(key) === state || (state === EMPTY_ACCEPTOR && !this.states.has(key))) return [];
    this.states.set(key, state);
    const ops: DurableOp[] = [];
    ops.push({ kind: 'guard', key: `${GUARD.registerPrefix}${key}`, value: encodeAcceptor(state) });
    const lost = this.lost.get(key);
    if (lost !== undefined && compareAccepted(state, lost) >= 0) {
      this.lost.delete(key);
      ops.push({ kind: 'guard', key: `${GUARD.lostPrefix}${key}`, value: null });
    }
    return ops;
  }

  /** What the peers remember of this acceptor, and it had forgotten: the promise is in force again, the value is missed. */
  recall({ key, promised, acceptedBallot, acceptedVersion }: RegisterItem): DurableOp[] {
    const own = this.get(key);
    const ops = compareEpochs(promised, own.promised) > 0 ? this.put(key, { ...own, promised }) : [];
    if (acceptedBallot === null || compareAccepted({ acceptedBallot, acceptedVersion }, own) <= 0) return ops;
    const value = encodeAcceptor({ promised, acceptedBallot, acceptedVersion, value: new Uint8Array(0) });
    this.lost.set(key, { acceptedBallot, acceptedVersion });
    return [...ops, { kind: 'guard', key: `${GUARD.lostPrefix}${key}`, value }];
  }

  /** Takes over what a peer holds, if it is more. */
  merge(
    key: string,
    other: Pick<AcceptorState, 'acceptedBallot' | 'acceptedVersion' | 'value'> & {
      readonly promised: AcceptorState['promised'];
    },
  ): DurableOp[] {
    const own = this.get(key);
    const promised = compareEpochs(other.promised, own.promised) > 0 ? other.promised : own.promised;
    const isNewer = compareAccepted(other, own) > 0;
    if (promised === own.promised && !isNewer) return [];
    const { acceptedBallot, acceptedVersion, value } = isNewer ? other : own;
    return this.put(key, { promised, acceptedBallot, acceptedVersion, value });
  }
}

export function onRegisterPrepare(
  ctx: NodeContext,
  registers: Registers,
  { to, body }: Request<'registerPrepare'>,
): void {
  const fault = whyNot(ctx, registers, body.key);
  if (fault !== null) {
    ctx.reply(to, refuse({ method: 'registerPrepare', body }, fault, ctx));
    return;
  }
  if (registers.lostOf(body.key) !== null) {
    ctx.reply(to, refuse({ method: 'registerPrepare', body }, lostValue(registers, body.key), ctx));
    return;
  }
  const { state, reply } = prepare(registers.get(body.key), body.ballot);
  ctx.persist(registers.put(body.key, state), [{ to, reply: { method: 'registerPrepare', body: reply } }]);
}

export function onRegisterAccept(
  ctx: NodeContext,
  registers: Registers,
  { to, body }: Request<'registerAccept'>,
): void {
  const refuseWith = (because: ReturnType<typeof refusal>) =>
    ctx.reply(to, refuse({ method: 'registerAccept', body }, because, ctx));
  const fault = whyNot(ctx, registers, body.key);
  if (fault !== null) {
    refuseWith(fault);
    return;
  }
  if (body.value.length > MAX_VALUE_BYTES) {
    refuseWith(refusal('TOO_LARGE', `${body.value.length} bytes`));
    return;
  }
  const clusterId = body.key === CLUSTER_KEY ? clusterIdOf(body.value) : null;
  if (body.key === CLUSTER_KEY) {
    if (clusterId === null) {
      refuseWith(refusal('CORRUPT', 'the cluster value cannot be read'));
      return;
    }
    if (ctx.clusterId !== '' && clusterId !== ctx.clusterId) {
      refuseWith(refusal('WRONG_CLUSTER', `this node belongs to cluster ${ctx.clusterId}`));
      return;
    }
  }
  const lost = registers.lostOf(body.key);
  if (
    lost !== null &&
    compareAccepted({ acceptedBallot: body.ballot, acceptedVersion: body.version }, lost) < 0
  ) {
    refuseWith(lostValue(registers, body.key));
    return;
  }
  const { state, reply } = accept(registers.get(body.key), body);
  const ops = registers.put(body.key, state);
  if (reply.accepted && clusterId !== null) tellNodes(ctx, registers);
  ctx.persist(ops, [{ to, reply: { method: 'registerAccept', body: reply } }]);
}

export function onRegisterList(
  ctx: NodeContext,
  registers: Registers,
  { to, body }: Request<'registerList'>,
): void {
  const fault = whyNoVote(ctx, registers);
  if (fault !== null) {
    ctx.reply(to, refuse({ method: 'registerList', body }, fault, ctx));
    return;
  }
  const keys = registers.keys(body.prefix);
  ctx.persist([], [{ to, reply: { method: 'registerList', body: { keys, refusal: null } } }]);
}

export function onRegisterScan(
  ctx: NodeContext,
  registers: Registers,
  { to, body }: Request<'registerScan'>,
): void {
  const fault = whyNoVote(ctx, registers);
  if (fault !== null) {
    ctx.reply(to, refuse({ method: 'registerScan', body }, fault, ctx));
    return;
  }
  const entries: AcceptedRegister[] = [];
  const maxBytes = Math.min(body.maxBytes, MAX_VALUE_BYTES);
  let bytes = 0;
  let done = true;
  for (const key of registers.keys(body.prefix)) {
    const { acceptedBallot: ballot, acceptedVersion: version, value } = registers.get(key);
    if (key <= body.after || ballot === null || registers.lostOf(key) !== null) continue;
    bytes += key.length + value.length;
    if (entries.length > 0 && bytes > maxBytes) {
      done = false;
      break;
    }
    entries.push({ key, ballot, version, value });
  }
  ctx.persist([], [{ to, reply: { method: 'registerScan', body: { entries, done, refusal: null } } }]);
}

/** What the cluster register says of where the nodes are; it need not be committed to be worth a try. */
export function tellNodes(ctx: NodeContext, registers: Registers): void {
  const { acceptedBallot, value } = registers.get(CLUSTER_KEY);
  const cluster = acceptedBallot === null ? null : clusterOf(value);
  if (cluster !== null) ctx.emit({ kind: 'nodes', nodes: cluster.nodes });
}

/** For good. Only on the word of somebody who knows that the cluster is committed: of two that are being made at once, one comes to nothing. */
export function joinCluster(ctx: NodeContext, clusterId: string): DurableOp[] {
  if (clusterId === ctx.clusterId) return [];
  ctx.clusterId = clusterId;
  ctx.log('info', 'joined a cluster', { clusterId });
  return [{ kind: 'guard', key: GUARD.clusterId, value: encodeText(clusterId) }];
}

export function isRegisterKey(key: string): boolean {
  return KEY_FORM.test(key);
}

function whyNot(ctx: NodeContext, registers: Registers, key: string): Refusal | null {
  if (!isRegisterKey(key))
    return refusal('BAD_REQUEST', `no register is called ${JSON.stringify(key.slice(0, 100))}`);
  return whyNoVote(ctx, registers);
}

function whyNoVote(ctx: NodeContext, registers: Registers): Refusal | null {
  const unsure = ctx.whyUnsure(null);
  if (unsure !== null) return unsure;
  return registers.isTrusted
    ? null
    : refusal(
        'QUARANTINED',
        'something was forgotten here; the registers are being compared with the others',
      );
}

/** Names the promise, which stands: others that repair theirs learn it so. */
function lostValue(registers: Registers, key: string): Refusal {
  const message = `what was accepted here of register ${key} is lost; a newer value ends that`;
  return refusal('QUARANTINED', message, registers.get(key).promised);
}

/** null: not a cluster value, or none. */
export function clusterIdOf(value: Uint8Array): string | null {
  return clusterOf(value)?.clusterId ?? null;
}

export function clusterOf(value: Uint8Array): ClusterValue | null {
  try {
    return decodeCluster(value);
  } catch (error) {
    if (isTidemarkError(error)) return null;
    throw error;
  }
}

function compareAccepted(a: LostValue, b: LostValue): number {
  if (a.acceptedBallot === null || b.acceptedBallot === null) {
    return (a.acceptedBallot === null ? 0 : 1) - (b.acceptedBallot === null ? 0 : 1);
  }
  return compareEpochs(a.acceptedBallot, b.acceptedBallot) || a.acceptedVersion - b.acceptedVersion;
}

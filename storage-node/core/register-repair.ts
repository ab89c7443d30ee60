/**
 * Repair of the registers after damage to the journal: this acceptor may have forgotten promises it gave and values it accepted.
 *
 * It asks the other nodes what they hold, by peeks that disturb nobody, and adopts all of it: the highest promise and the newest accepted
 * value of every key. Three intact answers suffice. Quorums are four of six, so any two share two nodes; one forgetful acceptor
 * alone cannot break them, and what was decided with its vote is held by three of the other five, of which any three that answer include
 * one. Nodes that are under repair themselves refuse and do not count, so that several forgetful ones cannot vouch for each other.
 *
 * A peer that lost what it had accepted of one register (registers.ts) tells its promise alone. It counts as answering: since it abstains itself until
 * something newer comes, any four that vote still include a holder.
 *
 * The same nodes tell which segments this one has, which it may have forgotten too (discovery.ts): a segment was installed on four, so any
 * three of the other five include one that knows it.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { NO_EPOCH } from '../../src/log/epoch.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { NodeContext } from './context.ts';
import type { DurableOp } from './effects.ts';
import { discoverFrom } from './discovery.ts';
import { type Program, callPeer } from './program.ts';
import { CLUSTER_KEY, type Registers, clusterIdOf, joinCluster } from './registers.ts';

const NEEDED_PEERS = 3;

/** One attempt over all peers. Returns whether the registers can be trusted now. */
export function* repairRegisters(ctx: NodeContext, registers: Registers): Program<boolean> {
  const peers = ctx.options.peers
    .map((peer) => peer.nodeId)
    .filter((nodeId) => nodeId !== ctx.options.nodeId);
  const ops: DurableOp[] = [];
  if (ctx.clusterId === '') yield* findCluster(ctx, registers, peers, ops);
  const keys = new Set<string>([CLUSTER_KEY, ...registers.keys('')]);
  const listed: NodeId[] = [];
  for (const peer of peers) {
    const known = yield* listKeys(ctx, peer);
    if (known === null) continue;
    listed.push(peer);
    for (const key of known) keys.add(key);
  }
  let complete = 0;
  for (const peer of listed) {
    if ((yield* adoptFrom(ctx, registers, peer, keys, ops)) && (yield* discoverFrom(ctx, peer)))
      complete += 1;
  }
  ctx.persist(ops, []);
  if (complete < NEEDED_PEERS) return false;
  registers.isTrusted = true;
  ctx.log('info', 'the registers agree with the other nodes again', { peers: complete, keys: keys.size });
  return true;
}

/** The cluster register may be asked by anybody; it tells which cluster the other questions are about. */
function* findCluster(
  ctx: NodeContext,
  registers: Registers,
  peers: readonly NodeId[],
  ops: DurableOp[],
): Program<void> {
  for (const peer of peers) yield* adoptFrom(ctx, registers, peer, new Set([CLUSTER_KEY]), ops);
  const clusterId = clusterIdOf(registers.get(CLUSTER_KEY).value);
  if (clusterId !== null) ops.push(...joinCluster(ctx, clusterId));
}

function* listKeys(ctx: NodeContext, peer: NodeId): Program<readonly string[] | null> {
  try {
    const answer = yield* callPeer(peer, {
      method: 'registerList',
      body: { clusterId: ctx.clusterId, prefix: '' },
    });
    return answer.method === 'registerList' && answer.body.refusal === null ? answer.body.keys : null;
  } catch (error) {
    if (isTidemarkError(error, 'UNAVAILABLE')) return null;
    throw error;
  }
}

function* adoptFrom(
  ctx: NodeContext,
  registers: Registers,
  peer: NodeId,
  keys: ReadonlySet<string>,
  ops: DurableOp[],
): Program<boolean> {
  try {
    for (const key of keys) {
      const body = { clusterId: ctx.clusterId, key, ballot: NO_EPOCH };
      const answer = yield* callPeer(peer, { method: 'registerPrepare', body });
      if (answer.method !== 'registerPrepare') return false;
      const { refusal } = answer.body;
      if (refusal?.code === 'QUARANTINED' && refusal.promised !== null) {
        ops.push(...registers.recall({ ...registers.itemOf(key), promised: refusal.promised }));
        continue;
      }
      if (refusal !== null) return false;
      const { promisedBallot, acceptedBallot, acceptedVersion, acceptedValue } = answer.body;
      ops.push(
        ...registers.merge(key, {
          promised: promisedBallot ?? NO_EPOCH,
          acceptedBallot,
          acceptedVersion,
          value: new Uint8Array(acceptedValue),
        }),
      );
    }
    return true;
  } catch (error) {
    if (isTidemarkError(error, 'UNAVAILABLE')) return false;
    throw error;
  }
}

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
 * three of the other five include one that knows it. With more than six nodes in the cluster all are asked, and enough is when no PG can have more
 * than two of its five among those that did not answer.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { NO_EPOCH } from '../../src/log/epoch.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import type { NodeContext } from './context.ts';
import type { DurableOp } from './effects.ts';
import { discoverFrom } from './discovery.ts';
import { type Program, callPeer } from './program.ts';
import { CLUSTER_KEY, type Registers, clusterOf, joinCluster, tellNodes } from './registers.ts';

const NEEDED_PEERS = 3;
const MISSED_PEERS = 2;

/** One attempt over all peers. Returns whether the registers can be trusted now. */
export function* repairRegisters(ctx: NodeContext, registers: Registers): Program<boolean> {
  const ops: DurableOp[] = [];
  const peers = yield* findPeers(ctx, registers, ops);
  const keys = new Set<string>([CLUSTER_KEY, ...registers.keys('')]);
  const listed: NodeId[] = [];
  for (const { nodeId: peer } of peers) {
    const known = yield* listKeys(ctx, peer);
    if (known === null) continue;
    listed.push(peer);
    for (const key of known) keys.add(key);
  }
  const complete = new Set<NodeId>();
  for (const peer of listed) {
    if ((yield* adoptFrom(ctx, registers, peer, keys, ops)) && (yield* discoverFrom(ctx, peer)))
      complete.add(peer);
  }
  ctx.persist(ops, []);
  const missing = peers.filter(({ nodeId }) => !complete.has(nodeId));
  if (complete.size < NEEDED_PEERS || missedOfOnePg(ctx, missing) > MISSED_PEERS) return false;
  registers.isTrusted = true;
  ctx.log('info', 'the registers agree with the other nodes again', {
    peers: complete.size,
    keys: keys.size,
  });
  return true;
}

/**
 * Everybody who may hold a register or segment together with this node: the cluster register names them, and may be asked by anybody. Which
 * cluster the other questions are about, those tell who belong to one.
 */
function* findPeers(
  ctx: NodeContext,
  registers: Registers,
  ops: DurableOp[],
): Program<readonly ClusterNode[]> {
  const others = (nodes: readonly ClusterNode[]) =>
    nodes.filter(({ nodeId }) => nodeId !== ctx.options.nodeId);
  const bootstrap = others(ctx.options.peers);
  for (const { nodeId } of bootstrap) {
    yield* adoptFrom(ctx, registers, nodeId, new Set([CLUSTER_KEY]), ops);
    if (ctx.clusterId === '') yield* joinAs(ctx, nodeId, ops);
  }
  const cluster = clusterOf(registers.get(CLUSTER_KEY).value);
  if (cluster === null) return bootstrap;
  tellNodes(ctx, registers);
  const known = new Set(bootstrap.map(({ nodeId }) => nodeId));
  return [...bootstrap, ...others(cluster.nodes).filter(({ nodeId }) => !known.has(nodeId))];
}

/** Joins the cluster that a peer belongs to: an accepted value may be of one that came to nothing. */
function* joinAs(ctx: NodeContext, peer: NodeId, ops: DurableOp[]): Program<void> {
  try {
    const answer = yield* callPeer(peer, { method: 'status', body: { clusterId: '' } });
    if (answer.method === 'status' && answer.body.clusterId !== '')
      ops.push(...joinCluster(ctx, answer.body.clusterId));
  } catch (error) {
    if (!isTidemarkError(error, 'UNAVAILABLE')) throw error;
  }
}

/** How many of one PG's other five may be among these: two of an AZ, one of this node's own. */
function missedOfOnePg(ctx: NodeContext, missing: readonly ClusterNode[]): number {
  const byAz = new Map<string, number>();
  for (const { az } of missing) byAz.set(az, (byAz.get(az) ?? 0) + 1);
  return [...byAz].reduce((sum, [az, count]) => sum + Math.min(count, az === ctx.options.az ? 1 : 2), 0);
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

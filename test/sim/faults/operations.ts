/** What operators do, at the worst of times. */
import { isTidemarkError } from '../../../src/base/errors.ts';
import { readPointAt } from '../../../compute-node/volume/read-point.ts';
import type { NodeOperations, OperationProgress } from '../../../compute-node/node-operations.ts';
import type { SimStorageNode } from '../cluster/storage-node.ts';
import type { SimComputeNode } from '../cluster/compute-node.ts';
import type { Fault, FaultKind } from './fault.ts';

/** A failover that fails is no violation: others went on, or there was no quorum. */
function attempt(fault: Fault, compute: SimComputeNode, what: string, act: () => Promise<void>): void {
  compute.process.later(0, what, () => {
    act().catch((error: unknown) => {
      if (!isTidemarkError(error)) fault.world.fail(what, error);
    });
  });
}

function anyVolume(fault: Fault): string {
  return fault.chance.pick(fault.cluster.workloads).name;
}

function holderOf(fault: Fault, volume: string): SimComputeNode | undefined {
  return fault.cluster.computes.find(({ engines }) => engines.has(volume));
}

export const OPERATIONS: readonly FaultKind[] = [
  {
    name: 'pin',
    weight: 3,
    strike(fault) {
      const volume = anyVolume(fault);
      const holder = holderOf(fault, volume);
      const by = fault.anyCompute;
      const log = holder?.engines.get(volume)?.volume;
      if (log === undefined || !by.process.isUp) return;
      const manifest = fault.cluster.oracle.manifestOf(log.volume);
      const point = manifest === null ? null : readPointAt(manifest, log.vdl);
      if (point === null) return;
      const name = `pin-${fault.chance.id(6)}`;
      const pin = { name, point: { volume: log.volume, ...point } };
      attempt(fault, by, 'pin', async () => {
        const { pins } = await by.changeRetention(volume, (current) => {
          if (pin.point.lsn < current.floor || current.pins.some((other) => other.name === name)) return null;
          return { ...current, pins: [...current.pins, pin] };
        });
        if (!pins.some((other) => other.name === name)) return;
        fault.hit(`${volume} at ${point.lsn}`);
        fault.cluster.onlookers.pinned(name, pin.point);
      });
    },
  },
  {
    name: 'unpin',
    weight: 1,
    strike(fault) {
      const { onlookers, workloads } = fault.cluster;
      const [name] = fault.chance.some([...onlookers.pins.keys()], 1);
      const by = fault.anyCompute;
      if (name === undefined || !by.process.isUp) return;
      onlookers.unpinned(name);
      fault.hit(name);
      for (const { name: volume } of workloads) {
        attempt(fault, by, 'unpin', async () => {
          await by.changeRetention(volume, (current) => {
            const pins = current.pins.filter((pin) => pin.name !== name);
            return pins.length === current.pins.length ? null : { ...current, pins };
          });
        });
      }
    },
  },
  {
    name: 'failover',
    weight: 5,
    strike(fault) {
      const volume = anyVolume(fault);
      const to = fault.anyCompute;
      if (!to.process.isUp) return;
      fault.hit(`${volume} to ${to.computeId}`);
      attempt(fault, to, 'failover', () => to.takeByForce(volume));
    },
  },
  {
    name: 'planned-failover',
    weight: 3,
    strike(fault) {
      const volume = anyVolume(fault);
      const holder = holderOf(fault, volume);
      const to = fault.chance.pick(fault.cluster.computes.filter((compute) => compute !== holder));
      if (holder === undefined) return;
      fault.hit(`${volume} from ${holder.computeId} to ${to.computeId}`);
      attempt(fault, holder, 'release', () => holder.release(volume));
      fault.later(fault.chance.between(1, 400), () =>
        attempt(fault, to, 'failover', () => to.takeByForce(volume)),
      );
    },
  },
  {
    name: 'double-failover',
    weight: 3,
    strike(fault) {
      const volume = anyVolume(fault);
      fault.hit(`${volume} to everyone at once`);
      for (const compute of fault.cluster.computes)
        attempt(fault, compute, 'failover', () => compute.takeByForce(volume));
    },
  },
  {
    name: 'competing-failovers',
    weight: 2,
    strike(fault) {
      const volume = anyVolume(fault);
      fault.hit(`${volume}, again and again`);
      for (let i = 0; i < 6; i += 1) {
        const compute = fault.anyCompute;
        fault.later(i * fault.chance.between(5, 150), () =>
          attempt(fault, compute, 'failover', () => compute.takeByForce(volume)),
        );
      }
    },
  },
  {
    name: 'sleeping-writer',
    weight: 4,
    strike(fault) {
      const volume = anyVolume(fault);
      const holder = holderOf(fault, volume);
      const to = fault.chance.pick(fault.cluster.computes.filter((compute) => compute !== holder));
      if (holder === undefined || !to.process.isUp) return;
      fault.hit(`${holder.computeId} sleeps while ${to.computeId} takes ${volume}`);
      holder.process.stop(fault.chance.chance(0.4));
      fault.lasts(300, 4_000, () => holder.process.goOn());
      fault.later(fault.chance.between(0, 300), () =>
        attempt(fault, to, 'failover', () => to.takeByForce(volume)),
      );
    },
  },
  {
    name: 'deaf-writer',
    weight: 3,
    strike(fault) {
      const volume = anyVolume(fault);
      const holder = holderOf(fault, volume);
      const to = fault.chance.pick(fault.cluster.computes.filter((compute) => compute !== holder));
      if (holder === undefined || !to.process.isUp) return;
      // Some hear one or two nodes still, which nobody else reaches.
      const loyal = fault.chance.chance(0.4)
        ? fault.chance
            .some(fault.cluster.nodes, fault.chance.pick([1, 2]))
            .map(({ nodeId }) => nodeId as string)
        : [];
      fault.hit(
        `${holder.computeId} hears ${loyal.join(' ') || 'nothing'} while ${to.computeId} takes ${volume}`,
      );
      const links = fault
        .linksOf([holder.computeId])
        .filter((link) => link.to === holder.computeId && !loyal.includes(link.from));
      const severed = fault
        .linksOf(loyal)
        .filter(({ from, to: end }) => from !== holder.computeId && end !== holder.computeId);
      fault.onLinks([...links, ...severed], 500, 4_000, (link, sign) => {
        link.cuts += sign;
      });
      fault.later(fault.chance.between(0, 300), () =>
        attempt(fault, to, 'failover', () => to.takeByForce(volume)),
      );
    },
  },
  {
    name: 'segment-moved',
    weight: 4,
    strike: (fault) => moveSegment(fault, null),
  },
  {
    name: 'node-added',
    weight: 3,
    strike(fault) {
      const node = fault.cluster.spares.shift();
      if (node === undefined) return;
      fault.hit(node.nodeId);
      fault.cluster.nodes.push(node);
      node.start();
      addNode(fault, node, 20);
    },
  },
  {
    name: 'node-drained',
    weight: 3,
    strike(fault) {
      const { nodeId } = fault.anyNode;
      fault.hit(nodeId);
      empty(fault, (operations) => operations.drain(nodeId, () => false));
    },
  },
  {
    name: 'node-replaced',
    weight: 3,
    strike(fault) {
      const { cluster, chance, anyNode: leaving } = fault;
      const takers = cluster.nodes.filter(({ az, nodeId }) => az === leaving.az && nodeId !== leaving.nodeId);
      const taker = chance.pick(takers);
      fault.hit(`${leaving.nodeId} by ${taker.nodeId}`);
      empty(fault, (operations) => operations.replace(leaving.nodeId, taker.nodeId, () => false));
      if (chance.chance(0.4))
        fault.later(chance.between(50, 2_000), () =>
          attempt(fault, fault.anyCompute, 'revert', () =>
            fault.anyCompute.operate(async (operations) => {
              await operations.revert(leaving.nodeId, taker.nodeId);
            }),
          ),
        );
    },
  },
  {
    name: 'segment-move-taken-back',
    weight: 2,
    strike: (fault) => moveSegment(fault, fault.chance.between(5, 1_500)),
  },
];

/** Until it has worked, or the calm begins: an operator would not give up either. */
function addNode(fault: Fault, node: SimStorageNode, attempts: number): void {
  const compute = fault.anyCompute;
  attempt(fault, compute, 'add a node', async () => {
    try {
      await compute.operate((operations) => operations.add(node.config));
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      if (attempts > 0) fault.later(300, () => addNode(fault, node, attempts - 1));
    }
  });
}

function empty(fault: Fault, begin: (operations: NodeOperations) => AsyncGenerator<OperationProgress>): void {
  const compute = fault.anyCompute;
  attempt(fault, compute, 'empty a node', () =>
    compute.operate(async (operations) => {
      for await (const progress of begin(operations))
        if (progress.kind === 'end') fault.world.note(compute.computeId, () => `emptied ${progress.node}`);
    }),
  );
}

/** One segment of an open volume goes to another node of its zone; `revertAfterMs`: and back, if it is not there by then. */
function moveSegment(fault: Fault, revertAfterMs: number | null): void {
  const { chance, cluster } = fault;
  const volume = anyVolume(fault);
  const engine = holderOf(fault, volume)?.engines.get(volume);
  if (engine === undefined) return;
  const { members: operator } = engine.volume;
  const config = chance.pick(operator.pgs);
  const choices = config.members.flatMap((old) => {
    const zone = cluster.node(old).az;
    const others = cluster.nodes.filter(({ az, nodeId }) => az === zone && !config.members.includes(nodeId));
    return others.map(({ nodeId }) => ({ old, newcomer: nodeId }));
  });
  const choice = chance.pick(choices);
  if (choice === undefined || config.proposed !== null) return;
  const { old, newcomer } = choice;
  const proposed = config.members.map((member) => (member === old ? newcomer : member));
  fault.hit(`${volume}/${config.pg} from ${old} to ${newcomer}`);
  ask(fault, () => operator.propose(config.pg, proposed));
  if (revertAfterMs !== null) fault.later(revertAfterMs, () => ask(fault, () => operator.revert(config.pg)));
}

/** An operator may be refused. */
function ask(fault: Fault, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!isTidemarkError(error)) fault.world.fail('a change of members', error);
  }
}

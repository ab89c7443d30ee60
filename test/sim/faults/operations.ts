/** What operators do, at the worst of times. */
import { isTidemarkError } from '../../../src/base/errors.ts';
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
      fault.hit(`${holder.computeId} hears nothing while ${to.computeId} takes ${volume}`);
      const links = fault.linksOf([holder.computeId]).filter((link) => link.to === holder.computeId);
      fault.onLinks(links, 500, 4_000, (link, sign) => {
        link.cuts += sign;
      });
      fault.later(fault.chance.between(0, 300), () =>
        attempt(fault, to, 'failover', () => to.takeByForce(volume)),
      );
    },
  },
];

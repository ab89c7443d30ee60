/** What the network does. */
import type { Fault, FaultKind } from './fault.ts';

const SHORT_MS = 200;
const LONG_MS = 4_000;

function everyLink(fault: Fault) {
  const { names, links } = fault.cluster;
  return names.flatMap((from) => names.filter((to) => to !== from).map((to) => links.between(from, to)));
}

export const NETWORK_FAULTS: readonly FaultKind[] = [
  {
    name: 'loss',
    weight: 3,
    strike(fault) {
      const share = fault.chance.pick([0.02, 0.1, 0.3]);
      fault.hit(`${share} of all unary messages`);
      fault.onLinks(everyLink(fault), SHORT_MS, LONG_MS, (link, sign) => {
        link.loss += sign * share;
      });
    },
  },
  {
    name: 'duplication',
    weight: 3,
    strike(fault) {
      const share = fault.chance.pick([0.1, 0.5]);
      fault.hit(`${share} of all unary messages`);
      fault.onLinks(everyLink(fault), SHORT_MS, LONG_MS, (link, sign) => {
        link.duplication += sign * share;
      });
    },
  },
  {
    name: 'reordering',
    weight: 3,
    strike(fault) {
      const jitterMs = fault.chance.pick([2, 20, 150]);
      fault.hit(`up to ${jitterMs} ms`);
      fault.onLinks(everyLink(fault), SHORT_MS, LONG_MS, (link, sign) => {
        link.jitterMs += sign * jitterMs;
      });
    },
  },
  {
    name: 'slow-link',
    weight: 3,
    strike(fault) {
      const [from = '', to = ''] = fault.chance.some(fault.cluster.names, 2);
      const slownessMs = fault.chance.pick([5, 40]);
      fault.hit(`${from} to ${to}, typically ${slownessMs} ms, seldom much more`);
      fault.onLinks([fault.cluster.links.between(from, to)], SHORT_MS, LONG_MS, (link, sign) => {
        link.slownessMs += sign * slownessMs;
      });
    },
  },
  {
    name: 'slow-node',
    weight: 2,
    strike(fault) {
      const nodes = fault.chance
        .some(fault.cluster.nodes, fault.chance.integer(1, 2))
        .map(({ nodeId }) => nodeId);
      const slownessMs = fault.chance.pick([20, 100]);
      fault.hit(`${nodes.join(' ')}, typically ${slownessMs} ms`);
      fault.onLinks(fault.linksOf(nodes), SHORT_MS, LONG_MS, (link, sign) => {
        link.slownessMs += sign * slownessMs;
      });
    },
  },
  {
    name: 'one-way-cut',
    weight: 4,
    strike(fault) {
      const [from = '', to = ''] = fault.chance.some(fault.cluster.names, 2);
      fault.hit(`${from} to ${to}`);
      fault.onLinks([fault.cluster.links.between(from, to)], SHORT_MS, LONG_MS * 2, (link, sign) => {
        link.cuts += sign;
      });
    },
  },
  {
    name: 'node-cut-off',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode.nodeId;
      fault.hit(node);
      fault.onLinks(fault.linksOf([node]), SHORT_MS, LONG_MS * 2, (link, sign) => {
        link.cuts += sign;
      });
    },
  },
  {
    name: 'node-deaf',
    weight: 2,
    strike(fault) {
      const node = fault.anyNode.nodeId;
      const links = fault.linksOf([node]).filter(({ to }) => to === node);
      fault.hit(node);
      fault.onLinks(links, SHORT_MS, LONG_MS * 2, (link, sign) => {
        link.cuts += sign;
      });
    },
  },
  {
    name: 'zone-cut-off',
    weight: 3,
    strike(fault) {
      const zone = fault.anyZone.map(({ nodeId }) => nodeId);
      fault.hit(zone.join(' '));
      fault.onLinks(fault.linksOf(zone), SHORT_MS, LONG_MS, (link, sign) => {
        link.cuts += sign;
      });
    },
  },
  {
    name: 'compute-cut-off',
    weight: 3,
    strike(fault) {
      const compute = fault.anyCompute.computeId;
      fault.hit(compute);
      fault.onLinks(fault.linksOf([compute]), SHORT_MS, LONG_MS, (link, sign) => {
        link.cuts += sign;
      });
    },
  },
  {
    name: 'compute-half-cut-off',
    weight: 4,
    strike(fault) {
      const compute = fault.anyCompute.computeId;
      const nodes = fault.chance
        .some(fault.cluster.nodes, fault.chance.integer(2, 4))
        .map(({ nodeId }) => nodeId);
      const links = fault
        .linksOf([compute])
        .filter(({ from, to }) => nodes.some((node) => node === from || node === to));
      fault.hit(`${compute} from ${nodes.join(' ')}`);
      fault.onLinks(links, SHORT_MS, LONG_MS * 2, (link, sign) => {
        link.cuts += sign;
      });
    },
  },
  {
    name: 'split',
    weight: 2,
    strike(fault) {
      const { names } = fault.cluster;
      const side = fault.chance.some(names, fault.chance.integer(2, names.length - 2));
      fault.hit(`${side.join(' ')} from the others`);
      fault.onLinks(fault.linksOf(side), SHORT_MS, LONG_MS, (link, sign) => {
        link.cuts += sign;
      });
    },
  },
  {
    name: 'gossip-cut',
    weight: 2,
    strike(fault) {
      const nodes = fault.cluster.nodes.map(({ nodeId }) => nodeId);
      const between = everyLink(fault).filter(
        ({ from, to }) => nodes.some((n) => n === from) && nodes.some((n) => n === to),
      );
      fault.hit('no node reaches another');
      fault.onLinks(between, SHORT_MS, LONG_MS * 2, (link, sign) => {
        link.cuts += sign;
      });
    },
  },
  {
    name: 'half-open',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode.nodeId;
      const compute = fault.anyCompute.computeId;
      const [from, to] = fault.chance.chance(0.5) ? [node, compute] : [compute, node];
      fault.hit(`streams from ${from} to ${to} carry nothing`);
      fault.onLinks([fault.cluster.links.between(from, to)], SHORT_MS, LONG_MS, (link, sign) => {
        link.stalls += sign;
      });
    },
  },
  {
    name: 'clogging',
    weight: 2,
    strike(fault) {
      const node = fault.anyNode.nodeId;
      const msPerByte = fault.chance.pick([0.002, 0.02]);
      fault.hit(`${node}: ${1 / msPerByte} bytes per ms`);
      fault.onLinks(fault.linksOf([node]), SHORT_MS, LONG_MS, (link, sign) => {
        link.msPerByte += sign * msPerByte;
      });
    },
  },
  {
    name: 'stream-reset',
    weight: 3,
    strike(fault) {
      const [one = '', other = ''] = fault.chance.chance(0.5)
        ? [fault.anyNode.nodeId, fault.anyCompute.computeId]
        : fault.chance.some(fault.cluster.names, 2);
      fault.hit(`between ${one} and ${other}`);
      fault.cluster.links.resetBetween(one, other);
    },
  },
];

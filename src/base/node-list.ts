/**
 * The text form of a list of storage nodes, as flags, environment and files carry it:
 *
 *     az1-a=az1@127.0.0.1:7101,az1-b=az1@127.0.0.1:7102,az2-a=az2@[::1]:7103
 *
 * node id = AZ @ host:port. Order is kept. Node ids and addresses are unique in a list.
 */
import type { NodeId } from '../log/lsn.ts';
import type { ClusterNode } from '../register/values.ts';
import { TidemarkError } from './errors.ts';

/** Node ids and AZ labels travel in messages, file names and logs: short, no separators of ours. */
const LABEL_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const FORM = 'NODE=AZ@HOST:PORT, for example az1-a=az1@127.0.0.1:7101';

export function parseNodeList(text: string): readonly ClusterNode[] {
  const nodes = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
    .map(parseNode);
  if (nodes.length === 0) throw badList('the list of storage nodes is empty');
  assertUnique(nodes, (node) => node.nodeId, 'node id');
  assertUnique(nodes, (node) => node.address, 'address');
  return nodes;
}

export function formatNodeList(nodes: readonly ClusterNode[]): string {
  return nodes.map((node) => `${node.nodeId}=${node.az}@${node.address}`).join(',');
}

/** `az1-a`: throws BAD_REQUEST for what cannot be a node id. */
export function parseNodeId(text: string): NodeId {
  if (!LABEL_PATTERN.test(text)) throw badList(`"${text}" cannot be a node id`, LABEL_RULE);
  return text as NodeId;
}

export function parseAz(text: string): string {
  if (!LABEL_PATTERN.test(text)) throw badList(`"${text}" cannot be an availability zone label`, LABEL_RULE);
  return text;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `host:port` or `[ipv6]:port`; port 0 (pick a free one) only where `allowPortZero`. */
export function parseHostPort(text: string, options: { readonly allowPortZero?: boolean } = {}): HostPort {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s@,=/]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) throw badList(`"${text}" is not HOST:PORT`);
  if (port === 0 && options.allowPortZero !== true) throw badList(`"${text}": port 0 cannot be reached`);
  return { host, port };
}

export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function parseNode(entry: string): ClusterNode {
  const match = /^([^=@]+)=([^=@]+)@([^=@]+)$/.exec(entry);
  if (match === null) throw badList(`"${entry}" is not ${FORM}`);
  const [, nodeId = '', az = '', address = ''] = match;
  parseHostPort(address.trim());
  return { nodeId: parseNodeId(nodeId.trim()), az: parseAz(az.trim()), address: address.trim() };
}

function assertUnique(nodes: readonly ClusterNode[], key: (node: ClusterNode) => string, what: string): void {
  const seen = new Set<string>();
  for (const node of nodes) {
    const value = key(node);
    if (seen.has(value)) throw badList(`${what} "${value}" stands twice in the list of storage nodes`);
    seen.add(value);
  }
}

const LABEL_RULE = 'Use letters, digits, ".", "_" and "-" (at most 63, beginning with a letter or digit).';

function badList(
  message: string,
  nextStep = `Write each node as ${FORM}; separate nodes by commas.`,
): TidemarkError {
  return new TidemarkError('BAD_REQUEST', message, { nextStep });
}

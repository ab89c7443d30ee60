/**
 * What `up` keeps in its data directory:
 *
 *     up.lock         who runs it (lock.ts)
 *     cluster.json    {"format": 1, "nodes": [{"nodeId", "az", "port"}]}: the storage nodes and their ports, kept over restarts
 *     nodes/az1-a/    a storage node's data directory
 *     logs/az1-a.log  what it said; logs/compute.log the compute node
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { TidemarkError } from '../../src/base/errors.ts';
import { freePorts, isPortFree } from './ports.ts';

const FORMAT = 1;
const FILE = 'cluster.json';
/** Three availability zones, as quorums of six want them. */
const ZONES = 3;
export const MIN_STORAGE_NODES = 6;
export const MAX_STORAGE_NODES = 60;

export interface LocalNode {
  readonly nodeId: string;
  readonly az: string;
  readonly port: number;
}

export interface Layout {
  readonly directory: string;
  readonly nodes: readonly LocalNode[];
  /** Nodes whose kept port was taken by somebody else. */
  readonly movedNodes: readonly string[];
  readonly isNew: boolean;
}

/** az1-a, az1-b, az2-a …: `count` nodes spread evenly over three zones. */
export function nodeNames(count: number): { readonly nodeId: string; readonly az: string }[] {
  const names = Array.from({ length: count }, (_, i) => {
    const az = `az${(i % ZONES) + 1}`;
    return { az, nodeId: `${az}-${String.fromCharCode(97 + Math.floor(i / ZONES))}` };
  });
  return names.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
}

/** Makes the directory, or brings back what it holds. Throws WRONG_FORMAT, NOT_EMPTY, BAD_REQUEST, IO_ERROR. */
export async function prepareLayout(
  directory: string,
  host: string,
  storageNodes: number | null,
  avoidPorts: ReadonlySet<number>,
): Promise<Layout> {
  for (const folder of ['nodes', 'logs']) makeFolder(join(directory, folder));
  const kept = readLayout(directory);
  if (kept === null) {
    const names = nodeNames(storageNodes ?? MIN_STORAGE_NODES);
    const ports = await freePorts(host, names.length, avoidPorts);
    const nodes = names.map((name, i) => ({ ...name, port: ports[i]! }));
    writeLayout(directory, nodes);
    return { directory, nodes, movedNodes: [], isNew: true };
  }
  if (storageNodes !== null && storageNodes !== kept.length) {
    throw new TidemarkError('BAD_REQUEST', `${directory} holds a cluster of ${kept.length} storage nodes`, {
      nextStep: `Leave out --storage-nodes, or choose another directory with --data DIR.`,
    });
  }
  const nodes = await refreshPorts(kept, host, avoidPorts);
  const movedNodes = nodes.filter((node, i) => node.port !== kept[i]!.port).map(({ nodeId }) => nodeId);
  if (movedNodes.length > 0) writeLayout(directory, nodes);
  return { directory, nodes, movedNodes, isNew: false };
}

/** Refuses a directory that holds other things, before anything is made in it. */
export function checkDirectory(directory: string): void {
  if (!existsSync(directory) || existsSync(join(directory, FILE))) return;
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (cause) {
    throw unusable(directory, cause);
  }
  const foreign = names.filter((name) => !/^(?:up\.lock.*|nodes|logs|lost\+found)$/.test(name));
  if (foreign.length === 0) return;
  throw new TidemarkError(
    'NOT_EMPTY',
    `${directory} is not a Tidemark data directory (it holds ${foreign[0]})`,
    {
      nextStep: 'Choose an empty or a new directory with --data DIR.',
    },
  );
}

export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    throw unusable(path, cause);
  }
}

async function refreshPorts(
  kept: readonly LocalNode[],
  host: string,
  avoidPorts: ReadonlySet<number>,
): Promise<LocalNode[]> {
  const usable = await Promise.all(
    kept.map(async ({ port }) => !avoidPorts.has(port) && (await isPortFree(host, port))),
  );
  const missing = usable.filter((isUsable) => !isUsable).length;
  const fresh = await freePorts(host, missing, new Set([...avoidPorts, ...kept.map(({ port }) => port)]));
  return kept.map((node, i) => (usable[i] ? node : { ...node, port: fresh.shift()! }));
}

function readLayout(directory: string): readonly LocalNode[] | null {
  const path = join(directory, FILE);
  if (!existsSync(path)) return null;
  let parsed: { readonly format?: unknown; readonly nodes?: unknown };
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8')) as typeof parsed;
  } catch (cause) {
    throw wrongFormat(path, 'it is not JSON', cause);
  }
  if (parsed.format !== FORMAT) throw wrongFormat(path, `it has format ${JSON.stringify(parsed.format)}`);
  if (
    !Array.isArray(parsed.nodes) ||
    parsed.nodes.length < MIN_STORAGE_NODES ||
    !parsed.nodes.every(isNode)
  ) {
    throw wrongFormat(path, 'its list of nodes is damaged');
  }
  return parsed.nodes;
}

function isNode(value: unknown): value is LocalNode {
  if (typeof value !== 'object' || value === null) return false;
  const { nodeId, az, port } = value as Partial<LocalNode>;
  return typeof nodeId === 'string' && typeof az === 'string' && Number.isInteger(port);
}

function writeLayout(directory: string, nodes: readonly LocalNode[]): void {
  const path = join(directory, FILE);
  writeFileSync(`${path}.new`, `${JSON.stringify({ format: FORMAT, nodes }, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

function wrongFormat(path: string, why: string, cause?: unknown): TidemarkError {
  return new TidemarkError('WRONG_FORMAT', `${path} cannot be used: ${why}`, {
    cause,
    nextStep: 'Use the version of tidemark that wrote it, or choose another directory with --data DIR.',
  });
}

function unusable(directory: string, cause: unknown): TidemarkError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new TidemarkError('IO_ERROR', `cannot use ${directory}: ${why}`, {
    cause,
    nextStep: 'Choose a directory that you may write to with --data DIR.',
  });
}

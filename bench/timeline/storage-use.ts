/** What the storage nodes take: memory of each process, as the kernel counts it, and bytes of the files of each store. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { OwnCluster } from '../suite.ts';

export interface NodeUse {
  readonly nodeId: string;
  readonly residentBytes: number;
  /** Without the journal, whose size is fixed. */
  readonly storeBytes: number;
}

export function storageUse(own: OwnCluster): readonly NodeUse[] {
  return own.nodes.map(({ nodeId }) => ({
    nodeId,
    residentBytes: residentBytes(own.pid(nodeId)),
    storeBytes: folderBytes(join(own.directory, 'nodes', nodeId, 'store')),
  }));
}

/** Of the node where `field` grew most. */
export function mostGrown(
  before: readonly NodeUse[],
  after: readonly NodeUse[],
  field: 'residentBytes' | 'storeBytes',
): number {
  return Math.max(...after.map((use, node) => use[field] - before[node]![field]));
}

function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1]) * 1_024;
}

function folderBytes(folder: string): number {
  let bytes = 0;
  for (const name of readdirSync(folder)) {
    // Files come and go while they are looked at.
    bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

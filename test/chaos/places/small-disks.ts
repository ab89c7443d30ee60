/**
 * Small disks in memory (tmpfs), one per storage node, that can be filled up and emptied again. Needs root; `SmallDisks.missing` says what is in
 * the way.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { STORAGE_NODES, type StorageNodeName } from '../../support/real-cluster.ts';

const run = promisify(execFile);

const SIZE_BYTES = 128 * 1024 * 1024;
/** Below the half at which a node refuses appends (storage-node/driver/gauges.ts), and enough for what goes on without them. */
const LEFT_BYTES = 4 * 1024 * 1024;

export class SmallDisks {
  readonly #directory: string;
  readonly #mounted: StorageNodeName[] = [];

  /** Why there can be none here; null when there can. Tries it. */
  static async missing(): Promise<string | null> {
    if (process.getuid?.() !== 0) return 'it takes root to mount file systems';
    try {
      await (await SmallDisks.open(['az1-a'])).close();
      return null;
    } catch (error) {
      return (error as Error).message.trim();
    }
  }

  static async open(nodes: readonly StorageNodeName[] = STORAGE_NODES): Promise<SmallDisks> {
    const disks = new SmallDisks(await mkdtemp(join(tmpdir(), 'tidemark-disks-')));
    try {
      for (const node of nodes) {
        await mkdir(disks.#mountOf(node));
        await run('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_BYTES}`, 'tmpfs', disks.#mountOf(node)]);
        disks.#mounted.push(node);
      }
      return disks;
    } catch (error) {
      await disks.close();
      throw error;
    }
  }

  private constructor(directory: string) {
    this.#directory = directory;
  }

  directoryOf(node: StorageNodeName): string {
    return join(this.#mountOf(node), 'data');
  }

  /** Somebody else's file takes what is left, nearly. */
  async fill(node: StorageNodeName): Promise<void> {
    const { bavail, bsize } = await statfs(this.#mountOf(node));
    const bytes = bavail * bsize - LEFT_BYTES;
    if (bytes > 0) await run('fallocate', ['-l', String(bytes), join(this.#mountOf(node), 'ballast')]);
  }

  async empty(node: StorageNodeName): Promise<void> {
    await rm(join(this.#mountOf(node), 'ballast'), { force: true });
  }

  async close(): Promise<void> {
    for (const node of this.#mounted.splice(0)) await run('umount', [this.#mountOf(node)]);
    await rm(this.#directory, { recursive: true, force: true });
  }

  #mountOf(node: StorageNodeName): string {
    return join(this.#directory, node);
  }
}

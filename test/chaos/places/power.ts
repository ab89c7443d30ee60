/**
 * Disks whose power can be cut: one ext4 file system per storage node, in an image of its own on a loop device, and ext4's shutdown ioctl, which
 * stops the file system where it stands. What was synced is in the image; what was not, in data or in ext4's journal, is gone.
 * Needs root and a kernel that mounts; `PowerSupply.missing` says what is in the way.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { STORAGE_NODES, type StorageNodeName } from '../../support/real-cluster.ts';

const run = promisify(execFile);

/** Images are sparse. */
const IMAGE_BYTES = 384 * 1024 * 1024;
/** Memory, where images are cheap to sync, when it has room for all. */
const SHARED_MEMORY = '/dev/shm';

/**
 * EXT4_IOC_SHUTDOWN (_IOR('X', 125, __u32)), for all mount points given, one right after the other. 2: the journal of the file system is not flushed
 * either. Node has no ioctl; perl is part of every Debian.
 */
const CUT = `
  my @open = map { open(my $d, "<", $_) or die "$_: $!"; $d } @ARGV;
  for (@open) { my $flags = pack("L", 2); defined(ioctl($_, 0x8004587d, $flags)) or die "ioctl: $!"; }`;

export class PowerSupply {
  readonly #directory: string;
  readonly #images: string;
  readonly #off = new Set<StorageNodeName>();
  readonly #mounted = new Set<StorageNodeName>();

  /** Why no power can be cut here; null when it can. Tries it. */
  static async missing(): Promise<string | null> {
    if (process.getuid?.() !== 0) return 'it takes root to mount file systems';
    let supply: PowerSupply | null = null;
    try {
      supply = await PowerSupply.open(['az1-a']);
      const probe = join(supply.directoryOf('az1-a'), 'probe');
      await writeFile(probe, 'unsynced');
      await supply.cut(['az1-a']);
      const written = await writeFile(probe, 'x').then(
        () => true,
        () => false,
      );
      if (written) return 'the shutdown ioctl did not stop the file system';
      await supply.restore('az1-a');
      return null;
    } catch (error) {
      return (error as Error).message.trim();
    } finally {
      await supply?.close();
    }
  }

  static async open(nodes: readonly StorageNodeName[] = STORAGE_NODES): Promise<PowerSupply> {
    const directory = await mkdtemp(join(tmpdir(), 'tidemark-power-'));
    const supply = new PowerSupply(directory, await mkdtemp(join(await imageHome(), 'tidemark-images-')));
    try {
      for (const node of nodes) {
        await mkdir(supply.directoryOf(node));
        await writeFile(supply.#image(node), '');
        await truncate(supply.#image(node), IMAGE_BYTES);
        await run('mkfs.ext4', ['-q', '-F', supply.#image(node)]);
        await supply.#mount(node);
      }
      return supply;
    } catch (error) {
      await supply.close();
      throw error;
    }
  }

  private constructor(directory: string, images: string) {
    this.#directory = directory;
    this.#images = images;
  }

  directoryOf(node: StorageNodeName): string {
    return join(this.#directory, node);
  }

  async cut(nodes: readonly StorageNodeName[]): Promise<void> {
    const on = nodes.filter((node) => !this.#off.has(node));
    for (const node of on) this.#off.add(node);
    if (on.length > 0) await run('perl', ['-e', CUT, ...on.map((node) => this.directoryOf(node))]);
  }

  /** Nobody may use the disk any more. Without effect when the power is on. */
  async restore(node: StorageNodeName): Promise<void> {
    if (!this.#off.has(node)) return;
    await this.#unmount(node);
    await this.#mount(node);
    this.#off.delete(node);
  }

  async close(): Promise<void> {
    for (const node of [...this.#mounted]) await this.#unmount(node);
    await rm(this.#images, { recursive: true, force: true });
    await rm(this.#directory, { recursive: true, force: true });
  }

  #image(node: StorageNodeName): string {
    return join(this.#images, `${node}.ext4`);
  }

  async #mount(node: StorageNodeName): Promise<void> {
    await run('mount', ['-o', 'loop', this.#image(node), this.directoryOf(node)]);
    this.#mounted.add(node);
  }

  async #unmount(node: StorageNodeName): Promise<void> {
    await run('umount', [this.directoryOf(node)]);
    this.#mounted.delete(node);
  }
}

async function imageHome(): Promise<string> {
  const free = await statfs(SHARED_MEMORY).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => 0,
  );
  return free > STORAGE_NODES.length * IMAGE_BYTES ? SHARED_MEMORY : tmpdir();
}

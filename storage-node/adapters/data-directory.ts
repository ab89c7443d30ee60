/**
 * The data directory of one storage node:
 *
 *     tidemark.json, tidemark.copy.json   whose directory this is: {"format": 1, "nodeId": "az1-a", "crc32": …}
 *     journal/ring    preallocated ring of journal entries (journal-entry.ts)
 *     journal/guard-a, journal/guard-b   the guard (journal-guard.ts)
 *     store/          LevelDB (level-store.ts); while it is mended, store.new and store.damaged too (leveldb-files/store-mending.ts)
 *     store.doubts    keys of the store that may have lost their newest value (leveldb-files/store-doubts.ts)
 *     lock/           keeps a second process out (store-lock.ts)
 *
 * The cluster it belongs to is in the guard: the core decides about that.
 */
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { replaceFile } from './journal-disk.ts';

const DIRECTORY_FORMAT = 1;
const IDENTITY_FILES = ['tidemark.json', 'tidemark.copy.json'] as const;

interface Identity {
  readonly format: number;
  readonly nodeId: string;
}

export interface DataDirectory {
  readonly path: string;
  readonly journalPath: string;
  readonly storePath: string;
  readonly lockPath: string;
}

/** Makes it or checks it. Rejects WRONG_FORMAT, WRONG_CLUSTER (another node's), NOT_EMPTY (somebody else's files) or IO_ERROR. */
export async function openDataDirectory(path: string, nodeId: NodeId): Promise<DataDirectory> {
  try {
    await mkdir(path, { recursive: true });
    const identity = await readIdentity(path);
    if (identity === null) await claim(path, nodeId);
    else checkIdentity(path, identity, nodeId);
  } catch (cause) {
    if (cause instanceof TidemarkError) throw cause;
    throw new TidemarkError(
      'IO_ERROR',
      `cannot use the data directory ${path}: ${(cause as Error).message}`,
      {
        cause,
        nextStep: 'Give a directory that this process may write to (--data DIR).',
      },
    );
  }
  return {
    path,
    journalPath: join(path, 'journal'),
    storePath: join(path, 'store'),
    lockPath: join(path, 'lock'),
  };
}

/** Two copies, each with its checksum: a damaged or missing one is written again from the other. null: there is none. */
async function readIdentity(path: string): Promise<Identity | null> {
  const copies = await Promise.all(IDENTITY_FILES.map((name) => readCopy(join(path, name))));
  const intact = copies.find((copy) => copy !== null && copy !== 'damaged') as Identity | undefined;
  if (intact === undefined) {
    if (copies.every((copy) => copy === null)) return null;
    throw new TidemarkError('CORRUPT', `${join(path, IDENTITY_FILES[0])} is damaged, and so is its copy`, {
      nextStep: 'Give this storage node an empty directory: it gets its data from the others.',
    });
  }
  for (const [index, copy] of copies.entries()) {
    if (copy === null || copy === 'damaged') {
      await replaceFile(join(path, IDENTITY_FILES[index] as string), encodeIdentity(intact));
    }
  }
  return intact;
}

async function readCopy(path: string): Promise<Identity | 'damaged' | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const { format, nodeId, crc32 } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (typeof format !== 'number' || typeof nodeId !== 'string') return 'damaged';
    return crc32 === checksumOf({ format, nodeId }) ? { format, nodeId } : 'damaged';
  } catch {
    return 'damaged';
  }
}

async function claim(path: string, nodeId: NodeId): Promise<void> {
  const own = IDENTITY_FILES.map((name) => `${name}.new`);
  const foreign = (await readdir(path)).filter((name) => !own.includes(name) && name !== 'lost+found');
  if (foreign.length > 0) {
    throw new TidemarkError('NOT_EMPTY', `${path} is not a storage node's data directory, and not empty`, {
      nextStep: 'Give an empty directory, or the one this storage node had before (--data DIR).',
    });
  }
  for (const name of IDENTITY_FILES) {
    await replaceFile(join(path, name), encodeIdentity({ format: DIRECTORY_FORMAT, nodeId }));
  }
}

function checkIdentity(path: string, { format, nodeId: owner }: Identity, nodeId: NodeId): void {
  if (format !== DIRECTORY_FORMAT) {
    throw new TidemarkError(
      'WRONG_FORMAT',
      `${path} has format ${format}; this build knows ${DIRECTORY_FORMAT}`,
      { nextStep: 'Start this storage node with the build that wrote the directory, or a newer one.' },
    );
  }
  if (owner !== nodeId) {
    throw new TidemarkError(
      'WRONG_CLUSTER',
      `${path} holds the data of storage node ${owner}, not of ${nodeId}`,
      { nextStep: `Start this node with its own directory, or start it as ${owner}.` },
    );
  }
}

function encodeIdentity(identity: Identity): Uint8Array {
  return Buffer.from(`${JSON.stringify({ ...identity, crc32: checksumOf(identity) })}\n`);
}

function checksumOf({ format, nodeId }: Identity): number {
  return nodeCrc32(Buffer.from(`${format} ${nodeId}`));
}

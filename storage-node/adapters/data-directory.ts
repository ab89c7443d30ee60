/**
 * The data directory of one storage node:
 *
 *     tidemark.json   whose directory this is: {"format": 1, "nodeId": "az1-a"}
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
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { replaceFile } from './journal-disk.ts';

const DIRECTORY_FORMAT = 1;
const IDENTITY_FILE = 'tidemark.json';

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

async function readIdentity(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(join(path, IDENTITY_FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw wrongFormat(path, 'is not JSON', cause);
  }
}

async function claim(path: string, nodeId: NodeId): Promise<void> {
  const foreign = (await readdir(path)).filter(
    (name) => name !== `${IDENTITY_FILE}.new` && name !== 'lost+found',
  );
  if (foreign.length > 0) {
    throw new TidemarkError('NOT_EMPTY', `${path} is not a storage node's data directory, and not empty`, {
      nextStep: 'Give an empty directory, or the one this storage node had before (--data DIR).',
    });
  }
  await replaceFile(
    join(path, IDENTITY_FILE),
    Buffer.from(`${JSON.stringify({ format: DIRECTORY_FORMAT, nodeId })}\n`),
  );
}

function checkIdentity(path: string, identity: unknown, nodeId: NodeId): void {
  const { format, nodeId: owner } = identity as { readonly format?: unknown; readonly nodeId?: unknown };
  if (format !== DIRECTORY_FORMAT) throw wrongFormat(path, `has format ${JSON.stringify(format)}`);
  if (owner !== nodeId) {
    throw new TidemarkError(
      'WRONG_CLUSTER',
      `${path} holds the data of storage node ${String(owner)}, not of ${nodeId}`,
      {
        nextStep: `Start this node with its own directory, or start it as ${String(owner)}.`,
      },
    );
  }
}

function wrongFormat(path: string, what: string, cause?: unknown): TidemarkError {
  return new TidemarkError(
    'WRONG_FORMAT',
    `${join(path, IDENTITY_FILE)} ${what}; this build knows ${DIRECTORY_FORMAT}`,
    {
      cause,
      nextStep: 'Start this storage node with the build that wrote the directory, or a newer one.',
    },
  );
}

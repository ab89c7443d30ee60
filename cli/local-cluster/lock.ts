/**
 * One `up` per data directory: a lock file naming the process that holds it. A process that died without taking its lock away is
 * recognised by its id and start time (ids are used again, start times with them hardly ever are).
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TidemarkError } from '../../src/base/errors.ts';

const LOCK_FILE = 'up.lock';

interface Holder {
  readonly pid: number;
  /** Clock ticks since boot at which it began; null where /proc does not tell. */
  readonly startedAt: string | null;
}

export interface DirectoryLock {
  /** A holder before us ended without taking its lock away: its child processes may still be ending. */
  readonly wasStale: boolean;
  release(): void;
}

/** Throws IN_USE, naming the process. */
export function lockDirectory(directory: string): DirectoryLock {
  const path = join(directory, LOCK_FILE);
  const own = `${path}.${process.pid}`;
  const me: Holder = { pid: process.pid, startedAt: startTime(process.pid) };
  writeFileSync(own, `${JSON.stringify(me)}\n`);
  let wasStale = false;
  try {
    for (;;) {
      // link() makes the whole file appear at once, or not at all.
      if (tryLink(own, path)) break;
      const holder = readHolder(path);
      if (holder !== null && isAlive(holder)) throw inUse(directory, holder);
      wasStale = true;
      takeAway(path, holder);
    }
  } finally {
    rmSync(own, { force: true });
  }
  return {
    wasStale,
    release: () => {
      if (readHolder(path)?.pid === process.pid) rmSync(path, { force: true });
    },
  };
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Moved aside before it is removed: of two that found it stale, one moves it, and neither removes the other's new lock. */
function takeAway(path: string, stale: Holder | null): void {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = readHolder(aside);
  if (moved !== null && moved.pid !== stale?.pid && isAlive(moved)) tryLink(aside, path);
  rmSync(aside, { force: true });
}

function readHolder(path: string): Holder | null {
  try {
    const parsed = JSON.parse(readFileSync(path, 'utf8')) as Partial<Holder>;
    return typeof parsed.pid === 'number' ? { pid: parsed.pid, startedAt: parsed.startedAt ?? null } : null;
  } catch {
    return null;
  }
}

function isAlive(holder: Holder): boolean {
  if (holder.pid === process.pid) return holder.startedAt === startTime(process.pid);
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const startedAt = startTime(holder.pid);
  return holder.startedAt === null || startedAt === null || startedAt === holder.startedAt;
}

function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22; the second field is a name in brackets that may hold blanks.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function inUse(directory: string, holder: Holder): TidemarkError {
  return new TidemarkError(
    'IN_USE',
    `${directory} is used by another \`tidemark up\` (process ${holder.pid})`,
    {
      nextStep: 'Use that one, stop it first, or choose another directory with --data DIR.',
    },
  );
}

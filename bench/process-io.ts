/** What the kernel counted for a process (Linux): bytes it gave to write calls, bytes of them that went to disks, and its memory. */
import { readFileSync } from 'node:fs';

export interface ProcessIo {
  /** To sockets and files. */
  readonly writtenBytes: number;
  /** To block devices. */
  readonly diskBytes: number;
}

/** Null where that cannot be known. */
export function processIo(pid: number): ProcessIo | null {
  const text = readProc(pid, 'io');
  if (text === null) return null;
  const field = (name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  return { writtenBytes: field('wchar'), diskBytes: field('write_bytes') - field('cancelled_write_bytes') };
}

/** Resident. Null where that cannot be known. */
export function processMemoryBytes(pid: number): number | null {
  const found = /^VmRSS:\s+(\d+) kB$/m.exec(readProc(pid, 'status') ?? '')?.[1];
  return found === undefined ? null : Number(found) * 1_024;
}

function readProc(pid: number, name: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return null;
  }
}

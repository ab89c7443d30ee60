/**
 * What the journal's files say after a start: which entries are there, what of them is still needed, and whether something is missing that
 * had been durable (damage) or not (a torn tail).
 *
 * One write is in flight at a time, so an entry proves that all before it were synced. Hence, with M the newest intact entry:
 *   - M + 1 may be torn or absent: it was never known durable, so nobody was told. That is the torn tail.
 *   - any entry missing below M, or below what another witness (guard file, store) knows synced, is damage,
 *     if it is still needed: entries whose home ops are in the store's tables and whose guard ops are in both guard files are not.
 *   - an entry that does not continue the chain of checksums is damage too (a lost write that left an older, intact entry).
 */
import type { Crc32 } from '../../src/env/env.ts';
import type { DurableOp, JournalRecovery } from '../core/effects.ts';
import { GUARD_COPIES, type JournalDisk, SECTOR_BYTES } from './journal-disk.ts';
import {
  decodeOps,
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  entryIsIntact,
  entrySectors,
  readHeader,
} from './journal-entry.ts';
import { decodeGuard, type GuardFile, isWhole } from './journal-guard.ts';
import type { LiveEntry } from './journal-ring.ts';

type HomeOp = Extract<DurableOp, { kind: 'home' }>;
type GuardOp = Extract<DurableOp, { kind: 'guard' }>;

export interface JournalState {
  readonly recovery: JournalRecovery;
  /** Guard ops of the newest entry: its successor repeats them. */
  readonly lastGuardOps: readonly GuardOp[];
  readonly lastSequence: number;
  readonly lastChecksum: number;
  readonly storeFlushed: number;
  readonly guardThrough: number;
  readonly guardGeneration: number;
  /** A guard file is missing, damaged or older than the other: to be written again soon. */
  readonly guardNeedsRepair: boolean;
  readonly live: readonly LiveEntry[];
  readonly headSector: number;
}

/** `rememberedSequence`: the newest entry the store has seen ops of, 0 when none. */
export async function recoverJournal(
  disk: JournalDisk,
  crc32: Crc32,
  rememberedSequence: number,
): Promise<JournalState> {
  const findings: string[] = [];
  const ring = await scanRing(disk, crc32, findings);
  const guardFiles = await readGuardFiles(disk, crc32, findings);

  const newest = ring.at(-1);
  const lastFound = newest?.sequence ?? 0;
  const storeFlushed = Math.max(
    0,
    ...ring.map((e) => e.storeFlushed),
    ...guardFiles.map((f) => f.storeFlushed),
  );
  const base = guardBase(guardFiles);
  const knownSynced = Math.max(
    lastFound - 1,
    storeFlushed,
    rememberedSequence - 1,
    ...ring.map((entry) => entry.knownSynced),
    ...guardFiles.map((file) => file.through),
  );
  const firstNeeded = Math.min(storeFlushed, base.through) + 1;
  const needed = ring.filter((entry) => entry.sequence >= firstNeeded);
  const gaps = findGaps(needed, firstNeeded, Math.max(knownSynced, lastFound));
  findings.push(...gaps);

  const decoded: { readonly sequence: number; readonly ops: readonly DurableOp[] }[] = [];
  for (const entry of needed) decoded.push({ sequence: entry.sequence, ops: await readOps(disk, entry) });
  const guard = mergeGuard(guardFiles, base, decoded);
  findings.push(...guard.findings);

  return {
    recovery: {
      guard: guard.values,
      entries: decoded
        .filter(({ sequence }) => sequence > storeFlushed)
        .map(({ ops }) => ops.filter((op) => op.kind === 'home'))
        .filter((ops: readonly HomeOp[]) => ops.length > 0),
      damaged: gaps.length > 0 || guard.findings.length > 0,
      findings,
    },
    lastGuardOps: decoded.at(-1)?.ops.filter((op) => op.kind === 'guard') ?? [],
    lastSequence: Math.max(lastFound, knownSynced),
    lastChecksum: newest?.checksum ?? 0,
    storeFlushed,
    guardThrough: base.through,
    guardGeneration: Math.max(0, ...guardFiles.map((file) => file.generation)),
    guardNeedsRepair:
      guardFiles.length < 2 ||
      new Set(guardFiles.map((f) => f.generation)).size > 1 ||
      !guardFiles.every(isWhole),
    live: needed.map((entry) => ({
      sequence: entry.sequence,
      sector: entry.offset / SECTOR_BYTES,
      sectors: entrySectors(entry.payloadBytes),
    })),
    headSector: newest === undefined ? 0 : newest.offset / SECTOR_BYTES + entrySectors(newest.payloadBytes),
  };
}

const SCAN_BYTES = 1024 * 1024;

/** Every intact entry, by sequence; of two with one sequence (never written so) the first counts and the other is a finding. */
async function scanRing(
  disk: JournalDisk,
  crc32: Crc32,
  findings: string[],
): Promise<readonly EntryHeader[]> {
  const bySequence = new Map<number, EntryHeader>();
  const reader = new RingReader(disk, findings);
  let offset = 0;
  while (offset < disk.ringBytes) {
    const sector = await reader.read(offset, SECTOR_BYTES);
    const header = sector === null ? null : readHeader(sector, offset, disk.ringBytes);
    const entry =
      header === null ? null : await reader.read(offset, ENTRY_HEADER_BYTES + header.payloadBytes);
    if (header === null || entry === null || !entryIsIntact(entry, header, crc32)) {
      offset += SECTOR_BYTES;
      continue;
    }
    if (bySequence.has(header.sequence))
      findings.push(`journal entry ${header.sequence} is in the ring twice`);
    else bySequence.set(header.sequence, header);
    offset += entrySectors(header.payloadBytes) * SECTOR_BYTES;
  }
  return [...bySequence.values()].sort((a, b) => a.sequence - b.sequence);
}

/** Reads ahead in large pieces; what cannot be read counts as damaged. */
class RingReader {
  readonly #disk: JournalDisk;
  readonly #findings: string[];
  #start = 0;
  #window: Uint8Array = new Uint8Array(0);

  constructor(disk: JournalDisk, findings: string[]) {
    this.#disk = disk;
    this.#findings = findings;
  }

  async read(offset: number, lengthBytes: number): Promise<Uint8Array | null> {
    if (!this.#covers(offset, lengthBytes)) {
      const wanted = Math.min(Math.max(lengthBytes, SCAN_BYTES), this.#disk.ringBytes - offset);
      const window = (await this.#tryRead(offset, wanted)) ?? (await this.#tryRead(offset, lengthBytes));
      if (window === null) {
        this.#findings.push(`the journal's ring cannot be read at ${offset}`);
        return null;
      }
      this.#start = offset;
      this.#window = window;
    }
    const at = offset - this.#start;
    return this.#window.subarray(at, at + lengthBytes);
  }

  #covers(offset: number, lengthBytes: number): boolean {
    return offset >= this.#start && offset + lengthBytes <= this.#start + this.#window.length;
  }

  async #tryRead(offset: number, lengthBytes: number): Promise<Uint8Array | null> {
    try {
      return await this.#disk.readRing(offset, lengthBytes);
    } catch {
      return null;
    }
  }
}

async function readOps(disk: JournalDisk, entry: EntryHeader): Promise<readonly DurableOp[]> {
  return decodeOps(await disk.readRing(entry.offset + ENTRY_HEADER_BYTES, entry.payloadBytes));
}

async function readGuardFiles(
  disk: JournalDisk,
  crc32: Crc32,
  findings: string[],
): Promise<readonly GuardFile[]> {
  const files: GuardFile[] = [];
  for (const copy of GUARD_COPIES) {
    let bytes: Uint8Array | null = null;
    try {
      bytes = await disk.readGuard(copy);
      if (bytes === null) continue;
    } catch {
      findings.push(`${copy} cannot be read`);
      continue;
    }
    const file = decodeGuard(bytes, crc32);
    if (file === null) findings.push(`${copy} is damaged`);
    else files.push(file);
    if (file !== null && !isWhole(file)) {
      findings.push(`${copy} has ${file.damagedKeys.length} damaged and ${file.lostRecords} lost values`);
    }
  }
  return files.sort((a, b) => b.generation - a.generation);
}

interface GuardBase {
  /** Ring entries above it are needed to know the guard. */
  readonly through: number;
}

function guardBase(files: readonly GuardFile[]): GuardBase {
  const [newer, older] = files;
  if (newer === undefined) return { through: 0 };
  if (isWhole(newer) || older === undefined) return { through: newer.through };
  return { through: older.through };
}

interface MergedGuard {
  readonly values: ReadonlyMap<string, Uint8Array>;
  /** Keys whose newest value may be lost; empty when the guard is complete. */
  readonly findings: readonly string[];
}

function mergeGuard(
  files: readonly GuardFile[],
  base: GuardBase,
  entries: readonly { readonly sequence: number; readonly ops: readonly DurableOp[] }[],
): MergedGuard {
  const [newer, older] = files;
  const values = new Map<string, Uint8Array>();
  const written = new Set<string>();
  const apply = (from: number, through: number): void => {
    for (const { sequence, ops } of entries) {
      if (sequence > from && sequence <= through) for (const op of ops) applyGuard(values, written, op);
    }
  };
  if (newer !== undefined && !isWhole(newer) && older !== undefined) {
    copyInto(values, older.values);
    apply(base.through, newer.through);
  }
  if (newer !== undefined) copyInto(values, newer.values);
  apply(Math.max(base.through, newer?.through ?? 0), Number.POSITIVE_INFINITY);
  return { values, findings: doubts(newer, older, values, written) };
}

function doubts(
  newer: GuardFile | undefined,
  older: GuardFile | undefined,
  values: ReadonlyMap<string, Uint8Array>,
  written: ReadonlySet<string>,
): readonly string[] {
  if (newer === undefined || isWhole(newer)) return [];
  const keys = new Set([...newer.damagedKeys, ...(older?.damagedKeys ?? [])]);
  const lost = [...keys].filter((key) => !values.has(key) && !written.has(key));
  const findings = lost.map((key) => `the guard's value of ${key} is damaged in every copy`);
  if (newer.lostRecords > 0 && (older === undefined || older.lostRecords > 0)) {
    findings.push(`${newer.lostRecords} values of the guard are lost with their names in every copy`);
  }
  return findings;
}

function applyGuard(values: Map<string, Uint8Array>, written: Set<string>, op: DurableOp): void {
  if (op.kind !== 'guard') return;
  written.add(op.key);
  if (op.value === null) values.delete(op.key);
  else values.set(op.key, op.value);
}

function copyInto(target: Map<string, Uint8Array>, source: ReadonlyMap<string, Uint8Array>): void {
  for (const [key, value] of source) target.set(key, value);
}

/** Missing entries and broken links among those needed, as sentences. */
function findGaps(needed: readonly EntryHeader[], first: number, last: number): readonly string[] {
  const gaps: string[] = [];
  const missing = (from: number, to: number): void => {
    if (from <= to) gaps.push(`journal entries ${from} to ${to}, known durable, are missing or damaged`);
  };
  let previous: EntryHeader | null = null;
  for (const entry of needed) {
    missing(previous === null ? first : previous.sequence + 1, entry.sequence - 1);
    if (previous?.sequence === entry.sequence - 1 && previous.checksum !== entry.previousChecksum) {
      gaps.push(`journal entry ${entry.sequence} does not follow the one before it`);
    }
    previous = entry;
  }
  missing(previous === null ? first : previous.sequence + 1, last);
  return gaps;
}

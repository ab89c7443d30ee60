/**
 * Looks at a LevelDB directory from outside, before LevelDB may open it: every block of every table, the MANIFEST and the write-ahead logs
 * by their checksums. LevelDB itself would open over most damage and answer as if what it lost had never been written; some damage makes
 * it abort the process. Nothing is changed here.
 */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isTidemarkError } from '../../../src/base/errors.ts';
import { MIB } from '../../../src/base/limits.ts';
import type { KeyRange } from '../../core/effects.ts';
import { formatFault } from './byte-reader.ts';
import { readLog } from './log-format.ts';
import { type TableVerdict, inspectTable } from './table-format.ts';
import { type StoreVersion, type TableRef, replayVersionEdits } from './version-edits.ts';
import { type WriteBatch, decodeWriteBatch } from './write-batch.ts';

/** Every key there can be. */
export const EVERYTHING: KeyRange = { gte: new Uint8Array(0), lt: new Uint8Array(16).fill(0xff) };
const REPORT_EVERY_BYTES = 256 * MIB;
const decoder = new TextDecoder();

export interface SurveyedTable {
  readonly path: string;
  readonly sizeBytes: number;
  /** Known only of a table that the MANIFEST names. */
  readonly ref: TableRef | null;
  readonly verdict: TableVerdict;
}

export interface SurveyedLog {
  readonly path: string;
  readonly batches: readonly WriteBatch[];
  /** Bytes that are a state the store really had, when what follows must go; null: the log is as it should be. */
  readonly keepBytes: number | null;
}

export interface StoreSurvey {
  /** There is nothing: LevelDB will make a new store. */
  readonly isEmpty: boolean;
  /** CURRENT is to name it again. */
  readonly currentToWrite: string | null;
  /** The MANIFEST cannot tell which tables count: all that are there do. */
  readonly isManifestLost: boolean;
  readonly tables: readonly SurveyedTable[];
  /** By age. */
  readonly logs: readonly SurveyedLog[];
  readonly findings: readonly string[];
  /** Keys whose newest value may be lost, or that are back although they were deleted. */
  readonly doubts: readonly KeyRange[];
  readonly checkedBytes: number;
}

export type Progress = (checkedBytes: number, totalBytes: number) => void;

interface Listing {
  readonly directory: string;
  readonly names: readonly string[];
  readonly tables: ReadonlyMap<number, string>;
  readonly logs: ReadonlyMap<number, string>;
  readonly manifests: readonly string[];
}

export async function surveyStore(
  directory: string,
  onProgress: Progress = () => undefined,
): Promise<StoreSurvey> {
  const listing = await list(directory);
  const findings: string[] = [];
  if (listing.tables.size === 0 && listing.logs.size === 0 && listing.manifests.length === 0) {
    return { ...NOTHING, isEmpty: true };
  }
  const { manifest, isCurrentWrong } = await findManifest(listing, findings);
  const version = manifest === null ? null : await readVersion(listing, manifest, findings);
  const tables = await surveyTables(listing, version, onProgress);
  const logs = await surveyLogs(listing, version, findings);
  const doubts: KeyRange[] = version === null ? [EVERYTHING] : [];
  for (const { path, ref, verdict } of tables) {
    if (verdict.kind === 'intact') continue;
    findings.push(`table ${path}: ${verdict.why} damaged`);
    if (ref !== null) doubts.push(...doubtsOf(ref, verdict));
  }
  return {
    isEmpty: false,
    currentToWrite: isCurrentWrong && version !== null ? manifest : null,
    isManifestLost: version === null,
    tables,
    logs,
    findings,
    doubts: version === null ? [EVERYTHING] : doubts,
    checkedBytes: tables.reduce((sum, table) => sum + table.sizeBytes, 0),
  };
}

const NOTHING: StoreSurvey = {
  isEmpty: true,
  currentToWrite: null,
  isManifestLost: false,
  tables: [],
  logs: [],
  findings: [],
  doubts: [],
  checkedBytes: 0,
};

async function list(directory: string): Promise<Listing> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const numbered = (form: RegExp): Map<number, string> => {
    const found = new Map<number, string>();
    for (const name of names) {
      const match = form.exec(name);
      if (match !== null) found.set(Number(match[1]), name);
    }
    return found;
  };
  return {
    directory,
    names,
    tables: numbered(/^(\d+)\.(?:ldb|sst)$/),
    logs: numbered(/^(\d+)\.log$/),
    manifests: names.filter((name) => /^MANIFEST-\d+$/.test(name)).sort((a, b) => numberIn(a) - numberIn(b)),
  };
}

function numberIn(name: string): number {
  return Number(/\d+/.exec(name)?.[0]);
}

/** CURRENT names the MANIFEST. When it does not any more, the newest one there is it. */
async function findManifest(
  { directory, manifests }: Listing,
  findings: string[],
): Promise<{ readonly manifest: string | null; readonly isCurrentWrong: boolean }> {
  const current = await readFile(join(directory, 'CURRENT'))
    .then((bytes) => decoder.decode(bytes))
    .catch(() => null);
  const named = current?.endsWith('\n') === true ? current.slice(0, -1) : null;
  const newest = manifests.at(-1) ?? null;
  if (named !== null && named === newest) return { manifest: named, isCurrentWrong: false };
  findings.push(`CURRENT names ${JSON.stringify(current)}, the newest MANIFEST is ${newest ?? 'missing'}`);
  return { manifest: newest, isCurrentWrong: true };
}

/** null: it cannot be trusted. */
async function readVersion(
  { directory, logs }: Listing,
  manifest: string,
  findings: string[],
): Promise<StoreVersion | null> {
  try {
    const content = readLog(await readFile(join(directory, manifest)));
    if (content.fault !== null && !content.isTornOnly) throw formatFault(content.fault);
    const version = replayVersionEdits(content.records.map(({ data }) => data));
    // A version's log is made before the version, and deleted after the next one: without it, the newest versions are missing here.
    if (!logs.has(version.firstLog)) throw formatFault(`the write-ahead log ${version.firstLog} is missing`);
    return version;
  } catch (error) {
    findings.push(`${manifest} is damaged: ${(error as Error).message}`);
    return null;
  }
}

async function surveyTables(
  { directory, tables }: Listing,
  version: StoreVersion | null,
  onProgress: Progress,
): Promise<readonly SurveyedTable[]> {
  const wanted: readonly { readonly number: number; readonly ref: TableRef | null }[] =
    version === null
      ? [...tables.keys()].map((number) => ({ number, ref: null }))
      : version.tables.map((ref) => ({ number: ref.number, ref }));
  const totalBytes = wanted.reduce((sum, { ref }) => sum + (ref?.sizeBytes ?? 0), 0);
  const surveyed: SurveyedTable[] = [];
  let checkedBytes = 0;
  let reportedBytes = 0;
  // The next file is read while this one is checked.
  let next = wanted[0] === undefined ? null : readTable(directory, tables.get(wanted[0].number));
  for (const [index, { number, ref }] of wanted.entries()) {
    const bytes = await next;
    const following = wanted[index + 1];
    next = following === undefined ? null : readTable(directory, tables.get(following.number));
    const path = join(directory, tables.get(number) ?? `${number}.ldb`);
    surveyed.push({ path, sizeBytes: bytes?.length ?? 0, ref, verdict: judge(bytes, ref) });
    checkedBytes += bytes?.length ?? 0;
    if (checkedBytes - reportedBytes >= REPORT_EVERY_BYTES) {
      reportedBytes = checkedBytes;
      onProgress(checkedBytes, totalBytes);
    }
  }
  return surveyed;
}

/** null: it cannot be read. */
async function readTable(directory: string, name: string | undefined): Promise<Uint8Array | null> {
  if (name === undefined) return null;
  return readFile(join(directory, name)).catch(() => null);
}

function judge(bytes: Uint8Array | null, ref: TableRef | null): TableVerdict {
  if (bytes === null) return { kind: 'unreadable', why: 'the file' };
  if (ref !== null && bytes.length !== ref.sizeBytes) {
    return { kind: 'unreadable', why: `${bytes.length} bytes instead of ${ref.sizeBytes}` };
  }
  return inspectTable(bytes);
}

function doubtsOf(ref: TableRef, verdict: Exclude<TableVerdict, { kind: 'intact' }>): readonly KeyRange[] {
  if (verdict.kind === 'unreadable') return [{ gte: ref.smallest, lt: after(ref.largest) }];
  return verdict.lost.map(({ fromKey, throughKey }) => ({
    gte: fromKey ?? ref.smallest,
    lt: after(throughKey),
  }));
}

function after(key: Uint8Array): Uint8Array {
  const longer = new Uint8Array(key.length + 1);
  longer.set(key);
  return longer;
}

/**
 * Batches are numbered without a gap, over all logs. So everything up to the first gap or fault is a state that the store really had, and what
 * follows may go like what a crash takes: the journal has all of it that was acknowledged.
 */
async function surveyLogs(
  { directory, logs }: Listing,
  version: StoreVersion | null,
  findings: string[],
): Promise<readonly SurveyedLog[]> {
  const live = [...logs.keys()]
    .filter((number) => version === null || number >= version.firstLog || number === version.previousLog)
    .sort((a, b) => a - b);
  const surveyed: SurveyedLog[] = [];
  let next: number | null = null;
  let isOver = false;
  for (const number of live) {
    const name = logs.get(number) as string;
    const path = join(directory, name);
    if (isOver) {
      surveyed.push({ path, batches: [], keepBytes: 0 });
      continue;
    }
    const log = await readBatches(path, next);
    // Without a MANIFEST old logs may be among them, whose numbers do not follow.
    next = version === null ? null : log.next;
    if (log.fault !== null) findings.push(`write-ahead log ${name}: ${log.fault}; cut there`);
    isOver = log.fault !== null && version !== null;
    surveyed.push({ path, batches: log.batches, keepBytes: log.fault === null ? null : log.keepBytes });
  }
  return surveyed;
}

interface ReadBatches {
  readonly batches: readonly WriteBatch[];
  readonly keepBytes: number;
  readonly fault: string | null;
  readonly next: number | null;
}

async function readBatches(path: string, expected: number | null): Promise<ReadBatches> {
  const batches: WriteBatch[] = [];
  let keepBytes = 0;
  let next = expected;
  try {
    const content = readLog(await readFile(path));
    for (const { data, endsAt } of content.records) {
      const batch = decodeWriteBatch(data);
      if (next !== null && batch.sequence !== next) {
        return { batches, keepBytes, fault: `batch ${batch.sequence} follows where ${next} should`, next };
      }
      next = batch.sequence + batch.entries.length;
      batches.push(batch);
      keepBytes = endsAt;
    }
    return { batches, keepBytes, fault: content.isTornOnly ? null : content.fault, next };
  } catch (error) {
    const why = isTidemarkError(error) ? error.message : `cannot be read (${(error as Error).message})`;
    return { batches, keepBytes, fault: why, next };
  }
}

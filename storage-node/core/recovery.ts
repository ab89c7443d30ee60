/**
 * The start: from what the journal and the store still hold to segments that know what they may claim (design section 5).
 *
 * The store is read first, then the journal's entries go through the same admission: what the store has lost is stored again, what a
 * manifest has cut or the pages already contain is left out. So the order in which things were lost does not matter.
 *
 * What is held then is compared with what was acknowledged (the guard's watermark). Less means quarantine: peers supply it, or a
 * committed manifest cuts it. The store's own losses in the middle are found by the chain of coalescing rounds (coalesce.ts).
 *
 * Assumed of the driver: what the store shows when it is opened is durable (LevelDB writes its recovered log into synced tables on opening).
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import type { KvOp, KvRange } from '../../src/env/env.ts';
import { decodeBoxcar } from '../../src/log/codec.ts';
import { NO_EPOCH, compareEpochs } from '../../src/log/epoch.ts';
import { type Lsn, NO_LSN, type PageNumber } from '../../src/log/lsn.ts';
import { decodeManifest, decodeRetention } from '../../src/register/codec.ts';
import type { NodeContext } from './context.ts';
import type { Doubt } from './doubt.ts';
import type { DurableOp, JournalRecovery, KeyRange, NodeRecovery } from './effects.ts';
import {
  COMMIT_INDEX,
  GUARD,
  LAST_PAGE,
  after,
  allOfKind,
  parseKey,
  parseSegmentGuardKey,
  trailingLsn,
} from './keys.ts';
import { Hydration } from './hydration-state.ts';
import { Leases } from './leases.ts';
import { clampToRuns, compareManifests, provenBy } from './manifests.ts';
import { type Program, readRange, writeStore } from './program.ts';
import type { Registers } from './registers.ts';
import { type InstalledManifest, leftOf, type Segment } from './segment.ts';
import { addSegment } from './membership.ts';
import { type Progress, decodeEpoch, decodeLsns, decodeText } from './values.ts';

const ENTRIES_PER_QUERY = 256;
const NO_PAGE = 0 as PageNumber;
const ALL_PAGES = { first: NO_PAGE, last: LAST_PAGE } as const;

/** What the guard says of one segment. */
interface SegmentGuards {
  promise?: Uint8Array;
  installed?: Uint8Array;
  marks?: Uint8Array;
  distrust?: Uint8Array;
  hydration?: Uint8Array;
  left?: Uint8Array;
  doubts?: Uint8Array;
}

export function* start(
  ctx: NodeContext,
  registers: Registers,
  doubt: Doubt,
  recovery: NodeRecovery,
): Program<void> {
  for (const finding of recovery.findings) ctx.log('warn', 'found at the start', { finding });
  const isFirstStart = recovery.guard.size === 0 && !recovery.damaged && recovery.entries.length === 0;
  ctx.leases = new Leases(ctx.options.leaseTermMs, ctx.now.monotonicMs, isFirstStart);
  const areRegistersRead = loadRegisters(registers, recovery);
  const why = whyInDoubt(recovery, areRegistersRead);
  if (why !== null) ctx.persist(doubt.beginAtStart(ctx, why), []);

  const guards = loadSegmentGuards(ctx, recovery);
  const journal = journalBySegment(ctx, recovery);
  yield* loadManifests(ctx, journal);
  for (const segment of ctx.segments.all()) {
    const own = guards.get(segment.name) ?? {};
    const lost = loadGuards(segment, own);
    if (isTombstone(segment)) {
      segment.manifest = null;
      continue;
    }
    yield* loadHydration(ctx, segment, own.hydration);
    yield* loadProgress(ctx, segment, lost);
    yield* loadChunks(ctx, segment);
    replayChunks(ctx, segment, journal.get(segment.name)?.chunks ?? []);
    loadDoubts(ctx, segment, guards.get(segment.name)?.doubts, recovery.storeDoubts);
    const isManifestInDoubt = recovery.storeDoubts.some((range) => segment.keys.touches('manifest', range));
    judge(ctx, segment, why !== null || lost || isManifestInDoubt, guards.get(segment.name)?.distrust);
  }
}

/** Damage found now, or what was found at an earlier start and is not made good yet. */
function whyInDoubt({ damaged, findings, guard }: JournalRecovery, areRegistersRead: boolean): string | null {
  if (damaged) return `the journal was damaged: ${findings.join('; ').slice(0, 1_000)}`;
  if (!areRegistersRead) return 'the guard has a register that cannot be read';
  const remembered = guard.get(GUARD.doubt);
  return remembered === undefined ? null : decodeText(remembered);
}

function loadRegisters(registers: Registers, recovery: JournalRecovery): boolean {
  let areRead = true;
  for (const [key, value] of recovery.guard) {
    try {
      if (key.startsWith(GUARD.registerPrefix)) registers.load(key.slice(GUARD.registerPrefix.length), value);
      if (key.startsWith(GUARD.lostPrefix)) registers.loadLost(key.slice(GUARD.lostPrefix.length), value);
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      areRead = false;
    }
  }
  return areRead;
}

function loadSegmentGuards(ctx: NodeContext, recovery: JournalRecovery): Map<string, SegmentGuards> {
  const guards = new Map<string, SegmentGuards>();
  for (const [key, value] of recovery.guard) {
    const parsed = parseSegmentGuardKey(key);
    if (parsed === null) continue;
    const segment = ctx.segments.known(parsed.volume, parsed.pg) ?? addSegment(ctx, parsed.volume, parsed.pg);
    const known = guards.get(segment.name) ?? {};
    guards.set(segment.name, { ...known, [parsed.what]: value });
  }
  return guards;
}

interface JournaledSegment {
  readonly chunks: { readonly key: Uint8Array; readonly value: Uint8Array }[];
  readonly manifests: Uint8Array[];
  readonly retentions: Uint8Array[];
}

function journalBySegment(ctx: NodeContext, recovery: JournalRecovery): Map<string, JournaledSegment> {
  const bySegment = new Map<string, JournaledSegment>();
  for (const entry of recovery.entries) {
    for (const { key, value } of entry) {
      const parsed = parseKey(key);
      // Deletions need no replay: manifests cut, and collection only spares.
      if (parsed === null || value === null) continue;
      const segment =
        ctx.segments.known(parsed.volume, parsed.pg) ?? addSegment(ctx, parsed.volume, parsed.pg);
      const journaled = bySegment.get(segment.name) ?? { chunks: [], manifests: [], retentions: [] };
      bySegment.set(segment.name, journaled);
      if (parsed.kind === 'chunk') journaled.chunks.push({ key, value });
      if (parsed.kind === 'manifest') journaled.manifests.push(value);
      if (parsed.kind === 'retention') journaled.retentions.push(value);
    }
  }
  return bySegment;
}

/** The newest manifest and retention value of each segment that either side has; stored again where the store lacks it. */
function* loadManifests(ctx: NodeContext, journal: ReadonlyMap<string, JournaledSegment>): Program<void> {
  for (const kind of ['manifest', 'retention'] as const) {
    yield* forEachEntry(allOfKind(kind), (key, value) => {
      const parsed = parseKey(key);
      if (parsed === null) return;
      const segment =
        ctx.segments.known(parsed.volume, parsed.pg) ?? addSegment(ctx, parsed.volume, parsed.pg);
      if (kind === 'manifest') offerManifest(ctx, segment, value);
      else offerRetention(ctx, segment, value);
    });
  }
  const ops: DurableOp[] = [];
  for (const segment of ctx.segments.all()) {
    const journaled = journal.get(segment.name);
    for (const value of journaled?.manifests ?? []) {
      if (offerManifest(ctx, segment, value)) ops.push({ kind: 'home', key: segment.keys.manifest, value });
    }
    for (const value of journaled?.retentions ?? []) ops.push(...offerRetention(ctx, segment, value));
  }
  if (ops.length > 0) ctx.persist(ops, []);
}

function offerManifest(ctx: NodeContext, segment: Segment, bytes: Uint8Array): boolean {
  try {
    const offered: InstalledManifest = { value: decodeManifest(bytes), bytes: new Uint8Array(bytes) };
    if (segment.manifest !== null && compareManifests(offered.value, segment.manifest.value) <= 0)
      return false;
    segment.manifest = offered;
    return true;
  } catch (error) {
    reportUnreadable(ctx, segment, 'manifest', error);
    return false;
  }
}

function offerRetention(ctx: NodeContext, segment: Segment, bytes: Uint8Array): DurableOp[] {
  try {
    return segment.learnRetention(decodeRetention(bytes), new Uint8Array(bytes));
  } catch (error) {
    reportUnreadable(ctx, segment, 'retention value', error);
    return [];
  }
}

/** Returns whether something of it could not be read. */
function loadGuards(segment: Segment, guards: SegmentGuards): boolean {
  let lost = false;
  const read = <T>(value: Uint8Array | undefined, decode: (bytes: Uint8Array) => T): T | null => {
    try {
      return value === undefined ? null : decode(value);
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      lost = true;
      return null;
    }
  };
  const promise = read(guards.promise, decodeEpoch) ?? NO_EPOCH;
  const installed = read(guards.installed, decodeEpoch) ?? NO_EPOCH;
  const held = segment.installedEpoch ?? NO_EPOCH;
  segment.promised = [promise, installed, held].reduce((a, b) => (compareEpochs(a, b) >= 0 ? a : b));
  const [configVersion, flags] = read(guards.left, decodeLsns) ?? [];
  if (configVersion !== undefined) segment.left = leftOf(configVersion, flags);
  const [watermark, vdl, tail] = read(guards.marks, decodeLsns) ?? [];
  segment.watermark = watermark ?? NO_LSN;
  // A VDL of runs that are not known here would turn ghosts of earlier ones into durable records.
  if (compareEpochs(installed, held) > 0) lost = true;
  else segment.learnVdl(vdl ?? NO_LSN, tail ?? NO_LSN);
  return lost;
}

/** Nothing is here, or nothing that counts: what is left of it is deleted. */
function isTombstone(segment: Segment): boolean {
  return segment.left !== null && !segment.left.isBase;
}

/** The guard says that it must be hydrated, the store how far that has come. */
function* loadHydration(ctx: NodeContext, segment: Segment, id: Uint8Array | undefined): Program<void> {
  if (id === undefined) return;
  const { hydration: key } = segment.keys;
  segment.hydration = new Hydration(decodeText(id));
  const [stored] = yield* readRange({ gte: key, lt: after(key), limit: 1 });
  if (stored === undefined) return;
  try {
    segment.hydration.resume(ctx.values.decodeHydration(key, stored.value));
  } catch (error) {
    reportUnreadable(ctx, segment, 'hydration', error);
  }
}

/**
 * What the store may have lost of this segment in page form. Lost chunks need no word here: the SCL shows them. Without the newest retention
 * value nobody knows which history is whole, and without the newest progress, which pages there are.
 */
function loadDoubts(
  ctx: NodeContext,
  segment: Segment,
  known: Uint8Array | undefined,
  ranges: readonly KeyRange[],
): void {
  const { doubts, keys, hydration } = segment;
  if (hydration !== null && hydration.cursor === null && !hydration.isCopied) return;
  try {
    if (known !== undefined) doubts.load(known);
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    doubts.add(NO_PAGE, COMMIT_INDEX);
  }
  const ops: DurableOp[] = [];
  for (const range of ranges) {
    const pages = keys.touches('retention', range) ? ALL_PAGES : keys.pagesIn(range);
    if (pages !== null) ops.push(...segment.doubtPages(pages.first, pages.last));
    if (keys.touches('commits', range)) ops.push(...segment.doubtPages(COMMIT_INDEX, COMMIT_INDEX));
    if (keys.touches('progress', range)) segment.highestPage = LAST_PAGE;
  }
  const mayLack = (kind: 'round' | 'progress') => ranges.some((range) => keys.touches(kind, range));
  // Either shows that the newest rounds of the other are lost; without both nobody knows what they left over.
  if (mayLack('round') && mayLack('progress'))
    ops.push(...segment.doubtPages(ALL_PAGES.first, ALL_PAGES.last));
  if (ops.length > 0) ctx.persist(ops, []);
  if (!doubts.isEmpty) {
    ctx.log('warn', 'pages in doubt', { segment: segment.name, intervals: doubts.intervals.length });
  }
}

/** How far the log is in page form: to the end of the unbroken chain of rounds. */
function* loadProgress(ctx: NodeContext, segment: Segment, isManifestLost: boolean): Program<void> {
  const { keys } = segment;
  const [stored] = yield* readRange({ gte: keys.progress, lt: after(keys.progress), limit: 1 });
  const progress = stored === undefined ? null : readProgress(ctx, segment, stored.value);
  segment.roundsFrom = progress?.roundsFrom ?? NO_LSN;

  const rounds: Lsn[] = [];
  const broken: KvOp[] = [];
  let baseLsn = segment.roundsFrom;
  let lastLsn = NO_LSN;
  yield* forEachEntry(keys.rounds(), (key, value) => {
    const endLsn = trailingLsn(key);
    if (endLsn <= segment.roundsFrom) return;
    lastLsn = endLsn;
    if (broken.length === 0 && roundStart(ctx, segment, key, value) === baseLsn) {
      rounds.push(endLsn);
      baseLsn = endLsn;
    } else {
      broken.push({ type: 'del', key });
    }
  });
  const throughLsn = Math.max(lastLsn, progress?.roundsThrough ?? NO_LSN) as Lsn;
  if (throughLsn > baseLsn) {
    ctx.log('error', 'the store has lost a coalescing round: its records are coalesced again', {
      segment: segment.name,
      from: baseLsn,
      through: throughLsn,
    });
    yield* writeStore(broken);
  }
  segment.rounds = rounds;
  segment.recoalesceThrough = throughLsn > baseLsn ? throughLsn : NO_LSN;
  segment.held.reset(baseLsn);

  if (progress !== null) {
    if (!isManifestLost) segment.learnVdl(progress.vdl, progress.tail);
    segment.collected = Math.min(progress.collected, Math.max(0, segment.floor - 1)) as Lsn;
    segment.storedBytes = progress.storedBytes;
    segment.pageBytes = progress.pageBytes;
  }
  segment.highestPage = progress?.highestPage ?? (lastLsn === NO_LSN ? 0 : LAST_PAGE);
  if (segment.manifest !== null) {
    const proven = provenBy(segment.manifest.value, segment.pg);
    segment.learnVdl(proven.vdl, proven.tail);
  }
  // Only durable records are ever in page form.
  segment.learnVdl(baseLsn, baseLsn);
}

function readProgress(ctx: NodeContext, segment: Segment, value: Uint8Array): Progress | null {
  try {
    return ctx.values.decodeProgress(segment.keys.progress, value);
  } catch (error) {
    reportUnreadable(ctx, segment, 'progress', error);
    return null;
  }
}

function roundStart(ctx: NodeContext, segment: Segment, key: Uint8Array, value: Uint8Array): Lsn | null {
  try {
    return ctx.values.decodeRound(key, value);
  } catch (error) {
    reportUnreadable(ctx, segment, 'coalescing round', error);
    return null;
  }
}

/** The store's chunks above what is in page form. Cut records among them (the cut was lost) are deleted now. */
function* loadChunks(ctx: NodeContext, segment: Segment): Program<void> {
  if (segment.manifest === null) return;
  const ops: DurableOp[] = [];
  // What the copied pages will contain is not needed in memory.
  const afterLsn = Math.max(segment.coalesced, segment.hydration?.throughLsn ?? NO_LSN) as Lsn;
  yield* forEachEntry(segment.keys.chunksAfter(afterLsn), (key, value) => {
    const taken = admit(ctx, segment, value);
    if (taken === null || taken.isAsStored) return;
    ops.push({ kind: 'home', key, value: null }, ...taken.ops);
  });
  if (ops.length > 0) ctx.persist(ops, []);
}

function replayChunks(ctx: NodeContext, segment: Segment, chunks: JournaledSegment['chunks']): void {
  if (segment.manifest === null) return;
  const ops: DurableOp[] = [];
  for (const { key, value } of chunks) {
    if (trailingLsn(key) > segment.coalesced) ops.push(...(admit(ctx, segment, value)?.ops ?? []));
  }
  if (ops.length === 0) return;
  ctx.log('warn', 'the journal supplied records that the store had lost', {
    segment: segment.name,
    changes: ops.length,
  });
  ctx.persist(ops, []);
}

interface Taken {
  readonly ops: readonly DurableOp[];
  /** The chunk is exactly what came of it. */
  readonly isAsStored: boolean;
}

function admit(ctx: NodeContext, segment: Segment, bytes: Uint8Array): Taken | null {
  try {
    const admission = segment.sift(decodeBoxcar(bytes, ctx.crc32));
    switch (admission.kind) {
      case 'foreign':
        ctx.log('error', 'a stored chunk belongs elsewhere', {
          segment: segment.name,
          why: admission.reason,
        });
        return null;
      case 'conflict':
        ctx.persist(segment.distrust(`stored record ${admission.lsn} contradicts another one`), []);
        return null;
      case 'admitted':
        // Known records are no reason to rewrite a chunk; cut ones are.
        return {
          isAsStored: admission.cutCount === 0,
          ops: segment.take(admission, bytes, ctx.now.monotonicMs),
        };
    }
  } catch (error) {
    reportUnreadable(ctx, segment, 'chunk', error);
    return null;
  }
}

/** What may be claimed now. */
function judge(
  ctx: NodeContext,
  segment: Segment,
  isDamaged: boolean,
  distrust: Uint8Array | undefined,
): void {
  if (segment.manifest !== null) {
    segment.watermark = clampToRuns(segment.manifest.value.runs, segment.pg, segment.watermark);
  }
  if (segment.quarantine?.kind === 'conflict') return;
  if (distrust !== undefined) segment.quarantine = { kind: 'conflict', reason: decodeText(distrust) };
  else if (segment.hydration !== null && !segment.hydration.isCopied)
    segment.quarantine = { kind: 'hydrating' };
  else if (segment.isInForce && (isDamaged || segment.hydration !== null))
    segment.quarantine = { kind: 'damaged', targets: new Map() };
  else if (segment.scl < segment.watermark)
    segment.quarantine = { kind: 'missing', throughLsn: segment.watermark };
  segment.check();
  if (segment.quarantine === null) return;
  ctx.log('warn', 'segment in quarantine', {
    segment: segment.name,
    why: segment.quarantine.kind,
    scl: segment.scl,
    watermark: segment.watermark,
  });
}

function reportUnreadable(ctx: NodeContext, segment: Segment, what: string, error: unknown): void {
  if (!isTidemarkError(error)) throw error;
  ctx.log('error', `a stored ${what} cannot be read`, { segment: segment.name, why: error.message });
}

function* forEachEntry(range: KvRange, visit: (key: Uint8Array, value: Uint8Array) => void): Program<void> {
  let rest = range;
  for (;;) {
    const entries = yield* readRange({ ...rest, limit: ENTRIES_PER_QUERY });
    for (const { key, value } of entries) visit(key, value);
    const last = entries[entries.length - 1];
    if (last === undefined || entries.length < ENTRIES_PER_QUERY) return;
    rest = { ...rest, gte: after(last.key) };
  }
}

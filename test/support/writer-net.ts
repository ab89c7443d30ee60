/**
 * A writer core, six pretended storage nodes and the wires between them, for tests of the writer alone. Nothing moves by itself: a test delivers
 * messages, answers, clock turns one by one. Segments keep records by backlink and lose what a test tells them to lose.
 */
import type { TakenOver } from '../../compute-node/volume/taken-over.ts';
import type { WriterEffect, WriterEvent, WriterLimits } from '../../compute-node/volume/writer-types.ts';
import { VolumeWriter } from '../../compute-node/volume/writer.ts';
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { decodeBoxcar } from '../../src/log/codec.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import type { Lsn, NodeId, PageNumber, PgIndex, RunId, VolumeId } from '../../src/log/lsn.ts';
import type { Mtr, RedoRecord } from '../../src/log/record.ts';
import type { AppendReply, AppendRequest, InstallRequest, Refusal } from '../../src/messages/messages.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { decodeManifest } from '../../src/register/codec.ts';
import type { ClusterValue, ManifestValue } from '../../src/register/values.ts';

export const VOLUME = 'vol0000000000001' as VolumeId;
export const NODES = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'] as NodeId[];
/** Nodes of the cluster that hold nothing of the volume at first. */
export const SPARES = ['az1-c', 'az2-c', 'az3-c'] as NodeId[];
export const EPOCH: Epoch = { number: 7, writerId: 'writer7' };
export const OLD_EPOCH: Epoch = { number: 6, writerId: 'writer6' };
export const NEWER_EPOCH: Epoch = { number: 8, writerId: 'writer8' };

export interface NetOptions {
  readonly pgPages?: number;
  readonly pgCount?: number;
  readonly lal?: number;
  readonly limits?: Partial<WriterLimits>;
  /** Nodes whose install the take-over did not see. */
  readonly notInstalled?: readonly NodeId[];
  readonly spares?: readonly NodeId[];
  /** The members that are to follow in PG 0, as a take-over in the middle of a change finds it. */
  readonly proposed?: readonly NodeId[];
}

/** First LSN of the head run; the parent run was closed at 30. */
export const HEAD_FIRST = 1_001 as Lsn;
export const CLOSED_AT = 30 as Lsn;

export function clusterValue(lal = 1_000, spares: readonly NodeId[] = []): ClusterValue {
  return {
    format: 1,
    clusterId: 'cluster000000001',
    nodes: [...NODES, ...spares].map((nodeId) => ({
      nodeId,
      az: nodeId.slice(0, 3),
      address: `${nodeId}:1`,
    })),
    draining: [],
    constants: { lal, leaseTermMs: 500, defaultPgPages: 8 },
  };
}

export function manifestValue(pgPages = 8, pgCount = 1): ManifestValue {
  return {
    format: 1,
    volume: VOLUME,
    epoch: EPOCH,
    pageSizeBytes: 4096,
    pgPages,
    inheritedPgs: 0,
    pgs: Array.from({ length: pgCount }, (_, pg) => ({
      pg: pg as PgIndex,
      configVersion: 1,
      members: NODES,
      proposed: null,
    })),
    runs: [
      {
        id: 0 as RunId,
        epoch: OLD_EPOCH,
        firstLsn: 1 as Lsn,
        lastLsn: CLOSED_AT,
        parent: null,
        closingTails: Array.from({ length: pgCount }, (_, pg) => (CLOSED_AT - pg) as Lsn),
        openedAtMicros: 0,
        lastCommitTimeMicros: 5_000,
      },
      {
        id: 1 as RunId,
        epoch: EPOCH,
        firstLsn: HEAD_FIRST,
        lastLsn: null,
        parent: { volume: VOLUME, run: 0 as RunId, lsn: CLOSED_AT },
        closingTails: null,
        openedAtMicros: 0,
        lastCommitTimeMicros: 5_000,
      },
    ],
  };
}

export function takenOverValue(options: NetOptions = {}): TakenOver {
  const { pgPages = 8, pgCount = 1, notInstalled = [] } = options;
  const committed = manifestValue(pgPages, pgCount);
  const pgs = committed.pgs.map((config) =>
    config.pg === 0 && options.proposed !== undefined
      ? { ...config, configVersion: 2, proposed: options.proposed }
      : config,
  );
  const manifest = { ...committed, pgs };
  const tails = manifest.runs[0]!.closingTails!;
  return {
    name: { format: 1, name: 'main', volume: VOLUME, registerMembers: NODES, registerGeneration: 0 },
    epoch: EPOCH,
    manifest,
    manifestVersion: 4,
    registerPlace: { members: NODES, generation: 0 },
    retention: { format: 1, volume: VOLUME, floor: 0 as Lsn, windowMs: 86_400_000, dropped: false, pins: [] },
    vdl: (HEAD_FIRST - 1) as Lsn,
    closedAtLsn: CLOSED_AT,
    tails,
    lastCommitTimeMicros: 5_000,
    installed: manifest.pgs.flatMap(({ pg }) =>
      NODES.filter((nodeId) => !notInstalled.includes(nodeId)).map((nodeId) => ({
        pg,
        nodeId,
        scl: tails[pg]!,
        incarnation: '1',
        hydrated: true,
      })),
    ),
  };
}

/** One copy of a PG: what it holds, by backlink. */
export class PretendedSegment {
  scl: Lsn;
  readonly records = new Map<Lsn, RedoRecord>();
  private readonly base: Lsn;

  constructor(base: Lsn) {
    this.base = base;
    this.scl = base;
  }

  take(records: readonly RedoRecord[]): void {
    for (const record of records) this.records.set(record.prevLsn, record);
    this.recount();
  }

  /** Loses every record above `lsn`. */
  loseAbove(lsn: Lsn): void {
    for (const [prevLsn, record] of this.records) if (record.lsn > lsn) this.records.delete(prevLsn);
    this.recount();
  }

  private recount(): void {
    let scl = this.base;
    for (let next = this.records.get(scl); next !== undefined; next = this.records.get(scl)) scl = next.lsn;
    this.scl = scl;
  }
}

export class PretendedNode {
  readonly nodeId: NodeId;
  readonly segments = new Map<PgIndex, PretendedSegment>();
  readonly inbox: AppendRequest[] = [];
  readonly outbox: AppendReply[] = [];
  readonly installs: { readonly version: number; readonly request: InstallRequest }[] = [];
  incarnation = 1;
  isHydrated = true;
  /** Installed configuration of each PG. */
  readonly configs = new Map<PgIndex, number>();
  isUp = false;
  /** Says no to every append while set. */
  refusal: Refusal | null = null;
  private readonly tails: readonly Lsn[];

  constructor(nodeId: NodeId, tails: readonly Lsn[]) {
    this.nodeId = nodeId;
    this.tails = tails;
  }

  segment(pg: PgIndex): PretendedSegment {
    let segment = this.segments.get(pg);
    if (segment === undefined) {
      segment = new PretendedSegment(this.tails[pg] ?? (0 as Lsn));
      this.segments.set(pg, segment);
    }
    return segment;
  }

  configOf(pg: PgIndex): number {
    return this.configs.get(pg) ?? 1;
  }

  /** Takes the oldest message in; the answer waits in the outbox. */
  takeOne(): boolean {
    const request = this.inbox.shift();
    if (request === undefined) return false;
    const { volume, pg, epoch } = request;
    const base = {
      volume,
      pg,
      epoch,
      incarnation: String(this.incarnation),
      hydrated: this.isHydrated,
      configVersion: this.configOf(pg),
    };
    if (request.configVersion < this.configOf(pg)) {
      this.outbox.push({ ...base, scl: 0 as Lsn, refusal: refusalOf('STALE_CONFIG') });
      return true;
    }
    if (this.refusal !== null) {
      this.outbox.push({ ...base, scl: 0 as Lsn, refusal: this.refusal });
      return true;
    }
    const segment = this.segment(pg);
    segment.take(decodeBoxcar(request.boxcar, nodeCrc32).records);
    this.outbox.push({ ...base, scl: segment.scl, refusal: null });
    return true;
  }
}

export class WriterNet {
  readonly writer: VolumeWriter;
  readonly nodes = new Map<NodeId, PretendedNode>();
  readonly proposals: { readonly version: number; readonly manifest: ManifestValue }[] = [];
  readonly effects: WriterEffect[] = [];
  /** All appends in the order of sending. */
  readonly sent: { readonly node: NodeId; readonly request: AppendRequest }[] = [];
  deposed: Epoch | null = null;
  nowMs = 1_000;
  wallMicros = 1_000_000;

  constructor(options: NetOptions = {}) {
    const takenOver = takenOverValue(options);
    this.writer = new VolumeWriter({
      takenOver,
      cluster: () => clusterValue(options.lal, options.spares),
      crc32: nodeCrc32,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    for (const nodeId of [...NODES, ...(options.spares ?? [])])
      this.nodes.set(nodeId, new PretendedNode(nodeId, takenOver.tails));
  }

  node(nodeId: NodeId): PretendedNode {
    return this.nodes.get(nodeId)!;
  }

  step(event: WriterEvent): readonly WriterEffect[] {
    const effects = this.writer.step(event, { monotonicMs: this.nowMs, wallMicros: this.wallMicros });
    for (const effect of effects) this.carry(effect);
    return effects;
  }

  upAll(except: readonly NodeId[] = []): void {
    for (const nodeId of this.nodes.keys()) if (!except.includes(nodeId)) this.up(nodeId);
  }

  up(nodeId: NodeId): void {
    this.node(nodeId).isUp = true;
    this.step({ kind: 'node-up', node: nodeId });
  }

  /** The stream goes down: what was on the way is gone, one way and the other. */
  down(nodeId: NodeId): void {
    const node = this.node(nodeId);
    node.isUp = false;
    node.inbox.length = 0;
    node.outbox.length = 0;
    this.step({ kind: 'node-down', node: nodeId });
  }

  /** Hands over an MTR that changes these pages and flushes. */
  commit(...pages: number[]): Lsn {
    const cpl = this.submit(...pages);
    this.step({ kind: 'flush' });
    return cpl;
  }

  submit(...pages: number[]): Lsn {
    return this.writer.submit(mtrOf(pages), { monotonicMs: this.nowMs, wallMicros: this.wallMicros }).cpl;
  }

  /** The node takes in its oldest message and the writer hears the answer. */
  deliver(nodeId: NodeId): boolean {
    const node = this.node(nodeId);
    return node.takeOne() && this.answer(nodeId);
  }

  answer(nodeId: NodeId): boolean {
    const reply = this.node(nodeId).outbox.shift();
    if (reply === undefined) return false;
    this.step({ kind: 'append-reply', node: nodeId, reply });
    return true;
  }

  deliverAll(nodeIds: readonly NodeId[] = [...this.nodes.keys()]): void {
    let moved = true;
    while (moved) {
      moved = false;
      for (const nodeId of nodeIds) moved = this.deliver(nodeId) || moved;
    }
  }

  /** All outstanding installs of the node succeed. */
  install(nodeId: NodeId): void {
    const node = this.node(nodeId);
    for (const { version, request } of node.installs.splice(0)) {
      const { pg } = request;
      const config = decodeManifest(request.manifest).pgs[pg];
      const isNamed = config !== undefined && QuorumSet.of(config).has(nodeId);
      if (isNamed) node.configs.set(pg, config.configVersion);
      const reply = {
        installed: isNamed,
        scl: node.segment(pg).scl,
        incarnation: String(node.incarnation),
        refusal: null,
        hydrated: node.isHydrated,
      };
      this.step({ kind: 'install-reply', node: nodeId, pg, version, reply });
    }
  }

  installAll(): void {
    for (const nodeId of this.nodes.keys()) this.install(nodeId);
  }

  commitManifest(): void {
    const proposal = this.proposals.shift();
    if (proposal !== undefined) this.step({ kind: 'manifest-committed', version: proposal.version });
  }

  tick(ms = 50): void {
    this.nowMs += ms;
    this.step({ kind: 'tick' });
  }

  /** Heartbeat answer of a node, with the SCLs it has. */
  heartbeat(nodeId: NodeId, overrides: { epoch?: Epoch; verified?: boolean; refusal?: Refusal } = {}): void {
    const node = this.node(nodeId);
    const { epoch = EPOCH, verified = true, refusal = null } = overrides;
    const pgs =
      refusal !== null
        ? []
        : [...node.segments].map(([pg, { scl }]) => ({
            pg,
            scl,
            verified: verified && node.isHydrated,
            configVersion: node.configOf(pg),
          }));
    const grant = { volume: VOLUME, epoch, granted: true, pgs, refusal };
    this.step({ kind: 'heartbeat-reply', node: nodeId, incarnation: String(node.incarnation), grant });
  }

  private carry(effect: WriterEffect): void {
    this.effects.push(effect);
    switch (effect.kind) {
      case 'append':
        this.sent.push(effect);
        if (this.node(effect.node).isUp) this.node(effect.node).inbox.push(effect.request);
        return;
      case 'install':
        this.node(effect.node).installs.push(effect);
        return;
      case 'commit-manifest':
        this.proposals.push(effect);
        return;
      case 'deposed':
        this.deposed = effect.by;
        return;
      case 'dropped':
        return;
      case 'durable':
      case 'log':
        return;
    }
  }
}

export function mtrOf(pages: readonly number[], bodyBytes = 12): Mtr {
  // A delta of one range at the page's start (src/log/page-diff.ts): skip 0, length as a varint, the bytes.
  const header = bodyBytes < 128 ? [0, bodyBytes] : [0, (bodyBytes & 0x7f) | 0x80, bodyBytes >>> 7];
  const body = new Uint8Array(header.length + bodyBytes);
  body.set(header);
  return { changes: pages.map((page) => ({ page: page as PageNumber, kind: 'delta', body })) };
}

export function refusalOf(code: ErrorCode, promised: Epoch | null = null): Refusal {
  return { code, message: `refused: ${code}`, promised };
}

export function recordsOf(request: AppendRequest): readonly RedoRecord[] {
  return decodeBoxcar(request.boxcar, nodeCrc32).records;
}

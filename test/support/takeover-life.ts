/**
 * Terms of one volume, one after another and against each other: writers whose appends reach only some nodes, take-overs over a bad network while
 * nodes crash and come back, candidates that die half-way, deposed writers that write on. Real storage-node cores and the real take-over; a ledger of
 * what was acknowledged judges every manifest, the nodes' disks judge what "durable" meant, and at the end every page is read from every node.
 */
import type { TakeOverOutcome } from '../../compute-node/volume/take-over.ts';
import { compareEpochs } from '../../src/log/epoch.ts';
import { type Lsn, type NodeId, type PgIndex, pgOfPage, toPageNumber, toPgIndex } from '../../src/log/lsn.ts';
import type { NodeRequest } from '../../storage-node/core/effects.ts';
import { headRun } from '../../src/timeline/visibility.ts';
import { LAL, PG_COUNT, startAttempt } from './takeover-attempt.ts';
import { SimCluster } from './takeover-cluster.ts';
import { epoch, NODE_IDS, VOLUME } from './takeover-fixtures.ts';
import { Ledger, PAGES, SimWriter } from './takeover-writer.ts';

const PGS = Array.from({ length: PG_COUNT }, (_, pg) => toPgIndex(pg));
const SEGMENTS = NODE_IDS.flatMap((node) => PGS.map((pg) => `${node}/${pg}`));
/** Four of six keep a volume alive. */
const MAX_DOWN = 2;
/** Two may lose some of what they acknowledged: two of the four that had it are left. */
const MAX_HURT = 2;
const ATTEMPT_TIMEOUT_MS = 600;
const LONGEST_ATTEMPT_MS = 2 * ATTEMPT_TIMEOUT_MS;
const CALM_ATTEMPTS = 6;
const CALM_MS = 3_000;
const WRITE_QUORUM = 4;

export class TakeOverLife {
  /** What went wrong. */
  readonly faults: string[] = [];
  takeOvers = 0;
  readonly #sim: SimCluster;
  readonly #ledger = new Ledger();
  /** The newest first; the others do not know yet that their term is over. */
  #writers: SimWriter[] = [];
  readonly #down = new Set<NodeId>();
  /** Appends of these PGs do not reach these nodes: `node/pg`. */
  #deafToWriters = new Set<string>();
  /** Nor do these hear of candidates: the fewer answer a fence, the more it matters which. */
  #deafToFences = new Set<string>();
  /** How far the VDL is, nodes hear late then. */
  #areHeartbeatsLost = false;
  /** When a node's disk last lost what it had acknowledged. */
  readonly #hurtAtMs = new Map<NodeId, number>();
  #epochs = 0;

  constructor(seed: number) {
    this.#sim = new SimCluster(seed);
    this.#sim.intercept = (node, request) => (this.#isLost(node, request) ? 'lose' : null);
    this.#wait(60);
  }

  step(): void {
    const { random } = this.#sim;
    const drawn = random.next();
    if (drawn < 0.35) this.#write();
    else if (drawn < 0.5) this.#changeNetwork();
    else if (drawn < 0.6) this.#crash();
    else if (drawn < 0.7) this.#start();
    else if (drawn < 0.9) this.#takeOver();
    this.#wait(2 + random.int(25));
  }

  /** Calm: the volume opens, takes writes, and every node comes to show what was acknowledged and nothing else. */
  finish(): void {
    if (this.faults.length > 0) return;
    this.#sim.faults = { loss: 0, maxDelayMs: 4 };
    this.#deafToWriters = new Set();
    this.#deafToFences = new Set();
    this.#areHeartbeatsLost = false;
    for (const node of NODE_IDS) this.#sim.start(node);
    this.#wait(200);
    const before = this.takeOvers;
    for (let attempt = 0; attempt < CALM_ATTEMPTS && this.takeOvers === before; attempt += 1)
      this.#takeOver();
    const [writer] = this.#writers;
    if (writer === undefined || this.takeOvers === before) {
      this.faults.push('the volume opens no more');
      return;
    }
    writer.write(LAL);
    const isSettled = (): boolean =>
      writer.vdl === writer.headLsn &&
      PGS.every((pg) =>
        NODE_IDS.every((node) => this.#sim.coreOf(node)?.segments.get(VOLUME, pg)?.vdl === writer.vdl),
      );
    if (!this.#sim.runUntil(isSettled, CALM_MS)) {
      this.faults.push('the nodes do not come to agree');
      return;
    }
    this.#judge(writer, 'at the end');
    this.#readAll(writer);
  }

  #write(): void {
    const { random } = this.#sim;
    const writer = random.chance(0.8) ? this.#writers[0] : this.#writers[random.int(this.#writers.length)];
    for (let mtrs = 1 + random.int(5); mtrs > 0; mtrs -= 1) writer?.write(LAL);
  }

  #changeNetwork(): void {
    const { random } = this.#sim;
    const some = (max: number): Set<NodeId> =>
      new Set(Array.from({ length: random.int(max + 1) }, () => NODE_IDS[random.int(6)] as NodeId));
    this.#deafToWriters = this.#share([0, 0.2, 0.35, 0.7][random.int(4)] ?? 0);
    this.#areHeartbeatsLost = random.chance(0.5);
    this.#deafToFences = random.chance(0.25)
      ? // The cut moves: whom the writer reached, the next one does not.
        new Set(SEGMENTS.filter((segment) => !this.#deafToWriters.has(segment)))
      : this.#share([0, 0, 0.5, 0.6][random.int(4)] ?? 0);
    this.#sim.faults = {
      loss: random.chance(0.5) ? 0 : random.next() * 0.15,
      maxDelayMs: [1, 4, 20][random.int(3)] ?? 4,
      isolated: random.chance(0.7) ? new Set() : some(2),
      isGossipCut: random.chance(0.5),
    };
  }

  #isLost(node: NodeId, request: NodeRequest): boolean {
    switch (request.method) {
      case 'append':
        return !request.body.recovery && this.#deafToWriters.has(`${node}/${request.body.pg}`);
      case 'heartbeat':
        return this.#areHeartbeatsLost;
      case 'fence':
        return this.#deafToFences.has(`${node}/${request.body.pg}`);
      default:
        return false;
    }
  }

  /** Of all segments, or of all nodes with all of theirs, each with this probability. */
  #share(probability: number): Set<string> {
    const { random } = this.#sim;
    const byNode = random.chance(0.5);
    return new Set(
      NODE_IDS.flatMap((node) => {
        const isTaken = random.chance(probability);
        return PGS.filter(() => (byNode ? isTaken : random.chance(probability))).map((pg) => `${node}/${pg}`);
      }),
    );
  }

  #crash(): void {
    const node = NODE_IDS[this.#sim.random.int(6)] as NodeId;
    if (this.#down.size >= MAX_DOWN) return;
    this.#down.add(node);
    const { random } = this.#sim;
    const hurt = this.#hurt();
    const mayLose = random.chance(0.5) && (hurt.includes(node) || hurt.length < MAX_HURT);
    if (mayLose) this.#hurtAtMs.set(node, this.#sim.nowMs);
    this.#sim.crash(node, mayLose ? { loseChunks: 1 + random.int(4) } : {});
  }

  /** Those that have lost something they acknowledged, and do not have it again. */
  #hurt(): readonly NodeId[] {
    return [...this.#hurtAtMs.keys()].filter(
      (node) =>
        this.#down.has(node) ||
        PGS.some((pg) => this.#sim.coreOf(node)?.segments.get(VOLUME, pg)?.isQuarantined === true),
    );
  }

  #start(): void {
    const [node] = this.#down;
    if (node === undefined) return;
    this.#down.delete(node);
    this.#sim.start(node);
  }

  /** The writer before may be dead, or not know that it is deposed. */
  #takeOver({ livesOn = this.#sim.random.chance(0.5) } = {}): void {
    const { random } = this.#sim;
    if (!livesOn) this.#writers[0]?.stop();
    // It may also go on writing while others take over.
    for (let writes = random.chance(0.5) ? 6 : 0; writes > 0; writes -= 1)
      this.#sim.later(random.int(80), () => this.#write());
    const outcomes: TakeOverOutcome[] = [];
    const candidates = random.chance(0.25) ? 2 : 1;
    for (let i = 0; i < candidates; i += 1) {
      this.#epochs += 1;
      startAttempt(
        this.#sim,
        {
          epoch: epoch(this.#epochs),
          timeoutMs: ATTEMPT_TIMEOUT_MS,
          ...(random.chance(0.2) ? { diesAfterMs: random.int(80) } : {}),
        },
        (outcome) => {
          outcomes.push(outcome);
          if (outcome.kind === 'done')
            this.#opened(new SimWriter(this.#sim, this.#ledger, outcome.takenOver));
        },
      );
    }
    this.#sim.runUntil(
      () => outcomes.length === candidates,
      random.chance(0.7) ? 2 * ATTEMPT_TIMEOUT_MS : 60,
    );
  }

  #opened(writer: SimWriter): void {
    this.takeOvers += 1;
    this.#writers = [writer, ...this.#writers].sort(
      (a, b) => b.takenOver.epoch.number - a.takenOver.epoch.number,
    );
    this.#judge(writer, 'after a take-over');
    for (const pg of PGS) {
      const installed = NODE_IDS.filter((node) => this.#hasInstalled(node, pg, writer));
      if (installed.length + this.#down.size < WRITE_QUORUM)
        this.faults.push(`opened with PG ${pg} installed at ${installed.length} nodes`);
    }
    const disks = NODE_IDS.map(
      (node) => new Set(PGS.flatMap((pg) => [...this.#sim.onDisk(node, VOLUME, pg)])),
    );
    const sinceMs = this.#sim.nowMs - LONGEST_ATTEMPT_MS;
    const hurtMeanwhile = [...this.#hurtAtMs].filter(([, atMs]) => atMs >= sinceMs).map(([node]) => node);
    // What was durable before is not sent again, and comes back to them by gossip.
    const excused = new Set([...hurtMeanwhile, ...this.#hurt()]).size;
    const { closedAtLsn } = writer.takenOver;
    for (const { record } of this.#ledger.surviving(writer.manifest)) {
      const pg = pgOfPage(record.page, writer.manifest.pgPages);
      const copies = NODE_IDS.filter(
        (node, index) => disks[index]?.has(record.lsn) === true || this.#hasInPages(node, pg, record.lsn),
      ).length;
      if (record.lsn <= closedAtLsn && copies + excused < WRITE_QUORUM)
        this.faults.push(`record ${record.lsn}, kept by a take-over, is on ${copies} disks`);
    }
  }

  #hasInstalled(node: NodeId, pg: PgIndex, { takenOver }: SimWriter): boolean {
    const manifest = this.#sim.coreOf(node)?.segments.get(VOLUME, pg)?.manifest?.value;
    return manifest !== undefined && compareEpochs(manifest.epoch, takenOver.epoch) >= 0;
  }

  #hasInPages(node: NodeId, pg: PgIndex, lsn: Lsn): boolean {
    return (this.#sim.coreOf(node)?.segments.get(VOLUME, pg)?.coalesced ?? 0) >= lsn;
  }

  #judge(writer: SimWriter, when: string): void {
    for (const { epoch: by, lsns } of this.#ledger.lostBy(writer.manifest))
      this.faults.push(`${when}: commit ${lsns.at(-1)} that epoch ${by.number} acknowledged is lost`);
    const torn = this.#ledger
      .surviving(writer.manifest)
      .filter(({ record }) => record.lsn <= writer.takenOver.closedAtLsn)
      .at(-1);
    if (torn !== undefined && !torn.record.isCpl)
      this.faults.push(`${when}: the volume ends in the middle of an MTR, at ${torn.record.lsn}`);
  }

  /** As replaying the ledger has it, from each node. */
  #readAll(writer: SimWriter): void {
    const { manifest, vdl } = writer;
    const wanted = this.#ledger.replay(manifest, vdl);
    let isAnswered = 0;
    let requestId = 0;
    for (const node of NODE_IDS) {
      for (let number = 1; number <= PAGES; number += 1) {
        const page = toPageNumber(number);
        const pg = pgOfPage(page, manifest.pgPages);
        const body = {
          clusterId: 'sim-cluster',
          volume: VOLUME,
          pg,
          run: headRun(manifest.runs).id,
          lsn: vdl,
          requiredScl: writer.tailOf(pg),
          requestId: ++requestId,
          pages: [page],
        };
        this.#sim.call(node, { method: 'readPages', body }, 200, (reply) => {
          isAnswered += 1;
          if (reply?.method !== 'readPages' || reply.body.refusal !== null) return;
          const data = reply.body.pages[0]?.data ?? new Uint8Array(0);
          const expected = wanted.get(page) ?? new Uint8Array(0);
          if (!Buffer.from(data).equals(Buffer.from(expected)))
            this.faults.push(`page ${page} at ${node} is not what was written, read at ${vdl as Lsn}`);
        });
      }
    }
    this.#sim.runUntil(() => isAnswered === NODE_IDS.length * PAGES, 2_000);
  }

  #wait(ms: number): void {
    this.#sim.runUntil(() => false, ms);
  }
}

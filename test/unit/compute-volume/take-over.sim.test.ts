/**
 * Take-overs against six real storage-node cores, with crashes of nodes and of the take-overs themselves, lost messages, lost disks, rivals, and old
 * writers that do not know yet that they are deposed. Everything is drawn from a seed; a failing seed is replayed by its number.
 *
 * Checked: every acknowledged commit survives every take-over; no LSN is given out twice; stamps are monotone over writers; ghosts are on no
 * node in the end; every node shows the pages that a plain replay of the surviving records gives.
 */
import { expect, it } from 'vitest';
import type { TakeOverOutcome } from '../../../compute-node/volume/take-over.ts';
import type { TakenOver } from '../../../compute-node/volume/taken-over.ts';
import { type NodeId, pgOfPage, toPageNumber } from '../../../src/log/lsn.ts';
import { admits, headRun } from '../../../src/timeline/visibility.ts';
import type { NodeReply, NodeRequest } from '../../../storage-node/core/effects.ts';
import { NODE_IDS, VOLUME } from '../../support/takeover-fixtures.ts';
import { LAL, PG_PAGES, SIM_CLUSTER, startAttempt } from '../../support/takeover-sim-attempt.ts';
import { SimCluster } from '../../support/takeover-sim-cluster.ts';
import { Ledger, SimWriter } from '../../support/takeover-sim-writer.ts';

const TERMS = 5;
const SEEDS = Number(process.env.TAKE_OVER_SEEDS ?? 24);
const FIRST_SEED = Number(process.env.TAKE_OVER_SEED ?? 1);

class Scenario {
  readonly sim: SimCluster;
  readonly ledger = new Ledger();
  readonly writers: SimWriter[] = [];
  #highestEpoch = 0;
  #isSettling = false;
  /** Nodes that lost data and have not been seen whole since. */
  readonly #damaged = new Set<NodeId>();
  /** Half of the scenarios lose no disk: then every surviving record is on four of them after each take-over. */
  readonly #losesDisks: boolean;

  constructor(seed: number) {
    this.sim = new SimCluster(seed);
    this.#losesDisks = this.sim.random.chance(0.5);
    this.sim.runUntil(() => false, 60);
  }

  run(): void {
    const { random } = this.sim;
    for (let term = 0; term < TERMS; term += 1) {
      this.sim.faults = {
        loss: random.chance(0.5) ? 0.08 * random.next() : 0,
        maxDelayMs: 1 + 8 * random.next(),
      };
      this.#takeOver();
      this.#work(80 + random.int(250));
      // The last writer crashes, or goes on and will find itself deposed.
      if (random.chance(0.5)) this.writers.at(-1)?.stop();
    }
    this.#settle();
  }

  /** Attempts until one succeeds; some die half-way, some have a rival. */
  #takeOver(): void {
    const { random } = this.sim;
    for (let attempt = 0; attempt < 40; attempt += 1) {
      this.#restartSome();
      if (!this.#isSettling) this.#drawFaults();
      const outcomes: (TakeOverOutcome | null)[] = [];
      const rivals = random.chance(0.3) ? 2 : 1;
      for (let i = 0; i < rivals; i += 1) {
        const at = outcomes.push(null) - 1;
        const dies = random.chance(0.35) ? random.next() * 60 : Number.POSITIVE_INFINITY;
        this.sim.later(random.next() * 20, () => this.#attempt(dies, (outcome) => (outcomes[at] = outcome)));
      }
      this.sim.runUntil(
        () => outcomes.every((outcome) => outcome?.kind === 'failed') || outcomes.some(isDone),
        700,
      );
      // A rival may yet finish, with a higher epoch: the last one to be done holds the volume.
      if (outcomes.filter(isDone).length > 0 && rivals > 1)
        this.sim.runUntil(() => outcomes.every((o) => o !== null), 700);
      for (const outcome of outcomes) {
        if (outcome?.kind === 'failed') expect(['DEPOSED', 'NO_QUORUM']).toContain(outcome.error.code);
      }
      const done = outcomes.filter(isDone).map(({ takenOver }) => takenOver);
      for (const takenOver of done.sort((a, b) => a.epoch.number - b.epoch.number))
        this.#onTakenOver(takenOver);
      if (done.length > 0) return;
    }
    throw new Error('no take-over succeeded');
  }

  #attempt(diesAfterMs: number, onOutcome: (outcome: TakeOverOutcome) => void): void {
    const { sim } = this;
    const epoch = { number: this.#highestEpoch + 1, writerId: sim.random.id(8) };
    // Rivals may come with one number, and then differ by their ids alone.
    this.#highestEpoch += sim.random.int(2);
    startAttempt(sim, { epoch, diesAfterMs }, (outcome) => {
      if (outcome.kind === 'failed')
        this.#highestEpoch = Math.max(this.#highestEpoch, outcome.promised?.number ?? 0);
      onOutcome(outcome);
    });
  }

  #onTakenOver(takenOver: TakenOver): void {
    this.#highestEpoch = Math.max(this.#highestEpoch, takenOver.epoch.number);
    expect(this.ledger.lostBy(takenOver.manifest)).toEqual([]);
    const stamps = this.ledger.acknowledged.map(({ micros }) => micros);
    expect(takenOver.lastCommitTimeMicros).toBeGreaterThanOrEqual(Math.max(0, ...stamps));
    for (const { pg } of takenOver.manifest.pgs) {
      expect(takenOver.installed.filter((segment) => segment.pg === pg).length).toBeGreaterThanOrEqual(4);
    }
    if (!this.#losesDisks) this.#checkOnFour(takenOver);
    this.writers.push(new SimWriter(this.sim, this.ledger, takenOver));
  }

  #checkOnFour({ manifest }: TakenOver): void {
    const surviving = this.ledger.surviving(manifest);
    for (const { pg, members } of manifest.pgs) {
      const disks = members.map((node) => this.sim.onDisk(node, VOLUME, pg));
      for (const { record } of surviving.filter((sent) => pgOfPage(sent.record.page, PG_PAGES) === pg)) {
        const holders = disks.filter((lsns) => lsns.has(record.lsn)).length;
        expect(holders, `disks with record ${record.lsn} of PG ${pg}`).toBeGreaterThanOrEqual(4);
      }
    }
  }

  /** Writers write (old ones too, while they do not know better), nodes come and go. */
  #work(forMs: number): void {
    const { random } = this.sim;
    const endMs = this.sim.nowMs + forMs;
    while (this.sim.nowMs < endMs) {
      for (const writer of this.writers) if (random.chance(0.7)) writer.write(LAL);
      if (random.chance(0.06)) this.#disturb();
      if (random.chance(0.04)) this.#drawFaults();
      this.sim.runUntil(() => false, 1 + random.next() * 6);
    }
  }

  #disturb(): void {
    const { random } = this.sim;
    const node = NODE_IDS[random.int(NODE_IDS.length)] as NodeId;
    if (!this.sim.isAlive(node)) {
      this.sim.start(node);
      return;
    }
    const troubled = this.#troubled();
    if (troubled.size >= 2 && !troubled.has(node)) return;
    if (this.#losesDisks && random.chance(0.3)) {
      this.#damaged.add(node);
      this.sim.crash(node, { loseChunks: 1 + random.int(6) });
    } else {
      this.sim.crash(node);
    }
    if (random.chance(0.5)) this.sim.later(random.next() * 100, () => this.sim.start(node));
  }

  /** Nodes that are down, cut off, or have lost data: at most two, so that every take-over must succeed. */
  #troubled(): ReadonlySet<NodeId> {
    this.#noteHealed();
    const down = NODE_IDS.filter((node) => !this.sim.isAlive(node));
    return new Set([...this.#damaged, ...down, ...(this.sim.faults.isolated ?? [])]);
  }

  #noteHealed(): void {
    for (const node of this.#damaged) {
      const core = this.sim.coreOf(node);
      if (core?.isReady === true && [...core.segments.all()].every((segment) => !segment.isQuarantined))
        this.#damaged.delete(node);
    }
  }

  /** Delays, losses, and nodes that compute nodes, or nodes that other nodes, do not reach for a while. */
  #drawFaults(): void {
    const { random } = this.sim;
    const isolated = new Set(
      random.chance(0.4) ? [NODE_IDS[random.int(6)] as NodeId, NODE_IDS[random.int(6)] as NodeId] : [],
    );
    this.sim.faults = {
      loss: random.chance(0.5) ? 0.08 * random.next() : 0,
      maxDelayMs: 1 + 8 * random.next(),
      isolated,
      isGossipCut: random.chance(0.3),
    };
  }

  #restartSome(): void {
    for (const node of NODE_IDS) if (this.sim.random.chance(0.4)) this.sim.start(node);
  }

  /** Everything comes back; one more writer; then all six must agree with the ledger. */
  #settle(): void {
    this.#isSettling = true;
    this.sim.faults = { loss: 0, maxDelayMs: 3 };
    for (const node of NODE_IDS) this.sim.start(node);
    for (const writer of this.writers) writer.stop();
    this.#takeOver();
    const writer = this.writers.at(-1) as SimWriter;
    for (const node of NODE_IDS) this.sim.start(node);
    for (let i = 0; i < 10; i += 1) {
      writer.write(LAL);
      this.sim.runUntil(() => false, 10);
    }
    const isEven = () =>
      writer.vdl === writer.headLsn &&
      writer.manifest.pgs.every(({ pg }) =>
        NODE_IDS.every((node) => {
          const segment = this.sim.coreOf(node)?.segments.get(VOLUME, pg);
          return (
            segment != null &&
            segment.scl === writer.tailOf(pg) &&
            segment.vdl === writer.vdl &&
            !segment.isQuarantined
          );
        }),
      );
    expect(this.sim.runUntil(isEven, 5_000), `all six caught up:\n${this.#whoIsBehind(writer)}`).toBe(true);
    expect(this.ledger.lostBy(writer.manifest)).toEqual([]);
    for (const node of NODE_IDS) this.#checkNode(node, writer);
    this.#checkPages(writer);
  }

  #whoIsBehind(writer: SimWriter): string {
    const lines = NODE_IDS.flatMap((node) =>
      writer.manifest.pgs.map(({ pg }) => {
        const segment = this.sim.coreOf(node)?.segments.get(VOLUME, pg);
        return `${node}/${pg} scl ${segment?.scl} of ${writer.tailOf(pg)}, vdl ${segment?.vdl} of ${writer.vdl}, ${JSON.stringify(segment?.quarantine)}`;
      }),
    );
    return [`head ${writer.headLsn}, vdl ${writer.vdl}`, ...lines, ...this.sim.logs.slice(-12)].join('\n');
  }

  /** No ghost is held anywhere, and nothing that survived is missing. */
  #checkNode(node: NodeId, writer: SimWriter): void {
    for (const { pg } of writer.manifest.pgs) {
      const segment = this.sim.coreOf(node)?.segments.get(VOLUME, pg);
      for (const { birthEpoch, records } of segment?.held.piecesAbove(0 as never) ?? []) {
        for (const { lsn } of records)
          expect(admits(writer.manifest.runs, lsn, birthEpoch), `${node} holds ghost ${lsn}`).toBe(true);
      }
    }
  }

  #checkPages(writer: SimWriter): void {
    const expected = this.ledger.replay(writer.manifest, writer.vdl);
    const run = headRun(writer.manifest.runs).id;
    for (const node of NODE_IDS) {
      for (const { pg } of writer.manifest.pgs) {
        const pages = Array.from({ length: PG_PAGES }, (_, i) => toPageNumber(pg * PG_PAGES + i + 1));
        const body = {
          requestId: 1,
          clusterId: SIM_CLUSTER.clusterId,
          volume: VOLUME,
          pg,
          run,
          lsn: writer.vdl,
          requiredScl: writer.tailOf(pg),
          pages,
        };
        const reply = this.#ask(node, { method: 'readPages', body });
        if (reply?.method !== 'readPages' || reply.body.refusal !== null)
          throw new Error(`${node}: ${JSON.stringify(reply)}`);
        for (const { page, data } of reply.body.pages) {
          const plain = expected.get(page);
          expect(Buffer.compare(data, plain ?? new Uint8Array(0)), `page ${page} on ${node}`).toBe(0);
        }
      }
    }
  }

  #ask(node: NodeId, request: NodeRequest): NodeReply | null {
    let answer: { readonly reply: NodeReply | null } | null = null;
    this.sim.call(node, request, 1_000, (reply) => {
      answer = { reply };
    });
    this.sim.runUntil(() => answer !== null, 2_000);
    return (answer as { readonly reply: NodeReply | null } | null)?.reply ?? null;
  }
}

function isDone(outcome: TakeOverOutcome | null): outcome is Extract<TakeOverOutcome, { kind: 'done' }> {
  return outcome?.kind === 'done';
}

for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
  it(`keeps every acknowledged commit, seed ${seed}`, () => new Scenario(seed).run());
}

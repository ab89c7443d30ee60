/**
 * The take-over's steps, one rule at a time, against real storage-node cores on a calm network where each test makes its own trouble.
 */
import { describe, expect, it } from 'vitest';
import type { TakenOver } from '../../../compute-node/volume/taken-over.ts';
import type { TakeOverOutcome } from '../../../compute-node/volume/take-over.ts';
import type { NewTerm } from '../../../compute-node/volume/take-over-manifest.ts';
import { compareEpochs } from '../../../src/log/epoch.ts';
import { type NodeId, toLsn, toPgIndex, toRunId } from '../../../src/log/lsn.ts';
import { decodeManifest, encodeRetention } from '../../../src/register/codec.ts';
import { REGISTER_FORMAT, type RetentionValue } from '../../../src/register/values.ts';
import type { NodeReply, NodeRequest } from '../../../storage-node/core/effects.ts';
import { NODE_IDS, VOLUME, epoch } from '../../support/takeover-fixtures.ts';
import { LAL, takeOverNow } from '../../support/takeover-attempt.ts';
import { type Intercept, SimCluster } from '../../support/takeover-cluster.ts';
import { Ledger, SimWriter } from '../../support/takeover-writer.ts';

const [A, B, C, D, E, F] = NODE_IDS as [NodeId, NodeId, NodeId, NodeId, NodeId, NodeId];
const PGS = [0, 1, 2].map(toPgIndex);

let retentionVersion = 0;

function changeRetention(world: World, change: Partial<RetentionValue>): void {
  const value: RetentionValue = {
    format: REGISTER_FORMAT,
    volume: VOLUME,
    floor: toLsn(0),
    windowMs: 1,
    dropped: false,
    pins: [],
  };
  retentionVersion += 1;
  for (const node of NODE_IDS) {
    const body = {
      clusterId: 'sim-cluster',
      key: `retention/${VOLUME}`,
      ballot: epoch(100),
      version: retentionVersion,
      value: encodeRetention({ ...value, ...change }),
    };
    world.sim.call(node, { method: 'registerAccept', body }, 100, () => {});
  }
  world.wait(50);
}

class World {
  readonly sim = new SimCluster(7);
  readonly ledger = new Ledger();
  #epochs = 0;

  constructor() {
    this.sim.runUntil(() => false, 60);
  }

  attempt(timeoutMs = 400, rewindTo: NewTerm['rewindTo'] = null): TakeOverOutcome {
    this.#epochs += 1;
    return takeOverNow(this.sim, { epoch: epoch(this.#epochs), timeoutMs, rewindTo });
  }

  takeOver(): TakenOver {
    const outcome = this.attempt();
    if (outcome.kind === 'failed') throw outcome.error;
    return outcome.takenOver;
  }

  open(): SimWriter {
    return new SimWriter(this.sim, this.ledger, this.takeOver());
  }

  isolate(...nodes: NodeId[]): void {
    this.sim.faults = { ...this.sim.faults, isolated: new Set(nodes) };
  }

  cutGossip(): void {
    this.sim.faults = { ...this.sim.faults, isGossipCut: true };
  }

  wait(ms: number): void {
    this.sim.runUntil(() => false, ms);
  }

  write(writer: SimWriter, mtrs: number): void {
    for (let i = 0; i < mtrs; i += 1) writer.write(LAL);
  }

  /** All segments that hold everything up to the writer's VDL and know it. */
  settle(writer: SimWriter): void {
    const isSettled = () =>
      writer.vdl === writer.headLsn &&
      PGS.every((pg) =>
        NODE_IDS.every((node) => this.sim.coreOf(node)?.segments.get(VOLUME, pg)?.vdl === writer.vdl),
      );
    expect(this.sim.runUntil(isSettled, 2_000)).toBe(true);
  }

  /** Writes that only `nodes` get, and that nobody acknowledges to the writer. */
  writeUnheard(writer: SimWriter, mtrs: number, nodes: readonly NodeId[]): void {
    this.sim.intercept = (node, request) =>
      request.method === 'append' && nodes.includes(node) ? { alter: () => null as never } : 'lose';
    this.write(writer, mtrs);
    this.wait(25);
    writer.stop();
    this.wait(120);
    this.sim.intercept = () => null;
  }

  holdersOf(takenOver: TakenOver): number[] {
    const surviving = this.ledger.surviving(takenOver.manifest);
    const disks = NODE_IDS.map(
      (node) => new Set(PGS.flatMap((pg) => [...this.sim.onDisk(node, VOLUME, pg)])),
    );
    return surviving.map(({ record }) => disks.filter((disk) => disk.has(record.lsn)).length);
  }

  record(): { readonly node: NodeId; readonly request: NodeRequest }[] {
    const calls: { node: NodeId; request: NodeRequest }[] = [];
    const before = this.sim.intercept;
    this.sim.intercept = (node, request) => {
      calls.push({ node, request });
      return before(node, request);
    };
    return calls;
  }
}

function failed(outcome: TakeOverOutcome): Extract<TakeOverOutcome, { kind: 'failed' }> {
  if (outcome.kind !== 'failed') throw new Error('the take-over succeeded');
  return outcome;
}

const alterOnce = (
  method: NodeReply['method'],
  at: NodeId,
  alter: (reply: NodeReply) => NodeReply,
): Intercept => {
  let isDone = false;
  return (node, request) => {
    if (isDone || node !== at || request.method !== method) return null;
    isDone = true;
    return { alter };
  };
};

describe('the first take-over', () => {
  it('opens run 0 at LSN 1 on all six', () => {
    const takenOver = new World().takeOver();
    expect(takenOver).toMatchObject({
      vdl: 0,
      closedAtLsn: 0,
      tails: [0, 0, 0],
      epoch: epoch(1),
      manifestVersion: 1,
    });
    expect(takenOver.manifest.runs).toMatchObject([
      { id: 0, firstLsn: 1, lastLsn: null, epoch: epoch(1), parent: null },
    ]);
    expect(takenOver.installed.length).toBe(18);
  });
});

describe('a later take-over', () => {
  it('closes the head at the VDL and opens a run beyond LAL', () => {
    const world = new World();
    const writer = world.open();
    world.write(writer, 10);
    world.settle(writer);
    writer.stop();
    const takenOver = world.takeOver();
    expect(takenOver.closedAtLsn).toBe(writer.vdl);
    expect(takenOver.vdl).toBe(writer.vdl + LAL);
    expect(takenOver.tails).toEqual(PGS.map((pg) => writer.tailOf(pg)));
    expect(takenOver.manifest.runs.at(-1)?.parent).toEqual({ volume: VOLUME, run: 0, lsn: writer.vdl });
    expect(takenOver.manifestVersion).toBe(2);
  });

  it('works with four nodes, and not with three', () => {
    const world = new World();
    const writer = world.open();
    world.write(writer, 5);
    world.settle(writer);
    writer.stop();
    world.isolate(A, B, C);
    expect(failed(world.attempt()).error.code).toBe('NO_QUORUM');
    world.isolate(A, B);
    expect(world.takeOver().closedAtLsn).toBe(writer.vdl);
  });

  it('brings what only two nodes hold to four disks before it commits', () => {
    const world = new World();
    const writer = world.open();
    world.write(writer, 5);
    world.settle(writer);
    world.cutGossip();
    world.writeUnheard(writer, 6, [A, B]);
    world.isolate(E, F);
    const takenOver = world.takeOver();
    expect(takenOver.closedAtLsn).toBe(writer.headLsn);
    expect(Math.min(...world.holdersOf(takenOver))).toBeGreaterThanOrEqual(4);
  });

  it('does not commit while a record is at fewer than four', () => {
    const world = new World();
    const writer = world.open();
    world.cutGossip();
    // Two of four hold it: among any three that are listened to is one of them.
    world.writeUnheard(writer, 3, [A, B]);
    world.isolate(E, F);
    world.sim.intercept = (node, request) => (request.method === 'append' && node === D ? 'lose' : null);
    expect(failed(world.attempt()).error.code).toBe('NO_QUORUM');
    world.sim.intercept = () => null;
    // Nothing was cut by the attempt that failed.
    expect(world.takeOver()).toMatchObject({ closedAtLsn: writer.headLsn, manifestVersion: 2 });
  });

  it('sends the records anew to a segment that restarted in between', () => {
    const world = new World();
    const writer = world.open();
    world.cutGossip();
    world.writeUnheard(writer, 3, [A, B, C]);
    world.isolate(E, F);
    world.sim.intercept = alterOnce('append', D, (reply) =>
      reply.method === 'append' ? { ...reply, body: { ...reply.body, incarnation: 'another' } } : reply,
    );
    const calls = world.record();
    world.takeOver();
    const toD = calls.filter(({ node }) => node === D).map(({ request }) => request.method);
    expect(toD.indexOf('fence', toD.indexOf('append'))).toBeGreaterThan(0);
  });

  it('does not count a record as held by a segment in quarantine until that acknowledged it', () => {
    const world = new World();
    const writer = world.open();
    world.cutGossip();
    world.writeUnheard(writer, 3, [A, B, C, D]);
    world.isolate(E);
    world.sim.intercept = (node, request) =>
      node === D && request.method === 'fence'
        ? {
            alter: (reply) =>
              reply.method === 'fence' ? { ...reply, body: { ...reply.body, intact: false } } : reply,
          }
        : null;
    const calls = world.record();
    world.takeOver();
    expect(
      calls.some(({ node, request }) => node === D && request.method === 'append' && request.body.recovery),
    ).toBe(true);
  });

  it("teaches a segment that slept through a term the manifest before it sends it that term's records", () => {
    const world = new World();
    world.open().stop();
    world.sim.crash(E);
    world.sim.crash(F);
    const second = world.open();
    world.cutGossip();
    world.write(second, 4);
    expect(world.sim.runUntil(() => second.vdl === second.headLsn, 500)).toBe(true);
    world.writeUnheard(second, 4, [A, B]);
    world.sim.crash(C);
    world.sim.crash(D);
    world.sim.start(E);
    world.sim.start(F);
    // With two nodes gone, those that start wait two seconds for their memory of them.
    world.wait(2_100);
    const takenOver = world.takeOver();
    expect(takenOver.closedAtLsn).toBe(second.headLsn);
    expect(world.ledger.lostBy(takenOver.manifest)).toEqual([]);
  });

  it('asks a segment anew that lists less than it announced', () => {
    const world = new World();
    const writer = world.open();
    world.cutGossip();
    world.isolate(E, F);
    world.write(writer, 4);
    // Acknowledged by four, the VDL told to nobody yet.
    world.sim.intercept = (_, request) => (request.method === 'heartbeat' ? 'lose' : null);
    expect(world.sim.runUntil(() => writer.vdl === writer.headLsn, 300)).toBe(true);
    writer.stop();
    world.isolate(C, D);
    const forget = (reply: NodeReply): NodeReply =>
      reply.method === 'inventory' ? { ...reply, body: { ...reply.body, entries: [], done: true } } : reply;
    const atA = alterOnce('inventory', A, forget);
    const atB = alterOnce('inventory', B, forget);
    world.sim.intercept = (node, request) =>
      request.method === 'inventory' && request.body.pg === 0
        ? (atA(node, request) ?? atB(node, request))
        : null;
    const takenOver = world.takeOver();
    expect(world.ledger.lostBy(takenOver.manifest)).toEqual([]);
  });

  it('finds the stamp of the last commit, also when no inventory lists it', () => {
    const world = new World();
    const writer = world.open();
    world.write(writer, 8);
    world.settle(writer);
    writer.stop();
    world.wait(300);
    const micros = Math.max(...world.ledger.acknowledged.map((commit) => commit.micros));
    const { manifest } = world.takeOver();
    expect(manifest.runs.at(-2)?.lastCommitTimeMicros).toBe(micros);
    expect(manifest.runs.at(-1)?.openedAtMicros).toBeGreaterThan(micros);
  });

  it('goes on from an older point when told to, keeps what it rewinds, and refuses what is not kept', () => {
    const world = new World();
    const writer = world.open();
    world.write(writer, 8);
    world.settle(writer);
    writer.stop();
    const closedAt = writer.vdl;
    const rewindTo = { run: toRunId(0), lsn: toLsn(2) };
    const outcome = world.attempt(400, rewindTo);
    if (outcome.kind === 'failed') throw outcome.error;
    const [rewound, head] = outcome.takenOver.manifest.runs;
    expect(rewound).toMatchObject({ lastLsn: closedAt, closingTails: outcome.takenOver.tails });
    expect(head).toMatchObject({ firstLsn: closedAt + LAL + 1, parent: { volume: VOLUME, ...rewindTo } });

    changeRetention(world, { floor: toLsn(3) });
    expect(failed(world.attempt(400, rewindTo)).error.code).toBe('GONE');
    expect(failed(world.attempt(400, { run: toRunId(0), lsn: toLsn(closedAt + 1) })).error.code).toBe('CUT');
    expect(world.attempt(400, { run: toRunId(0), lsn: closedAt }).kind).toBe('done');
  });
});

describe('nothing is cut before the commit', () => {
  it('installs no manifest of its own until four acceptors have it', () => {
    const world = new World();
    const writer = world.open();
    world.writeUnheard(writer, 2, [A, B, C, D]);
    world.sim.intercept = (node, request) =>
      request.method === 'registerAccept' && ![A, B, C].includes(node) ? 'lose' : null;
    const calls = world.record();
    expect(failed(world.attempt()).error.code).toBe('NO_QUORUM');
    const installs = calls.flatMap(({ request }) =>
      request.method === 'install' ? [decodeManifest(request.body.manifest)] : [],
    );
    expect(installs.filter((manifest) => compareEpochs(manifest.epoch, epoch(1)) > 0)).toEqual([]);
  });

  it('reports success only when four segments of every PG have installed', () => {
    const world = new World();
    world.sim.intercept = (node, request) =>
      request.method === 'install' && request.body.pg === 1 && ![A, B, C].includes(node) ? 'lose' : null;
    expect(failed(world.attempt()).error.message).toContain('(PG 1)');
  });

  it('stops with DATA_AT_RISK when fewer than three segments are intact, and leaves the manifest as it was', () => {
    const world = new World();
    const writer = world.open();
    world.write(writer, 5);
    world.settle(writer);
    writer.stop();
    world.sim.intercept = (node, request) =>
      request.method === 'fence' && ![A, B].includes(node)
        ? {
            alter: (reply) =>
              reply.method === 'fence' ? { ...reply, body: { ...reply.body, intact: false } } : reply,
          }
        : null;
    const { error } = failed(world.attempt());
    expect(error.code).toBe('DATA_AT_RISK');
    expect(error.message).toContain('2 of three needed segments are intact');
    world.sim.intercept = () => null;
    expect(world.takeOver().manifest.runs.length).toBe(2);
  });

  it('takes a segment whose watermark is above its SCL for damaged', () => {
    const world = new World();
    const writer = world.open();
    world.write(writer, 5);
    world.settle(writer);
    writer.stop();
    world.sim.intercept = (node, request) =>
      request.method === 'fence' && ![A, B].includes(node)
        ? {
            alter: (reply) =>
              reply.method === 'fence'
                ? { ...reply, body: { ...reply.body, watermark: toLsn(reply.body.scl + 1) } }
                : reply,
          }
        : null;
    expect(failed(world.attempt()).error.code).toBe('DATA_AT_RISK');
  });
});

describe('rivals', () => {
  it('gives up at the first proof of a higher epoch, and names it', () => {
    const world = new World();
    world.takeOver();
    const late = failed(takeOverNow(world.sim, { epoch: epoch(1, 'a') }));
    expect(late.error.code).toBe('DEPOSED');
    expect(late.promised).toEqual(epoch(1));
  });

  it('deposes the writer before it: that one never acknowledges again', () => {
    const world = new World();
    const first = world.open();
    world.write(first, 5);
    world.settle(first);
    world.sim.intercept = (_, request) => (request.method === 'heartbeat' ? 'lose' : null);
    const second = world.open();
    world.write(first, 5);
    world.wait(200);
    expect(first.deposedBy).toEqual(second.takenOver.epoch);
    expect(first.vdl).toBeLessThan(first.headLsn);
  });
});

describe('registers', () => {
  it('refuses a dropped volume', () => {
    const world = new World();
    changeRetention(world, { dropped: true });
    expect(failed(world.attempt()).error.code).toBe('VOLUME_DROPPED');
  });

  it('adopts a manifest that segments have installed although the register does not show it', () => {
    const world = new World();
    const writer = world.open();
    world.write(writer, 5);
    world.settle(writer);
    writer.stop();
    for (const node of NODE_IDS) {
      world.sim.crash(node);
      world.sim.forgetRegister(node, `manifest/${VOLUME}`);
      world.sim.start(node);
    }
    world.wait(100);
    const takenOver = world.takeOver();
    expect(takenOver.closedAtLsn).toBe(writer.vdl);
    expect(takenOver.manifest.runs.map((run) => run.epoch.number)).toEqual([1, 2]);
  });
});

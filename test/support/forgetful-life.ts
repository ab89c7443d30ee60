/**
 * Six storage nodes of one volume whose disks are put back to old images, or lost, one and two at a time, between honest crashes, take-overs, appends and
 * votes; and what every node ever answered. Whatever a node told a second before it lost its memory, and whatever it told at all before an
 * honest crash, it stands by in everything it answers later; and a node that forgot nothing is never taken for one that did.
 */
import { type Epoch, NO_EPOCH, compareEpochs } from '../../src/log/epoch.ts';
import { type Lsn, NO_LSN, type NodeId, type PgIndex } from '../../src/log/lsn.ts';
import { incarnationCounter } from '../../src/log/incarnation.ts';
import type { AppendRequest } from '../../src/messages/messages.ts';
import { encodeCluster } from '../../src/register/codec.ts';
import { clampToRuns } from '../../storage-node/core/manifests.ts';
import { SeededRandom } from './seeded-random.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from './storage-cluster.ts';
import type { TestDisk } from './storage-disk.ts';
import { TestVolume } from './storage-volume.ts';

/** The lag of the peers' memory, and a little. */
const TOLD_MS = 1_200;
/** A node that lost something has it again by then, with all others up. */
const HEALED_WITHIN_MS = 20_000;
const KEYS = ['name/a', 'name/b'];

interface Told {
  /** Counter of its newest incarnation. */
  life: number;
  promised: Epoch;
  scl: Lsn;
  readonly registers: Map<string, { promised: Epoch; accepted: Epoch }>;
}

export class ForgetfulLife {
  readonly random: SeededRandom;
  readonly cluster: StorageCluster;
  readonly volume = new TestVolume('vol00000', { pgPages: 6 });
  /** What went wrong. */
  readonly faults: string[] = [];
  /** How often a node was put back to an image, or lost its disk. */
  lapses = 0;
  private readonly told = new Map<NodeId, Told>();
  /** What was told long enough ago that the peers know of it. */
  private known = new Map<NodeId, Told>();
  private readonly images = new Map<NodeId, TestDisk[]>();
  private ballot = 1;
  private vdl: Lsn = NO_LSN;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.cluster = new StorageCluster({
      chance: () => this.random.next(),
      limits: { roundRecords: 5, roundAgeMs: 50, chainRecords: 3 },
      ringEntries: 4 + this.random.below(30),
    });
    for (const node of this.cluster.nodeIds) this.told.set(node, nothingTold());
    const value = encodeCluster({
      format: 1,
      clusterId: TEST_CLUSTER,
      nodes: TEST_NODES,
      draining: [],
      constants: { lal: 1000, leaseTermMs: 500, defaultPgPages: 6 },
    });
    const first = { clusterId: '', key: 'cluster', ballot: { number: 1, writerId: 'p' }, version: 1, value };
    for (const node of this.cluster.nodeIds) {
      this.cluster.ask(node, 'registerAccept', first);
      this.install(node);
    }
    this.settle();
  }

  step(): void {
    const dice = this.random.next();
    if (dice < 0.35) this.append();
    else if (dice < 0.55) this.vote();
    else if (dice < 0.62) this.takeOver();
    else if (dice < 0.72) this.cluster.advance(50 + this.random.below(600));
    else if (dice < 0.8) this.takeImages();
    else if (dice < 0.9) this.crash();
    else this.forget();
  }

  /** At the end: everything comes to rest, and nobody lacks anything. */
  finish(): void {
    this.heal();
    for (const node of this.cluster.nodeIds) this.look(node);
  }

  private append(): void {
    const records = Array.from({ length: 1 + this.random.below(4) }, () =>
      this.volume.write(1 + this.random.below(6), this.random.below(999)),
    );
    const request = this.volume.append(records, { vdl: this.durable() });
    // Some may miss it: gossip brings it, or a take-over cuts it.
    const share = this.random.pick([1, 1, 0.8, 0.4]);
    for (const node of this.cluster.nodeIds) {
      if (!this.random.chance(share)) continue;
      this.send(node, request);
    }
  }

  /** The answer may be held for a lease term. */
  private send(node: NodeId, request: AppendRequest): void {
    const owed = this.toldBy(node).scl;
    this.cluster.send(node, 'append', request, (reply) => {
      if (reply.refusal === null) this.noteScl(node, reply.scl, 'acknowledged an append', owed);
    });
    this.cluster.pump();
  }

  private vote(): void {
    const key = this.random.pick(KEYS);
    const ballot = { number: this.ballot++, writerId: 'p' };
    const body = { clusterId: TEST_CLUSTER, key, ballot };
    const isOld = this.random.below(3) === 0;
    const asked = isOld ? { ...ballot, number: Math.max(1, ballot.number - this.random.below(8)) } : ballot;
    for (const node of this.cluster.nodeIds) {
      if (this.random.below(4) === 0) continue;
      const told = this.registerOf(node, key);
      const prepared = this.cluster.call(node, 'registerPrepare', { ...body, ballot: asked });
      if (prepared === null || prepared.refusal !== null) continue;
      if (prepared.promised && compareEpochs(asked, told.promised) < 0)
        this.fault(node, `promised ballot ${asked.number} after ${told.promised.number} for ${key}`);
      if (compareEpochs(prepared.acceptedBallot ?? NO_EPOCH, told.accepted) < 0)
        this.fault(node, `forgot what it accepted of ${key} at ballot ${told.accepted.number}`);
      if (prepared.promised) told.promised = later(told.promised, asked);
      if (!prepared.promised || this.random.below(2) === 0) continue;
      const value = Uint8Array.of(asked.number);
      const accepted = this.cluster.call(node, 'registerAccept', {
        ...body,
        ballot: asked,
        version: 1,
        value,
      });
      if (accepted?.accepted !== true) continue;
      told.accepted = later(told.accepted, asked);
    }
  }

  private takeOver(): void {
    this.cluster.pump();
    const before = this.volume.epoch;
    this.volume.takeOver(`w${before.number + 1}`, this.durable());
    for (const node of this.cluster.nodeIds) this.fence(node);
    // The old writer asks again: nobody who promised may listen.
    for (const node of this.cluster.nodeIds) {
      const late = this.cluster.call(node, 'fence', this.volume.fence(0, before));
      if (late?.promised === true && compareEpochs(this.toldBy(node).promised, before) > 0)
        this.fault(node, `promised epoch ${before.number} after ${this.toldBy(node).promised.number}`);
    }
    for (const node of this.cluster.nodeIds) this.install(node);
  }

  private fence(node: NodeId): void {
    const reply = this.cluster.call(node, 'fence', this.volume.fence());
    if (reply === null || !reply.promised) return;
    const told = this.toldBy(node);
    if (reply.intact && reply.watermark <= reply.scl) this.noteScl(node, reply.scl, 'called itself intact');
    told.promised = later(told.promised, this.volume.epoch);
  }

  private install(node: NodeId): void {
    const told = this.toldBy(node);
    const reply = this.cluster.call(node, 'install', this.volume.install());
    if (reply?.installed === true) told.promised = later(told.promised, this.volume.epoch);
  }

  private takeImages(): void {
    for (const node of this.cluster.nodeIds) {
      const images = this.images.get(node) ?? [];
      images.push(this.cluster.disk(node).copy());
      this.images.set(node, images.slice(-4));
    }
  }

  /** Honest: what was synced is there. All six at once, too. */
  private crash(): void {
    const nodes = this.random.below(6) === 0 ? this.cluster.nodeIds : [this.anyNode()];
    // What is not durable yet is nobody's to remember.
    const [stalled] = nodes;
    if (stalled !== undefined && this.random.chance(0.3)) this.cluster.stalledDisks.add(stalled);
    const records = [this.volume.write(1, this.random.below(999))];
    for (const node of nodes) this.cluster.send(node, 'append', this.volume.append(records), () => {});
    for (let tasks = this.random.below(12); tasks > 0; tasks -= 1) this.cluster.runOne();
    if (this.cluster.stalledDisks.size > 0) this.cluster.advance(TOLD_MS);
    this.cluster.stalledDisks.clear();
    for (const node of nodes) this.cluster.crash(node);
    for (const node of nodes) this.cluster.restart(node, { chance: () => this.random.next() });
    const logged = this.cluster.logs.length;
    this.cluster.pump();
    this.cluster.advance(2_500);
    for (const { node, message } of this.cluster.logs.slice(logged)) {
      if (message.includes('may have forgotten')) this.fault(node, 'was suspected without a reason');
    }
  }

  /** One or two, while the other four are whole: up all along, or starting at the same time. */
  private forget(): void {
    this.heal();
    if (this.random.chance(0.4)) this.takeImages();
    if (this.random.chance(0.5)) this.append();
    if (this.random.chance(0.5)) this.vote();
    if (this.random.chance(0.5)) this.settle();
    const nodes = new Set([this.anyNode(), ...(this.random.chance(0.5) ? [this.anyNode()] : [])]);
    const others = this.random.chance(0.3) ? this.cluster.nodeIds.filter((node) => !nodes.has(node)) : [];
    for (const node of [...nodes, ...others]) this.cluster.crash(node);
    for (const node of others) this.cluster.restart(node, { chance: () => this.random.next() });
    const isLonely = this.random.chance(0.3);
    for (const node of isLonely ? nodes : []) this.isolate(node);
    for (const node of nodes) this.putBack(node);
    for (const node of nodes) this.surprise(node);
    if (isLonely) this.cluster.advance(400);
    this.cluster.heal();
    this.cluster.pump();
    if (isLonely) this.cluster.advance(400);
    for (const node of nodes) this.look(node);
    if (this.random.chance(0.5)) this.append();
    if (this.random.chance(0.3)) for (const node of nodes) this.restartInDoubt(node);
    if (this.random.chance(0.5)) this.vote();
    if (this.random.chance(0.5)) this.takeOver();
    this.heal();
  }

  private putBack(node: NodeId): void {
    const image = this.random.pick([...(this.images.get(node) ?? []), undefined]);
    this.told.set(node, copyOf(this.known.get(node) ?? nothingTold()));
    this.images.delete(node);
    if (image === undefined) this.cluster.wipe(node);
    else this.cluster.putBack(node, image);
    this.lapses += 1;
  }

  private isolate(node: NodeId): void {
    for (const other of this.cluster.nodeIds) if (other !== node) this.cluster.cut(node, other);
  }

  /** Asks while it starts: nothing may slip through before its peers have spoken. */
  private surprise(node: NodeId): void {
    const { promised, scl } = this.toldBy(node);
    const old = { number: Math.max(0, promised.number - 1), writerId: 'old' };
    this.cluster.send(node, 'fence', this.volume.fence(0, old), (reply) => {
      if (reply.promised && compareEpochs(old, promised) < 0)
        this.fault(node, `promised epoch ${old.number} after ${promised.number}`);
      else if (reply.promised && reply.intact && reply.watermark <= reply.scl)
        this.noteScl(node, reply.scl, `called itself intact at ${scl}`);
    });
    for (const key of KEYS) {
      const register = this.registerOf(node, key);
      const ballot = { number: Math.max(1, register.promised.number - 1), writerId: 'o' };
      this.cluster.send(node, 'registerPrepare', { clusterId: TEST_CLUSTER, key, ballot }, (reply) => {
        if (reply.promised && compareEpochs(ballot, register.promised) < 0)
          this.fault(node, `promised ballot ${ballot.number} after ${register.promised.number} for ${key}`);
      });
    }
  }

  /** It crashes again before it is whole, and must not take itself for whole then. */
  private restartInDoubt(node: NodeId): void {
    const wasWhole = this.cluster.core(node)?.isIntact;
    this.cluster.restart(node);
    this.cluster.pump();
    if (wasWhole === false && this.cluster.core(node)?.isIntact === true)
      this.fault(node, 'forgot that it had forgotten');
  }

  /** Asks for all that a node may not have forgotten. */
  private look(node: NodeId): void {
    const told = this.toldBy(node);
    const life = incarnationCounter(this.cluster.core(node)?.incarnation ?? '');
    if (life < told.life) this.fault(node, `goes by life ${life} after ${told.life}`);
    const old = { number: told.promised.number - 1, writerId: 'old' };
    const reply =
      told.promised.number === 0 ? null : this.cluster.call(node, 'fence', this.volume.fence(0, old));
    if (reply?.promised === true)
      this.fault(node, `promised epoch ${old.number} after ${told.promised.number}`);
    for (const key of KEYS) {
      const register = this.registerOf(node, key);
      const peek = this.cluster.call(node, 'registerPrepare', {
        clusterId: TEST_CLUSTER,
        key,
        ballot: NO_EPOCH,
      });
      if (peek === null || peek.refusal !== null) continue;
      if (compareEpochs(peek.promisedBallot ?? NO_EPOCH, register.promised) < 0)
        this.fault(node, `forgot its promise of ballot ${register.promised.number} for ${key}`);
      if (compareEpochs(peek.acceptedBallot ?? NO_EPOCH, register.accepted) < 0)
        this.fault(node, `forgot what it accepted of ${key} at ballot ${register.accepted.number}`);
    }
  }

  private heal(): void {
    this.cluster.pump();
    for (const node of this.cluster.nodeIds) {
      this.install(node);
      this.resend(node);
    }
    for (let ms = 0; ms < HEALED_WITHIN_MS; ms += 500) {
      this.cluster.advance(500);
      if (this.cluster.nodeIds.every((node) => this.cluster.core(node)?.isIntact)) break;
    }
    for (const node of this.cluster.nodeIds) {
      if (this.cluster.core(node)?.isIntact !== true) this.fault(node, 'is not whole again');
    }
    this.settle();
  }

  /** The writer of this term sends again what is not known durable. */
  private resend(node: NodeId): void {
    const { epoch, log, headRun } = this.volume;
    const rest = log.filter(({ record, run }) => run === headRun && record.lsn > this.vdl);
    if (rest.length === 0) return;
    this.send(node, this.volume.append(rest, { epoch }));
  }

  /** All have heard of everything. */
  private settle(): void {
    for (const [node, told] of this.told)
      told.life = incarnationCounter(this.cluster.core(node)?.incarnation ?? '');
    this.cluster.advance(TOLD_MS);
    this.known = new Map([...this.told].map(([node, told]) => [node, copyOf(told)]));
  }

  private noteScl(node: NodeId, scl: Lsn, what: string, before: Lsn = this.toldBy(node).scl): void {
    const told = this.toldBy(node);
    const clamped = (lsn: Lsn) => clampToRuns(this.volume.runs, 0 as PgIndex, lsn);
    if (clamped(scl) < clamped(before)) this.fault(node, `${what} with SCL ${scl} after ${before}`);
    told.scl = Math.max(clamped(told.scl), clamped(scl)) as Lsn;
  }

  /** The VDL: what four have acknowledged at some time. */
  private durable(): Lsn {
    const scls = [...this.told.values()].map(({ scl }) => clampToRuns(this.volume.runs, 0 as PgIndex, scl));
    this.vdl = Math.max(this.vdl, scls.sort((a, b) => b - a)[3] ?? NO_LSN) as Lsn;
    return this.vdl;
  }

  private registerOf(node: NodeId, key: string): { promised: Epoch; accepted: Epoch } {
    const { registers } = this.toldBy(node);
    const register = registers.get(key) ?? { promised: NO_EPOCH, accepted: NO_EPOCH };
    registers.set(key, register);
    return register;
  }

  private toldBy(node: NodeId): Told {
    return this.told.get(node) as Told;
  }

  private anyNode(): NodeId {
    return this.random.pick([...this.cluster.nodeIds]);
  }

  private fault(node: NodeId, what: string): void {
    this.faults.push(`${node} ${what}`);
  }
}

function nothingTold(): Told {
  return { life: 0, promised: NO_EPOCH, scl: NO_LSN, registers: new Map() };
}

function copyOf(told: Told): Told {
  return { ...told, registers: new Map([...told.registers].map(([key, value]) => [key, { ...value }])) };
}

function later(a: Epoch, b: Epoch): Epoch {
  return compareEpochs(a, b) >= 0 ? a : b;
}

/**
 * Those who clone, drop, take back and look back, while clients work and things go wrong: what they are told is compared with what is known to be
 * true. Each of them asks one compute node for one thing after another; now and then that node dies in the middle of it.
 */
import { isTidemarkError } from '../../../src/base/errors.ts';
import type { Lsn, VolumeId } from '../../../src/log/lsn.ts';
import { formatMoment, type Moment } from '../../../src/timeline/moment.ts';
import { isKept } from '../../../src/timeline/kept.ts';
import type { TimelinesOnNode } from '../../../compute-node/timelines/timelines.ts';
import type { OpenedMoment, ResolvedMoment } from '../../../compute-node/timelines/api.ts';
import { clonePin } from '../../../compute-node/timelines/pins.ts';
import { type Asked, checkResolved, contentAt } from '../checks/moments.ts';
import type { Chance } from '../world/random.ts';
import type { World } from '../world/world.ts';
import type { Workload } from './client.ts';
import type { SimCluster } from './cluster.ts';
import type { SimComputeNode } from './compute-node.ts';
import type { ModelEngine } from './engine.ts';

export interface TimelineShape {
  /** How many go about it at once; 0: nobody. */
  readonly operators: number;
  /** Mean pause between two things that one of them does. */
  readonly pauseMs: number;
  /** Share of what they do during which the compute node is killed. */
  readonly kills: number;
  readonly maxVolumes: number;
  /** How far back they mostly look. */
  readonly backMs: number;
}

/** Longer than anything takes that ends by itself. */
const ANSWER_TIMEOUT_MS = 15_000;
const RETRY_MS = 200;
/** By then no raising of the floor is under way any more that began before; where nothing is slow. */
const FLOOR_SETTLES_MS = 1_500;
const MAX_HELD_MS = 1_500;

type Act = (operator: TimelineOperators, compute: SimComputeNode) => Promise<void>;

export class TimelineOperators {
  readonly #world: World;
  readonly #cluster: SimCluster;
  readonly #shape: TimelineShape;
  readonly #chance: Chance;
  /** Where volumes were before they were taken back. */
  readonly #bookmarks: { readonly workload: Workload; readonly undo: Moment }[] = [];
  readonly #snapshots: { readonly workload: Workload; readonly name: string }[] = [];
  /** Perhaps dropped, perhaps not. */
  readonly #dropping: Workload[] = [];
  #names = 0;
  #underWay = 0;
  #isStopped = false;
  /** What was done, by name: for the coverage table. */
  readonly done = new Map<string, number>();

  constructor(world: World, cluster: SimCluster, shape: TimelineShape) {
    this.#world = world;
    this.#cluster = cluster;
    this.#shape = shape;
    this.#chance = world.chance('timelines');
  }

  get isIdle(): boolean {
    return this.#underWay === 0;
  }

  start(): void {
    for (let i = 0; i < this.#shape.operators; i += 1) this.#next();
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** What was begun comes to an end that is known. */
  async settle(): Promise<void> {
    for (const workload of this.#dropping) {
      for (let isGone = false; !isGone; ) {
        const compute = this.#chance.pick(this.#cluster.computes);
        const found = await this.#ask(compute, 'drop', (timelines) =>
          timelines.drop(workload.name, { force: true }),
        );
        isGone = found.kind === 'refused' && found.code === 'VOLUME_NOT_FOUND';
        if (!isGone) await this.#pause(RETRY_MS);
      }
    }
  }

  #next(): void {
    this.#world.after(-Math.log(1 - this.#chance.next()) * this.#shape.pauseMs, null, 'operator', () => {
      if (this.#isStopped) return;
      const compute = this.#chance.pick(this.#cluster.computes);
      const act = this.#chance.pick(ACTS);
      if (this.#chance.chance(this.#shape.kills)) this.#killSoon(compute);
      this.#underWay += 1;
      act(this, compute)
        .catch((error: unknown) => this.#world.fail('an operator', error))
        .finally(() => {
          this.#underWay -= 1;
          this.#next();
        });
    });
  }

  #killSoon(compute: SimComputeNode): void {
    this.#world.after(this.#chance.heavyTailed(4, 400), null, 'operator-kill', () => {
      compute.kill();
      this.#world.after(this.#chance.between(50, 1_500), null, 'restart', () => compute.start());
    });
  }

  async clone(compute: SimComputeNode): Promise<void> {
    const workload = this.#anyWorkload();
    if (workload === null || this.#cluster.workloads.length >= this.#shape.maxVolumes) return;
    const moment = this.#chance.chance(0.5) ? null : this.#anyMoment(compute, workload);
    this.#names += 1;
    const name = `clone${this.#names}`;
    const asked = this.#askedOf(workload, moment);
    const answer = await this.#ask(compute, `clone ${workload.name} as ${name}`, (timelines) =>
      timelines.clone({ name: workload.name, moment }, name),
    );
    if (answer.kind !== 'ok') return;
    const { volume, from } = answer.result;
    this.#check(asked, from);
    const { chosen, onlookers } = this.#cluster;
    const pin = clonePin(volume);
    if (chosen.retentionOf(from.point.volume)?.pins.some((each) => each.name === pin) !== true)
      this.#world.violate('pin', `clone ${name} was there before its point in ${workload.name} was pinned`);
    if (!workload.isDropped) onlookers.pinned(pin, from.point);
    const clone = this.#cluster.addClone(workload, name, volume);
    if (this.#isStopped) clone.stop();
    else clone.start();
  }

  async drop(compute: SimComputeNode): Promise<void> {
    const { workloads, onlookers } = this.#cluster;
    const choices = workloads.filter((workload) => workload.volume !== null && !workload.isDropped);
    // The first volumes only once there are clones.
    if (choices.length < 2) return;
    const workload = this.#chance.pick(choices);
    const force = this.#chance.chance(0.7);
    this.#cluster.retire(workload);
    this.#dropping.push(workload);
    for (const [name, point] of onlookers.pins) {
      if (name === clonePin(workload.volume as string) || point.volume === workload.volume)
        onlookers.unpinned(name);
    }
    await this.#ask(compute, `drop ${workload.name}`, (timelines) =>
      timelines.drop(workload.name, { force }),
    );
  }

  async backtrack(compute: SimComputeNode): Promise<void> {
    const forward = this.#chance.chance(0.4) ? this.#chance.pick(this.#bookmarks) : undefined;
    const workload = forward?.workload ?? this.#anyWorkload();
    if (workload === null || workload.isDropped) return;
    const to = forward?.undo ?? this.#anyMoment(compute, workload);
    const asked = this.#askedOf(workload, to);
    const what = `take ${workload.name} ${forward === undefined ? 'back' : 'forward'} to ${formatMoment(to)}`;
    const answer = await this.#ask(compute, what, (timelines) => timelines.backtrack(workload.name, to));
    if (answer.kind !== 'ok') return;
    const { to: point, undo } = answer.result;
    this.#check(asked, point);
    const closedAt = Number(undo.slice('lsn:'.length)) as Lsn;
    this.#cluster.heads.onBacktracked(point.point.volume, closedAt, this.#world.nowMs);
    this.#bookmarks.push({ workload, undo: { kind: 'lsn', lsn: closedAt } });
  }

  async snapshot(compute: SimComputeNode): Promise<void> {
    const workload = this.#anyWorkload();
    if (workload === null) return;
    const [old] = this.#chance.some(this.#snapshots, 1);
    if (old !== undefined && this.#chance.chance(0.4)) {
      this.#snapshots.splice(this.#snapshots.indexOf(old), 1);
      this.#cluster.onlookers.unpinned(`${old.workload.name} ${old.name}`);
      await this.#ask(compute, `drop snapshot ${old.name}`, (timelines) =>
        timelines.dropSnapshot(old.workload.name, old.name),
      );
      return;
    }
    const moment = this.#chance.chance(0.5) ? null : this.#anyMoment(compute, workload);
    this.#names += 1;
    const name = `snap${this.#names}`;
    const asked = this.#askedOf(workload, moment);
    const made = await this.#ask(compute, `snapshot ${name} of ${workload.name}`, async (timelines) => {
      await timelines.createSnapshot(workload.name, name, moment);
      return timelines.resolve(workload.name, { kind: 'snapshot', name });
    });
    if (made.kind !== 'ok') return;
    this.#check(asked, made.result);
    this.#snapshots.push({ workload, name });
    if (!workload.isDropped) this.#cluster.onlookers.pinned(`${workload.name} ${name}`, made.result.point);
  }

  /** Looks, stays a while, and looks again. */
  async lookBack(compute: SimComputeNode): Promise<void> {
    const workload = this.#anyWorkload();
    if (workload === null) return;
    const snapshot = this.#snapshots.find((each) => each.workload === workload);
    const moment: Moment =
      snapshot !== undefined && this.#chance.chance(0.3)
        ? { kind: 'snapshot', name: snapshot.name }
        : this.#anyMoment(compute, workload);
    const asked = this.#askedOf(workload, moment);
    const opened = await this.#ask(compute, `look at ${workload.name}@${formatMoment(moment)}`, (timelines) =>
      timelines.open(workload.name, moment),
    );
    if (opened.kind !== 'ok') return;
    const past = opened.result;
    this.#check(asked, past);
    const first = await this.#look(compute, workload, past);
    await this.#pause(this.#chance.next() * MAX_HELD_MS);
    if (first === 'ok') await this.#lookAgain(compute, workload, past);
    past.release();
  }

  /** Whoever reads beside the writer holds the floor; where nothing is slow, one can tell from when on. */
  async #lookAgain(compute: SimComputeNode, workload: Workload, past: OpenedMoment): Promise<void> {
    const { chosen, oracle, isQuiet } = this.#cluster;
    const term = () => compute.engines.get(workload.name)?.volume;
    const writer = term();
    await this.#pause(isQuiet ? FLOOR_SETTLES_MS : 0);
    const { volume } = past.point;
    const retention = chosen.retentionOf(volume);
    const isHeld =
      isQuiet &&
      writer !== undefined &&
      retention !== null &&
      !retention.dropped &&
      isKept(oracle.runsOf(volume), retention, past.point);
    if (isHeld) await this.#pause(this.#chance.next() * MAX_HELD_MS);
    const again = await this.#look(compute, workload, past);
    if (isHeld && again === 'GONE' && term() === writer && !workload.isDropped)
      this.#world.violate('held', `${workload.name}@lsn:${past.point.lsn} was collected while it was open`);
  }

  async #look(compute: SimComputeNode, workload: Workload, past: OpenedMoment): Promise<string> {
    const { oracle } = this.#cluster;
    const engine = past.engine as unknown as ModelEngine;
    const operations = workload.everything();
    const plan = { isolation: 'strong', operations, isDeferred: false, thinkMs: 0, minLsn: null } as const;
    const answer = await this.#ask(compute, `read ${workload.name}@lsn:${past.point.lsn}`, () =>
      engine.run({ ...plan, onCommit: () => {} }, { seenLsn: past.point.lsn }),
    );
    if (answer.kind === 'refused') return answer.code;
    if (answer.kind === 'unknown') return 'unknown';
    const seen = JSON.stringify(answer.result.operations);
    const expected = JSON.stringify(contentAt(oracle, past.point, operations));
    if (seen !== expected)
      this.#world.violate('past', `${workload.name}@lsn:${past.point.lsn} shows ${seen}, not ${expected}`);
    return 'ok';
  }

  async setWindow(compute: SimComputeNode): Promise<void> {
    const workload = this.#anyWorkload();
    if (workload === null) return;
    const windowMs = this.#chance.pick([0, 300, 1_000, 4_000]);
    await this.#ask(compute, `a window of ${windowMs} ms for ${workload.name}`, (timelines) =>
      timelines.setWindow(workload.name, windowMs),
    );
  }

  async sweep(compute: SimComputeNode): Promise<void> {
    await this.#ask(compute, 'sweep', (timelines) => timelines.sweep());
  }

  #anyWorkload(): Workload | null {
    const known = this.#cluster.workloads.filter(({ volume }) => volume !== null);
    return known.length === 0 ? null : this.#chance.pick(known);
  }

  #anyMoment(compute: SimComputeNode, workload: Workload): Moment {
    const chance = this.#chance;
    const backMs = chance.heavyTailed(this.#shape.backMs / 4, 4 * this.#shape.backMs);
    if (chance.chance(0.4))
      return { kind: 'time', micros: Math.round(compute.process.now().wallMicros - backMs * 1_000) };
    const { oracle } = this.#cluster;
    const volume = workload.volume as VolumeId;
    const runs = oracle.runsOf(volume);
    const run = runs[chance.chance(0.6) ? runs.length - 1 : chance.below(runs.length)];
    const first = run?.firstLsn ?? (1 as Lsn);
    const last = Math.max(first - 1, run?.lastLsn ?? oracle.vdlOf(volume));
    const back = chance.chance(0.5) ? chance.below(20) : chance.below(last - first + 2);
    return { kind: 'lsn', lsn: Math.max(first - 1, last - back) as Lsn };
  }

  #askedOf(workload: Workload, moment: Moment | null): Asked {
    const { oracle } = this.#cluster;
    const volume = workload.volume as VolumeId;
    const throughMicros = moment?.kind === 'time' ? moment.micros : Number.POSITIVE_INFINITY;
    const newestLsn = oracle.newestCommit(volume, { throughLsn: oracle.vdlOf(volume), throughMicros });
    return { volume, moment, newestLsn };
  }

  #check(asked: Asked, resolved: ResolvedMoment): void {
    const wrong = checkResolved(this.#cluster.oracle, asked, resolved);
    if (wrong !== null) this.#world.violate('moment', wrong);
  }

  /** As a command does it. A compute node that dies, or never answers, leaves the outcome unknown. */
  #ask<Result>(
    compute: SimComputeNode,
    what: string,
    act: (timelines: TimelinesOnNode) => Promise<Result>,
  ): Promise<Told<Result>> {
    const world = this.#world;
    world.note('operator', () => `${what} at ${compute.computeId}`);
    return new Promise((resolve) => {
      const end = (told: Told<Result>): void => {
        deadline.isCancelled = true;
        compute.callers.delete(broken);
        world.note('operator', () => `${what}: ${told.kind === 'refused' ? told.code : told.kind}`);
        if (told.kind === 'ok')
          this.done.set(what.split(' ')[0] as string, (this.done.get(what.split(' ')[0] as string) ?? 0) + 1);
        resolve(told);
      };
      const broken = (): void => {
        world.after(1, null, 'broken', () => end({ kind: 'unknown' }));
      };
      const deadline = world.after(ANSWER_TIMEOUT_MS, null, 'operator-timeout', () =>
        end({ kind: 'unknown' }),
      );
      if (!compute.process.isUp) {
        world.after(1, null, 'refused', () => end({ kind: 'refused', code: 'DOWN' }));
        return;
      }
      compute.callers.add(broken);
      compute.process.later(0, 'operator', () => {
        compute
          .timelines()
          .then(act)
          .then(
            (result) => end({ kind: 'ok', result }),
            (error: unknown) => {
              if (!isTidemarkError(error)) world.fail(what, error);
              end({ kind: 'refused', code: isTidemarkError(error) ? error.code : 'BUG' });
            },
          );
      });
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#world.after(ms, null, 'operator', resolve));
  }
}

type Told<Result> =
  | { readonly kind: 'ok'; readonly result: Result }
  | { readonly kind: 'refused'; readonly code: string }
  | { readonly kind: 'unknown' };

const weighted = (weight: number, act: Act): Act[] => Array.from({ length: weight }, () => act);

const ACTS: readonly Act[] = [
  ...weighted(6, (operator, compute) => operator.clone(compute)),
  ...weighted(3, (operator, compute) => operator.drop(compute)),
  ...weighted(6, (operator, compute) => operator.backtrack(compute)),
  ...weighted(3, (operator, compute) => operator.snapshot(compute)),
  ...weighted(5, (operator, compute) => operator.lookBack(compute)),
  ...weighted(1, (operator, compute) => operator.setWindow(compute)),
  ...weighted(1, (operator, compute) => operator.sweep(compute)),
];

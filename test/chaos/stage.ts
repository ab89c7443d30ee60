/**
 * A real cluster and what was done to it: which processes are killed or paused, whose disk lost its power, and how all of it is undone. Faults
 * are its methods; mayhem.ts and the commands choose among them. It keeps the story, and counts.
 *
 * Invariant: a process is at most one of killed and paused; `heal` leaves none of either.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { azOf, type RealCluster, STORAGE_NODES, type StorageNodeName } from '../support/real-cluster.ts';
import type { PowerSupply } from './places/power.ts';

export const COMPUTE_NODES = ['compute-1', 'compute-2'] as const;
export type ComputeNodeName = (typeof COMPUTE_NODES)[number];
export type ProcessName = StorageNodeName | ComputeNodeName;
export const ALL: readonly ProcessName[] = [...STORAGE_NODES, ...COMPUTE_NODES];

/** A compute node cannot start while too few storage nodes answer. */
const START_ATTEMPTS = 10;
/** For the last commits, with or without a quorum (`commitTimeoutMs` of the trial), and the rest. */
const STOP_LIMIT_MS = 15_000;

const SLOW_START_MS = 3_000;

export interface StageOptions {
  readonly cluster: RealCluster;
  readonly power: PowerSupply | null;
  readonly report: (violation: string) => void;
  readonly signal: AbortSignal;
}

export class Stage {
  readonly cluster: RealCluster;
  readonly #power: PowerSupply | null;
  readonly #report: (violation: string) => void;
  readonly #signal: AbortSignal;
  readonly #killed = new Set<ProcessName>();
  readonly #paused = new Set<ProcessName>();
  readonly #startedMs = performance.now();
  /** What was done, in order. */
  readonly story: string[] = [];
  /** SIGKILLs of running processes. */
  kills = 0;
  pauses = 0;
  stops = 0;
  /** How long processes took until they were ready. */
  readonly startsMs: number[] = [];
  /** Moments at which power was cut; each cuts one disk or more. */
  powerCuts = 0;

  constructor(options: StageOptions) {
    this.cluster = options.cluster;
    this.#power = options.power;
    this.#report = options.report;
    this.#signal = options.signal;
  }

  isUp(name: ProcessName): boolean {
    return !this.#killed.has(name) && !this.#paused.has(name);
  }

  get isWhole(): boolean {
    return this.#killed.size === 0 && this.#paused.size === 0;
  }

  get paused(): readonly ProcessName[] {
    return [...this.#paused];
  }

  get killed(): readonly ProcessName[] {
    return [...this.#killed];
  }

  async sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#signal });
  }

  async kill(names: readonly ProcessName[]): Promise<void> {
    const alive = names.filter((name) => !this.#killed.has(name));
    this.tell(`kill ${alive.join(' ')}`);
    await Promise.all(
      alive.map(async (name) => {
        this.#paused.delete(name);
        this.#killed.add(name);
        if (!this.cluster.isRunning(name)) return;
        this.kills += 1;
        await this.cluster.signal(name, 'SIGKILL');
      }),
    );
  }

  /** As an operator does it: it hardens what it has and hands its lease back. */
  async stop(name: ProcessName): Promise<void> {
    if (!this.isUp(name)) return;
    this.tell(`stop ${name}`);
    this.#killed.add(name);
    this.stops += 1;
    const startMs = performance.now();
    if (this.cluster.isRunning(name)) await this.cluster.signal(name, 'SIGTERM');
    const tookMs = performance.now() - startMs;
    if (tookMs > STOP_LIMIT_MS) this.#report(`${name} took ${Math.round(tookMs)} ms to stop`);
  }

  async pause(names: readonly ProcessName[]): Promise<void> {
    const alive = names.filter((name) => this.isUp(name));
    this.tell(`pause ${alive.join(' ')}`);
    for (const name of alive) {
      if (!this.cluster.isRunning(name)) continue;
      this.#paused.add(name);
      this.pauses += 1;
      await this.cluster.signal(name, 'SIGSTOP');
    }
  }

  async resume(name: ProcessName): Promise<void> {
    this.tell(`resume ${name}`);
    this.#paused.delete(name);
    if (this.cluster.isRunning(name)) await this.cluster.signal(name, 'SIGCONT');
  }

  /**
   * The power of these machines fails: what was not synced is gone, and so are the processes. `notices`: the processes live a moment
   * longer than their disks, and see their writes fail.
   */
  async cutPower(names: readonly StorageNodeName[], options: { readonly notices: boolean }): Promise<void> {
    if (this.#power === null) throw new Error('this cluster has no power supply of its own');
    this.tell(`cut the power of ${names.join(' ')}${options.notices ? ', disks first' : ''}`);
    this.powerCuts += 1;
    const ends = names
      .filter((name) => this.cluster.isRunning(name))
      .map((name) => ({ name, ...this.cluster.letEnd(name) }));
    for (const name of names) {
      this.#killed.add(name);
      this.#paused.delete(name);
    }
    if (options.notices) {
      await this.#power.cut(names);
      await sleep(20);
    }
    await Promise.all(ends.map(({ kill }) => kill()));
    if (!options.notices) await this.#power.cut(names);
  }

  /** `act` may make the process end, which it must do by itself then. Resolves to what became of it. */
  async mayEnd(
    name: ProcessName,
    limitMs: number,
    act: () => Promise<boolean>,
  ): Promise<'runs on' | 'ended' | 'would not end'> {
    const { ended, kill, keep } = this.cluster.letEnd(name);
    try {
      if (!(await act())) {
        keep();
        return 'runs on';
      }
    } catch (error) {
      await kill();
      throw error;
    }
    this.#killed.add(name);
    const isEnded = await Promise.race([ended.then(() => true), sleep(limitMs, false)]);
    await kill();
    return isEnded ? 'ended' : 'would not end';
  }

  async start(name: ProcessName): Promise<void> {
    this.tell(`start ${name}`);
    const startMs = performance.now();
    if (!isCompute(name)) await this.#power?.restore(name);
    for (let attempt = 1; ; attempt += 1) {
      try {
        if (isCompute(name)) await this.cluster.startCompute(name);
        else await this.cluster.startStorage(name);
        break;
      } catch (error) {
        this.#signal.throwIfAborted();
        if (!isCompute(name) || attempt === START_ATTEMPTS) throw error;
        const lastWords = String(error).trimEnd().split('\n').at(-1) ?? '';
        if (!lastWords.includes('"code":"NO_QUORUM"')) this.#report(`${name} did not start: ${lastWords}`);
        await sleep(200);
      }
    }
    this.#killed.delete(name);
    const tookMs = Math.round(performance.now() - startMs);
    this.startsMs.push(tookMs);
    if (tookMs > SLOW_START_MS) this.tell(`${name} took ${tookMs} ms to start`);
  }

  /** Starts a killed compute node under the name of one that lives, and so takes that one's volumes away. */
  async usurp(name: ComputeNodeName, victim: ComputeNodeName): Promise<void> {
    await this.cluster.startCompute(name, victim);
    this.#killed.delete(name);
  }

  /** Everything runs again. */
  async heal(): Promise<void> {
    for (const name of [...this.#paused]) await this.resume(name);
    const killed = [...this.#killed];
    await Promise.all(killed.filter((name) => !isCompute(name)).map((name) => this.start(name)));
    await Promise.all(killed.filter(isCompute).map((name) => this.start(name)));
  }

  /** Adds to the story. */
  tell(what: string): void {
    this.story.push(`${((performance.now() - this.#startedMs) / 1_000).toFixed(2)} s: ${what}`);
  }
}

export function isCompute(name: ProcessName): name is ComputeNodeName {
  return name.startsWith('compute');
}

export function zoneOf(node: StorageNodeName): readonly StorageNodeName[] {
  return STORAGE_NODES.filter((other) => azOf(other) === azOf(node));
}

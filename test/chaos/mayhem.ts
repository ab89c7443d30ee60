/**
 * The faults of a chaos round: a schedule drawn from a seed of kills (SIGKILL) and pauses (SIGSTOP, later SIGCONT) of single processes, of
 * zones, of majorities, of everything at once, each undone after a random time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { azOf, type RealCluster, STORAGE_NODES, type StorageNodeName } from '../support/real-cluster.ts';
import type { SeededRandom } from '../support/seeded-random.ts';

const COMPUTE_NODES = ['compute-1', 'compute-2'] as const;
type ProcessName = StorageNodeName | (typeof COMPUTE_NODES)[number];

/** A compute node cannot start while too few storage nodes answer. */
const START_ATTEMPTS = 10;
/** For the last commits, with or without a quorum (`commitTimeoutMs` of the round), and the rest. */
const STOP_LIMIT_MS = 15_000;

export class Mayhem {
  readonly #cluster: RealCluster;
  readonly #random: SeededRandom;
  readonly #isOver: () => boolean;
  readonly #report: (violation: string) => void;
  readonly #killed = new Set<ProcessName>();
  readonly #paused = new Set<ProcessName>();
  /** What was done, in order. */
  readonly story: string[] = [];
  readonly #startedMs = performance.now();
  faults = 0;

  constructor(options: {
    readonly cluster: RealCluster;
    readonly random: SeededRandom;
    readonly isOver: () => boolean;
    readonly report: (violation: string) => void;
  }) {
    this.#cluster = options.cluster;
    this.#random = options.random;
    this.#isOver = options.isOver;
    this.#report = options.report;
  }

  async run(): Promise<void> {
    while (!this.#isOver()) {
      await this.#fault();
      await sleep(this.#random.below(1_200));
      if (this.#random.chance(0.7)) await this.heal();
      else await this.#healSome();
      await sleep(this.#random.below(1_200));
    }
    await this.heal();
  }

  /** Everything runs again. */
  async heal(): Promise<void> {
    for (const name of [...this.#paused]) await this.#resume(name);
    const killed = [...this.#killed];
    await Promise.all(killed.filter((name) => !isCompute(name)).map((name) => this.#start(name)));
    await Promise.all(killed.filter(isCompute).map((name) => this.#start(name)));
  }

  async #healSome(): Promise<void> {
    for (const name of [...this.#paused]) if (this.#random.chance(0.5)) await this.#resume(name);
    for (const name of [...this.#killed]) {
      if (!isCompute(name) && this.#random.chance(0.5)) await this.#start(name);
    }
  }

  async #fault(): Promise<void> {
    this.faults += 1;
    const random = this.#random;
    const one = random.pick(STORAGE_NODES);
    const zone = STORAGE_NODES.filter((node) => azOf(node) === azOf(one));
    const some = STORAGE_NODES.filter(() => random.chance(0.5));
    const compute = random.pick(COMPUTE_NODES);
    switch (random.below(13)) {
      case 0:
      case 1:
        return this.#kill([one]);
      case 2:
        return this.#kill(zone);
      case 3:
        return this.#kill(some);
      case 4:
        return this.#kill([...STORAGE_NODES, ...COMPUTE_NODES]);
      case 5:
        return this.#kill([...STORAGE_NODES]);
      case 6:
        return this.#pause(zone);
      case 7:
        return this.#pause(some);
      case 8:
        return this.#kill([compute]);
      case 9:
      case 10:
        return this.#pauseWriter();
      case 11:
        return this.#stop(random.chance(0.5) ? compute : one);
      default:
        return this.#kill([compute, one]);
    }
  }

  /** Long enough for the other compute node to take over. */
  async #pauseWriter(): Promise<void> {
    await this.#pause([this.#random.pick(COMPUTE_NODES)]);
    await sleep(1_000 + this.#random.below(2_500));
  }

  async #kill(names: readonly ProcessName[]): Promise<void> {
    const alive = names.filter((name) => !this.#killed.has(name));
    this.tell(`kill ${alive.join(' ')}`);
    await Promise.all(
      alive.map(async (name) => {
        this.#paused.delete(name);
        this.#killed.add(name);
        if (this.#cluster.isRunning(name)) await this.#cluster.signal(name, 'SIGKILL');
      }),
    );
  }

  /** As an operator does it: it hardens what it has and hands its lease back. */
  async #stop(name: ProcessName): Promise<void> {
    if (this.#killed.has(name) || this.#paused.has(name)) return;
    this.tell(`stop ${name}`);
    this.#killed.add(name);
    const startMs = performance.now();
    if (this.#cluster.isRunning(name)) await this.#cluster.signal(name, 'SIGTERM');
    const tookMs = performance.now() - startMs;
    if (tookMs > STOP_LIMIT_MS) this.#report(`${name} took ${Math.round(tookMs)} ms to stop`);
  }

  async #pause(names: readonly ProcessName[]): Promise<void> {
    const alive = names.filter((name) => !this.#killed.has(name) && !this.#paused.has(name));
    this.tell(`pause ${alive.join(' ')}`);
    for (const name of alive) {
      if (!this.#cluster.isRunning(name)) continue;
      this.#paused.add(name);
      await this.#cluster.signal(name, 'SIGSTOP');
    }
  }

  async #resume(name: ProcessName): Promise<void> {
    this.tell(`resume ${name}`);
    this.#paused.delete(name);
    if (this.#cluster.isRunning(name)) await this.#cluster.signal(name, 'SIGCONT');
  }

  async #start(name: ProcessName): Promise<void> {
    this.tell(`start ${name}`);
    for (let attempt = 1; ; attempt += 1) {
      try {
        if (isCompute(name)) await this.#cluster.startCompute(name);
        else await this.#cluster.startStorage(name);
        break;
      } catch (error) {
        if (!isCompute(name) || attempt === START_ATTEMPTS) throw error;
        const lastWords = String(error).trimEnd().split('\n').at(-1) ?? '';
        if (!lastWords.includes('"code":"NO_QUORUM"')) this.#report(`${name} did not start: ${lastWords}`);
        await sleep(200);
      }
    }
    this.#killed.delete(name);
  }

  /** Adds to the story. */
  tell(what: string): void {
    this.story.push(`${((performance.now() - this.#startedMs) / 1_000).toFixed(1)} s: ${what}`);
  }
}

function isCompute(name: ProcessName): name is (typeof COMPUTE_NODES)[number] {
  return name.startsWith('compute');
}

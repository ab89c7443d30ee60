/**
 * Gives inputs to targets and looks for what must not be: an exception, a stall of the event loop, memory that grows without end.
 *
 * Every input is made from (seed, target, number) alone, so that a finding can be given again: `--target NAME --seed S --at NUMBER`.
 * Targets with a state of their own also depend on what came before; their finding names the number at which it showed.
 */
import { MIB } from '../../src/base/limits.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { codecs } from './targets/codecs.ts';
import { core } from './targets/core.ts';
import { grpc } from './targets/grpc.ts';
import { hranaHttp, hranaWs } from './targets/hrana.ts';
import { journal } from './targets/journal.ts';
import type { OpenTarget, Target } from './target.ts';

export const TARGETS: readonly Target[] = [codecs, journal, core, grpc, hranaHttp, hranaWs];

/** An input may keep the event loop from others for so long. */
const STALL_MS = 100;
/** What a target may hold on to, whatever the number of inputs. */
const MAX_GROWTH_BYTES = 96 * MIB;
/** Inputs between two looks at memory. */
const INPUTS_PER_LOOK = 20_000;

export interface Finding {
  readonly target: string;
  readonly kind: 'crash' | 'stall' | 'memory' | 'unsound';
  readonly at: number;
  readonly what: string;
}

export interface TargetReport {
  readonly target: string;
  readonly inputs: number;
  readonly tookMs: number;
  readonly longestMs: number;
  readonly grownBytes: number;
}

export interface FuzzReport {
  readonly reports: readonly TargetReport[];
  readonly findings: readonly Finding[];
}

export interface FuzzOptions {
  readonly inputs: number;
  readonly seed: number;
  readonly only: string | null;
  /** null: all of them; else this one alone. */
  readonly at: number | null;
  readonly onProgress?: (report: TargetReport) => void;
}

export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const targets = TARGETS.filter(({ name }) => options.only === null || name === options.only);
  const total = targets.reduce((sum, { weight }) => sum + weight, 0);
  const findings: Finding[] = [];
  const reports: TargetReport[] = [];
  for (const target of targets) {
    const inputs = Math.ceil((options.inputs * target.weight) / total);
    const run = new TargetRun(target, options.seed, findings);
    const report = await run.give(options.at ?? 0, options.at === null ? inputs : 1);
    reports.push(report);
    options.onProgress?.(report);
  }
  return { reports, findings };
}

class TargetRun {
  private readonly target: Target;
  private readonly seed: number;
  private readonly findings: Finding[];
  private longestMs = 0;
  private grownBytes = 0;
  private baseBytes = 0;

  constructor(target: Target, seed: number, findings: Finding[]) {
    this.target = target;
    this.seed = seed;
    this.findings = findings;
  }

  async give(first: number, count: number): Promise<TargetReport> {
    const startedAt = performance.now();
    const open = await this.target.open();
    let given = 0;
    // What escapes into a timer or an unawaited promise is a crash too.
    const onCrash = (error: Error): void => this.find('crash', first + given, describe(error));
    process.on('uncaughtException', onCrash);
    const watch = this.target.concurrency > 1 ? new LoopWatch(() => first + given, this) : null;
    try {
      this.baseBytes = heldBytes();
      for (; given < count; ) {
        const batch = Math.min(this.target.concurrency, count - given);
        await this.giveBatch(open, first + given, batch);
        given += batch;
        if (given % INPUTS_PER_LOOK < batch) this.lookAtMemory(first + given);
        if (this.findings.some(({ target }) => target === this.target.name)) break;
      }
      await this.trySound(open, first + given);
      this.lookAtMemory(first + given);
    } finally {
      watch?.stop();
      await open.close();
      process.off('uncaughtException', onCrash);
    }
    const { longestMs, grownBytes } = this;
    return {
      target: this.target.name,
      inputs: given,
      tookMs: performance.now() - startedAt,
      longestMs,
      grownBytes,
    };
  }

  private async giveBatch(open: OpenTarget, first: number, count: number): Promise<void> {
    if (count === 1) {
      await this.giveOne(open, first);
      return;
    }
    await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        try {
          await open.input(this.randomOf(first + index));
        } catch (error) {
          this.find('crash', first + index, describe(error));
        }
      }),
    );
  }

  private async giveOne(open: OpenTarget, at: number): Promise<void> {
    const startedAt = performance.now();
    try {
      const pending = open.input(this.randomOf(at));
      if (pending !== undefined) await pending;
    } catch (error) {
      this.find('crash', at, describe(error));
    }
    const tookMs = performance.now() - startedAt;
    this.longestMs = Math.max(this.longestMs, tookMs);
    if (tookMs > STALL_MS && this.isSlowAgain(open, at)) this.find('stall', at, `${Math.round(tookMs)} ms`);
  }

  /** The machine may have been busy with something else: only the same input, slow again and again, is a stall. */
  private isSlowAgain(open: OpenTarget, at: number): boolean {
    for (let again = 0; again < 3; again += 1) {
      const startedAt = performance.now();
      try {
        void open.input(this.randomOf(at));
      } catch {
        return false;
      }
      if (performance.now() - startedAt < STALL_MS) return false;
    }
    return true;
  }

  private async trySound(open: OpenTarget, at: number): Promise<void> {
    try {
      await open.check();
    } catch (error) {
      this.find('unsound', at, describe(error));
    }
  }

  private lookAtMemory(at: number): void {
    this.grownBytes = Math.max(this.grownBytes, heldBytes() - this.baseBytes);
    if (this.grownBytes > MAX_GROWTH_BYTES) {
      this.find('memory', at, `${Math.round(this.grownBytes / MIB)} MiB more than at the start`);
    }
  }

  noteLag(lagMs: number, cpuMs: number, at: number): void {
    this.longestMs = Math.max(this.longestMs, Math.min(lagMs, cpuMs));
    if (lagMs > STALL_MS && cpuMs > STALL_MS) {
      this.find(
        'stall',
        at,
        `the event loop stood still for ${Math.round(lagMs)} ms (${Math.round(cpuMs)} ms of CPU)`,
      );
    }
  }

  private find(kind: Finding['kind'], at: number, what: string): void {
    this.findings.push({ target: this.target.name, kind, at, what });
  }

  private randomOf(at: number): SeededRandom {
    let name = 0;
    for (const character of this.target.name) name = Math.imul(name, 31) + (character.codePointAt(0) ?? 0);
    return new SeededRandom(Math.imul(this.seed, 0x9e3779b1) ^ Math.imul(at + 1, 0x85ebca6b) ^ name);
  }
}

/** How late a timer comes, and whether this process itself was at work meanwhile (not the machine's other tenants). */
class LoopWatch {
  private readonly timer: NodeJS.Timeout;
  private before = performance.now();
  private cpu = process.cpuUsage();

  constructor(at: () => number, run: TargetRun) {
    const everyMs = 10;
    this.timer = setInterval(() => {
      const now = performance.now();
      const used = process.cpuUsage(this.cpu);
      run.noteLag(now - this.before - everyMs, used.user / 1_000, at());
      this.before = now;
      this.cpu = process.cpuUsage();
    }, everyMs);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

/** After a collection where that can be asked for (`node --expose-gc`). */
function heldBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, arrayBuffers, external } = process.memoryUsage();
  return heapUsed + Math.max(arrayBuffers, external);
}

function describe(error: unknown): string {
  return error instanceof Error
    ? (error.stack ?? error.message).split('\n').slice(0, 4).join(' | ')
    : String(error);
}

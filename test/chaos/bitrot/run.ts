/**
 * One flipped bit in a file of a stopped node, over and over: the node starts from it and must be right from its first moment, and whole before long.
 *
 * The start itself, from the files, is done for every flip. What follows (a cluster in memory, trial.ts) depends on nothing but what the start found, so
 * that each finding is tried once; most flips of one block are one finding.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SeededRandom } from '../../support/seeded-random.ts';
import { type NodeImage, makeImage } from './image.ts';
import { type Started, startFromFiles } from './start.ts';
import { type TrialOutcome, tryStart } from './trial.ts';

export interface BitrotOptions {
  readonly seed: number;
  /** Flips to try, spread over all bytes; null: one bit of every byte. */
  readonly flips: number | null;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface FileResult {
  readonly path: string;
  readonly sizeBytes: number;
  readonly flips: number;
  /** The start found exactly what it finds without the flip. */
  readonly harmless: number;
  /** Found at the start, or refused until it was repaired. */
  readonly repaired: number;
}

export interface BitrotResult {
  readonly flips: number;
  readonly files: readonly FileResult[];
  readonly trials: number;
  readonly violations: readonly string[];
  readonly slowestHealingMs: number;
}

const MAX_VIOLATIONS = 20;

export async function flipBits(options: BitrotOptions): Promise<BitrotResult> {
  const root = await mkdtemp(join(await fastDirectory(), 'tidemark-bitrot-'));
  try {
    return await new Flipper(await makeImage(root), join(root, 'work'), options).run();
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** Memory where there is some: thousands of copies of small files. */
async function fastDirectory(): Promise<string> {
  return readFile('/proc/mounts', 'utf8').then(
    (mounts) => (mounts.includes(' /dev/shm tmpfs ') ? '/dev/shm' : tmpdir()),
    () => tmpdir(),
  );
}

class Flipper {
  private readonly image: NodeImage;
  private readonly work: string;
  private readonly options: BitrotOptions;
  private readonly random: SeededRandom;
  private readonly outcomes = new Map<string, TrialOutcome>();
  private readonly violations: string[] = [];
  private baseline = '';
  private slowestHealingMs = 0;
  private done = 0;

  constructor(image: NodeImage, work: string, options: BitrotOptions) {
    this.image = image;
    this.work = work;
    this.options = options;
    this.random = new SeededRandom(options.seed);
  }

  async run(): Promise<BitrotResult> {
    const { files } = this.image;
    const undamaged = await this.start(async () => undefined);
    this.baseline = undamaged.name;
    this.judge('no flip at all', this.outcomeOf(undamaged));
    const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const total = this.options.flips ?? totalBytes;
    const results: FileResult[] = [];
    for (const file of files) {
      const count =
        this.options.flips === null ? file.sizeBytes : Math.ceil((total * file.sizeBytes) / totalBytes);
      results.push(await this.flipFile(file, Math.min(count, file.sizeBytes), total));
    }
    return {
      flips: this.done,
      files: results,
      trials: this.outcomes.size,
      violations: this.violations,
      slowestHealingMs: this.slowestHealingMs,
    };
  }

  private async flipFile(
    { path, sizeBytes }: NodeImage['files'][number],
    count: number,
    total: number,
  ): Promise<FileResult> {
    let harmless = 0;
    let repaired = 0;
    for (let i = 0; i < count && this.violations.length < MAX_VIOLATIONS; i += 1) {
      this.options.signal?.throwIfAborted();
      const from = Math.floor((i * sizeBytes) / count);
      const to = Math.floor(((i + 1) * sizeBytes) / count);
      const at = from + this.random.below(Math.max(1, to - from));
      const bit = this.random.below(8);
      const isHarmless = await this.flip(path, at, bit);
      if (isHarmless) harmless += 1;
      else repaired += 1;
      this.done += 1;
      this.options.onProgress?.(this.done, total);
    }
    return { path, sizeBytes, flips: harmless + repaired, harmless, repaired };
  }

  private async flip(path: string, at: number, bit: number): Promise<boolean> {
    const where = `${path}, byte ${at}, bit ${bit}`;
    let started: Started;
    try {
      started = await this.start(async () => {
        const file = join(this.work, path);
        const bytes = await readFile(file);
        bytes[at] = (bytes[at] as number) ^ (1 << bit);
        await writeFile(file, bytes);
      });
    } catch (error) {
      this.violations.push(`${where}: the node does not start: ${(error as Error).message}`);
      return false;
    }
    if (started.name === this.baseline) return true;
    this.judge(where, this.outcomeOf(started));
    return false;
  }

  private async start(damage: () => Promise<void>): Promise<Started> {
    await rm(this.work, { recursive: true, force: true });
    await cp(this.image.directory, this.work, { recursive: true });
    await damage();
    return startFromFiles(this.work);
  }

  private outcomeOf({ name, found }: Started): TrialOutcome {
    const known = this.outcomes.get(name);
    if (known !== undefined) return known;
    const outcome = tryStart(this.image, found);
    this.outcomes.set(name, outcome);
    return outcome;
  }

  private judge(where: string, { violations, healedMs }: TrialOutcome): void {
    this.slowestHealingMs = Math.max(this.slowestHealingMs, healedMs);
    const [first] = violations;
    if (first !== undefined) this.violations.push(`${where}: ${first}`);
  }
}

/**
 * The load of a trial, as the rest of the harness sees it: clients that write and read through all faults and note in a history what they did and were
 * told. At the end everything is looked at once more, and the checkers judge the history (test/checkers).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type History, HistoryRecorder } from '../checkers/history.ts';
import { judge } from '../checkers/judge.ts';
import type { Violation } from '../checkers/violation.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { Reader, Writer } from './workload/client.ts';
import { connect } from './workload/connection.ts';
import { lookAtEverything } from './workload/last-look.ts';
import { OPENING_BALANCES, SCHEMA } from './workload/objects.ts';
import { Numbers } from './workload/wishes.ts';

/** For what clients gave up waiting for, and may still happen: their requests have ended, or end with the connection. */
const SETTLE_MS = 500;
/** One cause breaks many. */
const TOLD_PER_RULE = 5;

export interface LoadOptions {
  readonly urls: readonly string[];
  readonly seed: number;
  readonly writers?: number;
  readonly readers?: number;
  /** For the trial's story. */
  readonly tell: (event: string) => void;
  readonly report: (violation: string) => void;
  /** Called when the history breaks a rule: violations name its transactions by their places. */
  readonly keepHistory?: (history: History) => void;
}

export interface Judgement {
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
  readonly reads: number;
  /** Acknowledged transactions that are not there, or not whole. */
  readonly lost: number;
  readonly duplicated: number;
  /** Refused ones that are there, and such as nobody made. */
  readonly invented: number;
  /** What clients were told, counted. */
  readonly codes: Readonly<Record<string, number>>;
}

export class Load {
  readonly #options: LoadOptions;
  readonly #recorder = new HistoryRecorder(OPENING_BALANCES);
  readonly #writers: readonly Writer[];
  readonly #readers: readonly Reader[];
  readonly #clients: readonly Promise<void>[];
  readonly #codes: Record<string, number> = {};
  #isOver = false;

  static async start(options: LoadOptions): Promise<Load> {
    const setup = connect(options.urls[0] as string);
    await setup.batch([...SCHEMA], 'write');
    setup.close();
    return new Load(options);
  }

  private constructor(options: LoadOptions) {
    const { urls, seed, writers = 6, readers = 3, tell, report } = options;
    this.#options = options;
    const numbers = new Numbers();
    const optionsOf = (id: number) => ({
      name: `${id}`,
      urls,
      usesSockets: id % 3 === 1,
      random: new SeededRandom(seed * 1_000 + id),
      numbers,
      recorder: this.#recorder,
      report,
      tell,
      countCode: (code: string) => {
        this.#codes[code] = (this.#codes[code] ?? 0) + 1;
      },
      isOver: () => this.#isOver,
    });
    this.#writers = Array.from({ length: writers }, (_, id) => new Writer(optionsOf(id)));
    this.#readers = Array.from({ length: readers }, (_, i) => new Reader(optionsOf(writers + i)));
    this.#clients = [...this.#writers, ...this.#readers].map((client) => client.run());
  }

  /** Transactions acknowledged so far, of each client that writes. */
  acknowledged(): readonly number[] {
    return this.#writers.map((writer) => writer.acknowledged);
  }

  get readers(): number {
    return this.#readers.length;
  }

  /** Reads answered so far. */
  answered(): number {
    return this.#readers.reduce((sum, reader) => sum + reader.acknowledged, 0);
  }

  /** Ends the clients without a judgement. */
  async abandon(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
  }

  /** Ends the clients, and looks at everything. */
  async judge(): Promise<Judgement> {
    const history = await this.history();
    const { violations, counts } = judge(history);
    if (violations.length > 0) this.#options.keepHistory?.(history);
    this.#tell(violations);
    const found = (...rules: readonly string[]): number =>
      violations.filter(({ rule }) => rules.includes(rule)).length;
    return {
      acknowledged: this.acknowledged().reduce((sum, count) => sum + count, 0),
      refused: counts.failed,
      unknown: counts.unknown,
      reads: this.answered(),
      lost: found('ledger: lost', 'ledger: torn'),
      duplicated: found('ledger: twice'),
      invented: found('ledger: invented', 'ledger: rejected', 'registers: invented'),
      codes: this.#codes,
    };
  }

  #tell(violations: readonly Violation[]): void {
    const told: Record<string, number> = {};
    for (const { rule, message } of violations) {
      told[rule] = (told[rule] ?? 0) + 1;
      if (told[rule] <= TOLD_PER_RULE) this.#options.report(`${rule}: ${message}`);
    }
    for (const [rule, count] of Object.entries(told))
      if (count > TOLD_PER_RULE) this.#options.report(`${rule}: ${count - TOLD_PER_RULE} more`);
  }

  /** Ends the clients; the last look is part of what they saw. */
  async history(): Promise<History> {
    await this.abandon();
    await sleep(SETTLE_MS);
    this.#recorder.settle(performance.now());
    const touched = keysOf(this.#recorder.history());
    // Twice: what is there once has to stay.
    for (let look = 1; look <= 2; look += 1)
      await lookAtEverything({ ...this.#options, touched, recorder: this.#recorder });
    return this.#recorder.history();
  }
}

function keysOf({ transactions }: History): { readonly lists: Set<string>; readonly registers: Set<string> } {
  const [lists, registers] = [new Set<string>(), new Set<string>()];
  for (const { operations } of transactions) {
    for (const operation of operations) {
      if (operation.kind === 'append' || operation.kind === 'read-list') lists.add(operation.key);
      else if (operation.kind === 'write' || operation.kind === 'read-register') registers.add(operation.key);
    }
  }
  return { lists, registers };
}

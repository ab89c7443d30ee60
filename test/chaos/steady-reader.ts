/**
 * One strong read after the other, each one statement, at whichever compute node serves: the longest time between two answers is how long nobody could have
 * read. (The clients of the load also wait in transactions, and for things that are not reads.)
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from './workload/connection.ts';

const ANSWER_TIMEOUT_MS = 2_000;

export class SteadyReader {
  readonly #urls: readonly string[];
  readonly #running: Promise<void>;
  #isOver = false;
  #lastAnswerMs = performance.now();
  #longestGapMs = 0;
  #answers = 0;

  constructor(urls: readonly string[]) {
    this.#urls = urls;
    this.#running = this.#run();
  }

  async finish(): Promise<{ readonly answers: number; readonly longestGapMs: number }> {
    this.#isOver = true;
    const longestGapMs = Math.round(Math.max(this.#longestGapMs, performance.now() - this.#lastAnswerMs));
    await this.#running;
    return { answers: this.#answers, longestGapMs };
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#isOver; turn += 1) {
      const db = connect(this.#urls[turn % this.#urls.length] as string, ANSWER_TIMEOUT_MS);
      try {
        while (!this.#isOver) {
          await db.execute('SELECT count(*) FROM sqlite_schema');
          const nowMs = performance.now();
          this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#lastAnswerMs);
          this.#lastAnswerMs = nowMs;
          this.#answers += 1;
          await sleep(5);
        }
      } catch {
        await sleep(5);
      } finally {
        db.close();
      }
    }
  }
}

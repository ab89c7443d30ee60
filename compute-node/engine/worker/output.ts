/**
 * A program's output on its way to the main thread: collected, posted in bounded pieces, held back when the client is slow.
 *
 * Each piece names the highest CPL that it depends on, and whether all of it is covered by an MTR that the program made afterwards: what is
 * not, is a read, and has to be confirmed before it is given out (design section 4).
 */
import { type Lsn, NO_LSN } from '../../../src/log/lsn.ts';
import { KIB } from '../../../src/base/limits.ts';
import type { ProgramEvent, SqlValue } from '../api.ts';
import type { FromWorker, ProgramDone } from '../worker-messages.ts';

const PIECE_BYTES = 64 * KIB;
/** Posted and not given out yet. Past it the program waits for its client. */
const MAX_UNGIVEN_BYTES = 512 * KIB;
const EVENT_BYTES = 64;
const VALUE_BYTES = 16;

export class Output {
  readonly #post: (message: FromWorker) => void;
  readonly #connection: number;
  readonly #run: number;
  #events: ProgramEvent[] = [];
  #rows: SqlValue[][] | null = null;
  #bytes = 0;
  #ungivenBytes = 0;
  #isUncovered = false;
  #commitLsn: Lsn = NO_LSN;

  constructor(post: (message: FromWorker) => void, connection: number, run: number) {
    this.#post = post;
    this.#connection = connection;
    this.#run = run;
  }

  event(event: ProgramEvent): void {
    this.#closeRows();
    this.#events.push(event);
    this.#bytes += EVENT_BYTES;
    // Whether a step is skipped follows from what the steps before it said.
    if (event.kind !== 'step-skipped') this.#isUncovered = true;
  }

  row(row: SqlValue[]): void {
    this.#rows ??= [];
    this.#rows.push(row);
    for (const value of row) this.#bytes += VALUE_BYTES + sizeOf(value);
    this.#isUncovered = true;
  }

  /** The outcome itself is a reply. */
  touch(): void {
    this.#isUncovered = true;
  }

  /** The program just made an MTR, with this CPL: all it said so far and has not posted is covered by it. */
  cover(cpl: Lsn): void {
    this.#isUncovered = false;
    this.#commitLsn = cpl;
  }

  get isPieceFull(): boolean {
    return this.#bytes >= PIECE_BYTES;
  }

  get mustWait(): boolean {
    return this.#ungivenBytes > MAX_UNGIVEN_BYTES;
  }

  given(bytes: number): void {
    this.#ungivenBytes -= bytes;
  }

  post(lsn: Lsn, done: ProgramDone | null): void {
    this.#closeRows();
    const bytes = this.#bytes;
    this.#post({
      kind: 'output',
      connection: this.#connection,
      run: this.#run,
      events: this.#events,
      lsn,
      commitLsn: this.#commitLsn,
      needsConfirmation: this.#isUncovered,
      bytes,
      done,
    });
    this.#ungivenBytes += bytes;
    this.#events = [];
    this.#bytes = 0;
    this.#isUncovered = false;
  }

  #closeRows(): void {
    if (this.#rows === null) return;
    this.#events.push({ kind: 'rows', rows: this.#rows });
    this.#rows = null;
  }
}

function sizeOf(value: SqlValue): number {
  if (typeof value === 'string') return value.length;
  return value instanceof Uint8Array ? value.length : 0;
}

/**
 * What a stream may do after its transaction was ended behind the client's back (idle too long, or its engine deposed).
 *
 * The client may have more statements of that transaction under way, and would have them run outside of it, each on its own. So every
 * request is refused with the reason until the client has ended its transaction too, or is known to have read the refusal:
 *
 *   untold ──refusal──▶ told ──the client's next request follows from the refusal (HTTP)──▶ acknowledged
 *
 * 1. ROLLBACK succeeds: what it asks for has happened. COMMIT fails. Both end the state.
 * 2. BEGIN ends it once the client was told: nobody begins a transaction inside of one.
 * 3. Acknowledged, every other request ends it too, and is run.
 */
import { SessionError, type SessionErrorCode } from './errors.ts';
import type { TransactionWord } from './transaction-word.ts';

export type LostVerdict = 'run' | 'pretend' | 'refuse';

export class LostTransaction {
  readonly #code: SessionErrorCode;
  readonly #reason: string;
  #status: 'untold' | 'told' | 'acknowledged' | 'over';

  constructor(code: SessionErrorCode, reason: string, told: boolean) {
    this.#code = code;
    this.#reason = reason;
    this.#status = told ? 'told' : 'untold';
  }

  get isOver(): boolean {
    return this.#status === 'over';
  }

  acknowledge(): void {
    if (this.#status === 'told') this.#status = 'acknowledged';
  }

  /** `word` is of the first statement; `isAlone`: there is no other in the request. */
  judge(word: TransactionWord, isAlone: boolean): LostVerdict {
    const status = this.#status;
    if (word === 'rollback' && isAlone) {
      this.#status = 'over';
      return 'pretend';
    }
    if (word === 'commit' && isAlone) {
      this.#status = 'over';
      return 'refuse';
    }
    if (status === 'acknowledged' || (status === 'told' && word === 'begin')) {
      this.#status = 'over';
      return 'run';
    }
    this.#status = 'told';
    return 'refuse';
  }

  error(): SessionError {
    return new SessionError(
      this.#code,
      this.#reason,
      'nothing of the transaction was kept; send ROLLBACK, then begin it again',
    );
  }
}

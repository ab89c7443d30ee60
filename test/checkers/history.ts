/**
 * What clients of one volume did and saw, in a form that every checker reads, whether a simulation or real processes made it.
 *
 * The volume holds three kinds of objects: lists that only grow (`append`), registers (`write`), and accounts of one bank (`transfer`).
 * Everything a client does is a transaction over them; an autocommit statement is a transaction of one operation. What keeps a history
 * judgeable, and is asserted where it is indexed:
 *
 * 1. No element is appended twice in a history, and no value is written twice to one register: what is read names its writer.
 * 2. A process does one thing at a time. A session belongs to one process and may outlive its connections.
 * 3. Times come from one clock (virtual, or one process's monotonic one), in any unit.
 * 4. Operations are those that were performed, in order. A read that was not answered is left out; a write that may have been sent is not.
 * 5. `failed` means: certainly not done, now or ever. Whoever is not certain says `unknown`.
 * 6. The operations of one transaction are one atomic look and change. Statements with read points of their own are transactions of
 *    their own.
 * 7. When all that was under way has ended, unknown or not, the history is settled. From then on nothing is written, and strong transactions
 *    look at every list, register and account once more: the last look.
 *
 * The micro-operations, and much of what is checked, follow Elle (Kingsbury and Alvaro, VLDB 2020).
 */

export type Isolation = 'strong' | 'session' | 'snapshot';

export type Outcome = 'ok' | 'failed' | 'unknown';

export type MicroOperation =
  | { readonly kind: 'append'; readonly key: string; readonly element: number }
  | { readonly kind: 'read-list'; readonly key: string; readonly elements: readonly number[] }
  | { readonly kind: 'write'; readonly key: string; readonly value: number }
  /** Null: never written. */
  | { readonly kind: 'read-register'; readonly key: string; readonly value: number | null }
  | { readonly kind: 'transfer'; readonly from: string; readonly to: string; readonly amount: number }
  /** Of all accounts, at once. */
  | { readonly kind: 'read-accounts'; readonly balances: Readonly<Record<string, number>> };

export interface Transaction {
  readonly process: string;
  readonly session: string;
  readonly isolation: Isolation;
  readonly invokedAt: number;
  /** When the answer came, or when the client stopped to wait; Infinity when it still waits. */
  readonly completedAt: number;
  readonly outcome: Outcome;
  readonly operations: readonly MicroOperation[];
  /**
   * The CPL of its MTR for one that wrote (`unknown` ones too, where the recorder can know it); else the LSN that its reads were made at.
   * Null: not known.
   */
  readonly lsn: number | null;
}

export interface History {
  readonly transactions: readonly Transaction[];
  /** Account → balance before the first transaction. Lists start empty, registers unwritten. */
  readonly openingBalances: Readonly<Record<string, number>>;
  /** Nothing that began before can still take effect; Infinity: that moment never came. */
  readonly settledAt: number;
}

export function isWrite(operation: MicroOperation): boolean {
  return operation.kind === 'append' || operation.kind === 'write' || operation.kind === 'transfer';
}

export interface TransactionStart {
  readonly process: string;
  readonly session: string;
  readonly isolation: Isolation;
  readonly invokedAt: number;
}

/** A transaction under way. Its operations are noted as they are performed, so that one that never ends has them, too. */
export class OpenTransaction {
  readonly #start: TransactionStart;
  readonly #operations: MicroOperation[] = [];
  #lsn: number | null = null;
  #end: { readonly outcome: Outcome; readonly completedAt: number } | null = null;

  constructor(start: TransactionStart) {
    this.#start = start;
  }

  did(operation: MicroOperation): void {
    this.#operations.push(operation);
  }

  /** May be told before the end: what is handed over has an LSN, whether or not an answer ever comes. */
  at(lsn: number): void {
    this.#lsn = lsn;
  }

  end(outcome: Outcome, completedAt: number): void {
    if (this.#end !== null) throw new Error('a transaction ends once');
    this.#end = { outcome, completedAt };
  }

  /** As things stand; one that has not ended is `unknown`. */
  record(): Transaction {
    const { outcome, completedAt } = this.#end ?? {
      outcome: 'unknown',
      completedAt: Number.POSITIVE_INFINITY,
    };
    return { ...this.#start, completedAt, outcome, operations: [...this.#operations], lsn: this.#lsn };
  }
}

/** Collects a history. */
export class HistoryRecorder {
  readonly #transactions: OpenTransaction[] = [];
  readonly #openingBalances: Readonly<Record<string, number>>;
  #settledAt = Number.POSITIVE_INFINITY;

  constructor(openingBalances: Readonly<Record<string, number>> = {}) {
    this.#openingBalances = openingBalances;
  }

  begin(start: TransactionStart): OpenTransaction {
    const transaction = new OpenTransaction(start);
    this.#transactions.push(transaction);
    return transaction;
  }

  /** What is begun from now on belongs to the last look. */
  settle(at: number): void {
    this.#settledAt = at;
  }

  history(): History {
    return {
      transactions: this.#transactions.map((transaction) => transaction.record()),
      openingBalances: this.#openingBalances,
      settledAt: this.#settledAt,
    };
  }
}

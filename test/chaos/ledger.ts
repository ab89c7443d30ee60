/**
 * What the clients of a chaos round know: which transactions were acknowledged, which were refused for certain, and of which nobody was
 * told. A transaction has a client and a number of that client's own; its rows in the database name both.
 *
 * The claim that is checked: acknowledged → there once and whole; refused → never there; unknown → at most once, and whole.
 */

export type Outcome = 'pending' | 'acknowledged' | 'refused' | 'unknown';

/** What a client may conclude from an error that met its commit: with these codes nothing can have happened. */
const REFUSALS = new Set([
  'CONNECTION_REFUSED',
  'NO_QUORUM',
  'VOLUME_HELD',
  'OVERLOADED',
  'UNAVAILABLE',
  'DEPOSED',
  'STREAM_EXPIRED',
  'STREAM_CLOSED',
  'BATON_INVALID',
  'TRANSACTION_TIMEOUT',
  'TRANSACTION_LOST',
]);

export function isRefusal(code: string): boolean {
  return REFUSALS.has(code) || code.startsWith('SQLITE_');
}

export class Ledger {
  readonly #clients: Outcome[][] = [];
  /** Codes that ended transactions as refused or unknown, counted. */
  readonly codes = new Map<string, number>();

  begin(client: number): number {
    this.#clients[client] ??= [];
    this.#clients[client].push('pending');
    return this.#clients[client].length - 1;
  }

  end(client: number, transaction: number, outcome: Outcome, code = ''): void {
    (this.#clients[client] as Outcome[])[transaction] = outcome;
    if (code !== '') this.codes.set(`${outcome} ${code}`, (this.codes.get(`${outcome} ${code}`) ?? 0) + 1);
  }

  get clients(): readonly (readonly Outcome[])[] {
    return this.#clients;
  }

  count(outcome: Outcome): number {
    return this.#clients.flat().filter((found) => found === outcome).length;
  }

  /** How many of a client's transactions must at least, and may at most, be visible to a read that starts, or ends, now. */
  bounds(client: number): { readonly least: number; readonly most: number } {
    const outcomes = this.#clients[client] ?? [];
    const least = outcomes.filter((outcome) => outcome === 'acknowledged').length;
    const most = outcomes.filter((outcome) => outcome !== 'refused').length;
    return { least, most };
  }
}

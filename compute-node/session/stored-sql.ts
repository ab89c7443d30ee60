/** SQL texts that a client stored under a number, so as not to send them again. Bounded in count and bytes. */
import { SessionError } from './errors.ts';
import type { SessionLimits } from './limits.ts';

export class StoredSql {
  readonly #texts = new Map<number, string>();
  readonly #limits: SessionLimits;
  #bytes = 0;

  constructor(limits: SessionLimits) {
    this.#limits = limits;
  }

  has(id: number): boolean {
    return this.#texts.has(id);
  }

  store(id: number, sql: string): void {
    const { maxStoredSqlCount, maxStoredSqlBytes } = this.#limits;
    if (this.#texts.size >= maxStoredSqlCount) {
      throw new SessionError(
        'SQL_STORE_TOO_MANY',
        `${maxStoredSqlCount} SQL texts are stored here already`,
        'close some with close_sql, or send the SQL with the statement',
      );
    }
    if (this.#bytes + sql.length > maxStoredSqlBytes) {
      throw new SessionError(
        'SQL_STORE_TOO_LARGE',
        `stored SQL texts may take ${maxStoredSqlBytes} bytes together`,
        'close some with close_sql, or send the SQL with the statement',
      );
    }
    this.#texts.set(id, sql);
    this.#bytes += sql.length;
  }

  /** Closing what is not stored is no error (Hrana 2, close_sql). */
  close(id: number): void {
    const sql = this.#texts.get(id);
    if (sql === undefined) return;
    this.#bytes -= sql.length;
    this.#texts.delete(id);
  }

  get(id: number): string {
    const sql = this.#texts.get(id);
    if (sql === undefined) {
      throw new SessionError(
        'SQL_NOT_STORED',
        `no SQL text is stored under sql_id ${id}`,
        'store it with store_sql first',
      );
    }
    return sql;
  }
}

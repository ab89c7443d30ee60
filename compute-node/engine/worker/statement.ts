/** One prepared statement: binding, stepping, reading rows. Errors are thrown as SqlFailure by the handle that made it. */
import type { Column, SqlValue, Statement } from '../api.ts';
import { failure } from './sql-errors.ts';
import type { StatementKind } from './sql-text.ts';
import type { Pointer, SqliteLibrary } from './sqlite-library.ts';

const TYPE_INTEGER = 1;
const TYPE_FLOAT = 2;
const TYPE_TEXT = 3;
const TYPE_BLOB = 4;
const STATUS_FULLSCAN_STEP = 1;
const STATUS_REPREPARE = 5;
const MIN_INTEGER = -(2n ** 63n);
const MAX_INTEGER = 2n ** 63n - 1n;

export class PreparedStatement {
  readonly pointer: Pointer;
  readonly kind: StatementKind;
  readonly isReadonly: boolean;
  readonly isExplain: boolean;
  /** By index − 1; null for nameless ones. */
  readonly parameters: readonly (string | null)[];
  /** In its handle's cache: not to be finalized after use. */
  isKept = false;
  readonly #lib: SqliteLibrary;
  #columns: readonly Column[] | null = null;
  #columnsPreparedAt = 0;

  constructor(lib: SqliteLibrary, pointer: Pointer, kind: StatementKind) {
    this.#lib = lib;
    this.pointer = pointer;
    this.kind = kind;
    this.isReadonly = lib.c.sqlite3_stmt_readonly(pointer) !== 0;
    this.isExplain = lib.c.sqlite3_stmt_isexplain(pointer) !== 0;
    const count = lib.c.sqlite3_bind_parameter_count(pointer);
    this.parameters = Array.from({ length: count }, (_, i) =>
      lib.string(lib.c.sqlite3_bind_parameter_name(pointer, i + 1)),
    );
  }

  /** Of the current preparation: SQLite prepares anew when the schema has changed. */
  columns(): readonly Column[] {
    const { c } = this.#lib;
    const preparedAt = c.sqlite3_stmt_status(this.pointer, STATUS_REPREPARE, 0);
    if (this.#columns === null || preparedAt !== this.#columnsPreparedAt) {
      this.#columnsPreparedAt = preparedAt;
      this.#columns = Array.from({ length: c.sqlite3_column_count(this.pointer) }, (_, i) => ({
        name: this.#lib.string(c.sqlite3_column_name(this.pointer, i)) ?? '',
        declaredType: this.#lib.string(c.sqlite3_column_decltype(this.pointer, i)),
      }));
    }
    return this.#columns;
  }

  /** A named parameter takes its named argument, else the positional one at its index (as libSQL's server has it). */
  bind({ args, namedArgs }: Pick<Statement, 'args' | 'namedArgs'>): void {
    const { parameters } = this;
    if (args.length + namedArgs.length > parameters.length) {
      throw failure(
        'ARGS_INVALID',
        `the statement has ${parameters.length} parameters, but ${args.length + namedArgs.length} arguments came`,
      );
    }
    for (let i = 0; i < parameters.length; i += 1) {
      const name = parameters[i] as string | null;
      this.#bindOne(i + 1, name, argumentFor(name, i, args, namedArgs));
    }
  }

  row(): SqlValue[] {
    const { c } = this.#lib;
    const count = c.sqlite3_column_count(this.pointer);
    const row: SqlValue[] = [];
    for (let i = 0; i < count; i += 1) row.push(this.#value(i));
    return row;
  }

  /** Rows a full scan stepped over since this was last asked. */
  takeScannedRows(): number {
    return this.#lib.c.sqlite3_stmt_status(this.pointer, STATUS_FULLSCAN_STEP, 1);
  }

  /** Ends the execution. The outcome was reported by step already. */
  reset(): void {
    this.#lib.c.sqlite3_reset(this.pointer);
    if (this.parameters.length > 0) this.#lib.c.sqlite3_clear_bindings(this.pointer);
  }

  finalize(): void {
    this.#lib.c.sqlite3_finalize(this.pointer);
  }

  #bindOne(index: number, name: string | null, value: SqlValue | undefined): void {
    const rc = value === undefined ? null : this.#bindValue(index, value);
    if (rc === null) throw failure('ARGS_INVALID', `no value for parameter ${name ?? index}`);
    if (rc === 0) return;
    throw failure(this.#lib.codeName(rc & 0xff), `parameter ${name ?? index} could not be bound`);
  }

  #bindValue(index: number, value: SqlValue): number {
    const lib = this.#lib;
    switch (typeof value) {
      case 'string':
        return lib.bindText(this.pointer, index, value);
      case 'number':
        return lib.c.sqlite3_bind_double(this.pointer, index, value);
      case 'bigint':
        if (value < MIN_INTEGER || value > MAX_INTEGER) {
          throw failure('ARGS_INVALID', `the integer for parameter ${index} does not fit 64 bits`);
        }
        return lib.c.sqlite3_bind_int64(this.pointer, index, value);
      default:
        if (value === null) return lib.c.sqlite3_bind_null(this.pointer, index);
        return lib.bindBlob(this.pointer, index, value);
    }
  }

  #value(index: number): SqlValue {
    const lib = this.#lib;
    const { c } = lib;
    switch (c.sqlite3_column_type(this.pointer, index)) {
      case TYPE_INTEGER:
        return c.sqlite3_column_int64(this.pointer, index);
      case TYPE_FLOAT:
        return c.sqlite3_column_double(this.pointer, index);
      case TYPE_TEXT: {
        const at = c.sqlite3_column_text(this.pointer, index);
        return lib.text(at, c.sqlite3_column_bytes(this.pointer, index));
      }
      case TYPE_BLOB: {
        const at = c.sqlite3_column_blob(this.pointer, index);
        return new Uint8Array(lib.bytes(at, c.sqlite3_column_bytes(this.pointer, index)));
      }
      default:
        return null;
    }
  }
}

function argumentFor(
  name: string | null,
  position: number,
  args: readonly SqlValue[],
  namedArgs: Statement['namedArgs'],
): SqlValue | undefined {
  if (name === null) return args[position];
  if (name.startsWith('?')) return args[Number(name.slice(1)) - 1];
  for (const given of namedArgs) {
    if (given.name === name || given.name === name.slice(1)) return given.value;
  }
  return args[position];
}

/**
 * The WebAssembly build of SQLite as this engine uses it: the exported C functions, called without the package's conversion layers
 * (which cost more than the calls), and memory access for strings and blobs.
 *
 * Pointers are numbers, 64-bit integers bigints, text UTF-8. Memory may grow in any call: `heap` is looked up again each time.
 */
import init, { type Sqlite3Static } from '@sqlite.org/sqlite-wasm';
import { TidemarkError } from '../../../src/base/errors.ts';

export type Pointer = number;

/** The C functions, with C's arguments. See sqlite.org/c3ref. */
export interface SqliteExports {
  sqlite3_open_v2(name: Pointer, out: Pointer, flags: number, vfs: Pointer): number;
  sqlite3_close_v2(db: Pointer): number;
  sqlite3_prepare_v3(
    db: Pointer,
    sql: Pointer,
    length: number,
    flags: number,
    out: Pointer,
    tail: Pointer,
  ): number;
  sqlite3_step(stmt: Pointer): number;
  sqlite3_reset(stmt: Pointer): number;
  sqlite3_finalize(stmt: Pointer): number;
  sqlite3_clear_bindings(stmt: Pointer): number;
  sqlite3_bind_null(stmt: Pointer, index: number): number;
  sqlite3_bind_int64(stmt: Pointer, index: number, value: bigint): number;
  sqlite3_bind_double(stmt: Pointer, index: number, value: number): number;
  sqlite3_bind_text(stmt: Pointer, index: number, value: Pointer, length: number, dtor: Pointer): number;
  sqlite3_bind_blob(stmt: Pointer, index: number, value: Pointer, length: number, dtor: Pointer): number;
  sqlite3_bind_zeroblob(stmt: Pointer, index: number, length: number): number;
  sqlite3_bind_parameter_count(stmt: Pointer): number;
  sqlite3_bind_parameter_name(stmt: Pointer, index: number): Pointer;
  sqlite3_column_count(stmt: Pointer): number;
  sqlite3_column_name(stmt: Pointer, index: number): Pointer;
  sqlite3_column_decltype(stmt: Pointer, index: number): Pointer;
  sqlite3_column_type(stmt: Pointer, index: number): number;
  sqlite3_column_int64(stmt: Pointer, index: number): bigint;
  sqlite3_column_double(stmt: Pointer, index: number): number;
  sqlite3_column_text(stmt: Pointer, index: number): Pointer;
  sqlite3_column_blob(stmt: Pointer, index: number): Pointer;
  sqlite3_column_bytes(stmt: Pointer, index: number): number;
  sqlite3_stmt_readonly(stmt: Pointer): number;
  sqlite3_stmt_isexplain(stmt: Pointer): number;
  sqlite3_stmt_status(stmt: Pointer, op: number, reset: number): number;
  sqlite3_changes64(db: Pointer): bigint;
  sqlite3_total_changes64(db: Pointer): bigint;
  sqlite3_last_insert_rowid(db: Pointer): bigint;
  sqlite3_set_last_insert_rowid(db: Pointer, rowid: bigint): void;
  sqlite3_get_autocommit(db: Pointer): number;
  sqlite3_extended_errcode(db: Pointer): number;
  sqlite3_extended_result_codes(db: Pointer, on: number): number;
  sqlite3_errmsg(db: Pointer): Pointer;
  sqlite3_errstr(code: number): Pointer;
  sqlite3_error_offset(db: Pointer): number;
  sqlite3_limit(db: Pointer, id: number, value: number): number;
  sqlite3_progress_handler(db: Pointer, ops: number, handler: Pointer, arg: Pointer): void;
  sqlite3_set_authorizer(db: Pointer, callback: Pointer, arg: Pointer): number;
  sqlite3_vfs_find(name: Pointer): Pointer;
  sqlite3_vfs_register(vfs: Pointer, isDefault: number): number;
  sqlite3_malloc(bytes: number): Pointer;
  sqlite3_free(pointer: Pointer): void;
  sqlite3changeset_apply_v2(
    db: Pointer,
    length: number,
    changeset: Pointer,
    filter: Pointer,
    conflict: Pointer,
    context: Pointer,
    rebase: Pointer,
    rebaseLength: Pointer,
    flags: number,
  ): number;
  sqlite3changeset_op(
    change: Pointer,
    table: Pointer,
    columns: Pointer,
    operation: Pointer,
    indirect: Pointer,
  ): number;
  sqlite3changeset_pk(change: Pointer, key: Pointer, columns: Pointer): number;
  sqlite3changeset_old(change: Pointer, column: number, out: Pointer): number;
  sqlite3changeset_new(change: Pointer, column: number, out: Pointer): number;
  sqlite3changeset_conflict(change: Pointer, column: number, out: Pointer): number;
  sqlite3_value_type(value: Pointer): number;
  sqlite3_value_int64(value: Pointer): bigint;
  sqlite3_value_double(value: Pointer): number;
  sqlite3_value_text(value: Pointer): Pointer;
  sqlite3_value_blob(value: Pointer): Pointer;
  sqlite3_value_bytes(value: Pointer): number;
  sqlite3_exec(db: Pointer, sql: Pointer, callback: Pointer, arg: Pointer, error: Pointer): number;
}

/** Small strings and values are written here instead of being allocated. */
const SCRATCH_BYTES = 64 * 1024;
const TRANSIENT: Pointer = -1;

export class SqliteLibrary {
  readonly sqlite3: Sqlite3Static;
  readonly c: SqliteExports;
  readonly scratch: Pointer;
  /** Two pointers for results of calls. */
  readonly out: Pointer;
  readonly #memory: { readonly buffer: ArrayBuffer };
  readonly #freeFunction: Pointer;
  readonly #codeNames = new Map<number, string>();
  #heap: Buffer;
  #view: DataView;

  private constructor(sqlite3: Sqlite3Static) {
    this.sqlite3 = sqlite3;
    this.c = sqlite3.wasm.exports as SqliteExports;
    this.#memory = (sqlite3.wasm as unknown as { readonly memory: { readonly buffer: ArrayBuffer } }).memory;
    this.#heap = Buffer.from(this.#memory.buffer);
    this.#view = new DataView(this.#memory.buffer);
    this.scratch = this.allocate(SCRATCH_BYTES);
    this.out = this.allocate(16);
    this.#freeFunction = sqlite3.capi.SQLITE_WASM_DEALLOC as unknown as Pointer;
  }

  static async load(): Promise<SqliteLibrary> {
    return new SqliteLibrary(await init());
  }

  /** All of WebAssembly's memory. Do not keep it over a call. */
  get heap(): Buffer {
    if (this.#heap.buffer !== this.#memory.buffer) this.#heap = Buffer.from(this.#memory.buffer);
    return this.#heap;
  }

  get view(): DataView {
    if (this.#view.buffer !== this.#memory.buffer) this.#view = new DataView(this.#memory.buffer);
    return this.#view;
  }

  bytes(at: Pointer, length: number): Uint8Array {
    return this.heap.subarray(at, at + length);
  }

  allocate(bytes: number): Pointer {
    const pointer = this.c.sqlite3_malloc(bytes);
    if (pointer === 0) throw new TidemarkError('OVERLOADED', 'the SQL engine is out of memory');
    return pointer;
  }

  /** A NUL-terminated string; null for a null pointer. */
  string(at: Pointer): string | null {
    if (at === 0) return null;
    const { heap } = this;
    return heap.toString('utf8', at, heap.indexOf(0, at));
  }

  text(at: Pointer, length: number): string {
    return length === 0 ? '' : this.heap.toString('utf8', at, at + length);
  }

  pointer(at: Pointer): Pointer {
    return this.view.getUint32(at, true);
  }

  /** In memory of SQLite's own, for it to free. */
  ownedString(text: string): Pointer {
    const length = Buffer.byteLength(text);
    const at = this.allocate(length + 1);
    this.heap.write(text, at, length, 'utf8');
    this.heap[at + length] = 0;
    return at;
  }

  /** Runs `use` with `text` as a NUL-terminated string that is gone afterwards. */
  withString<T>(text: string, use: (at: Pointer, length: number) => T): T {
    // A UTF-16 code unit takes at most three bytes.
    if (text.length * 3 < SCRATCH_BYTES) {
      const length = this.heap.write(text, this.scratch, SCRATCH_BYTES - 1, 'utf8');
      this.heap[this.scratch + length] = 0;
      return use(this.scratch, length);
    }
    const length = Buffer.byteLength(text);
    const at = this.ownedString(text);
    try {
      return use(at, length);
    } finally {
      this.c.sqlite3_free(at);
    }
  }

  bindText(stmt: Pointer, index: number, text: string): number {
    if (text.length * 3 < SCRATCH_BYTES) {
      const length = this.heap.write(text, this.scratch, SCRATCH_BYTES, 'utf8');
      return this.c.sqlite3_bind_text(stmt, index, this.scratch, length, TRANSIENT);
    }
    const length = Buffer.byteLength(text);
    return this.c.sqlite3_bind_text(stmt, index, this.ownedString(text), length, this.#freeFunction);
  }

  bindBlob(stmt: Pointer, index: number, blob: Uint8Array): number {
    if (blob.length === 0) return this.c.sqlite3_bind_zeroblob(stmt, index, 0);
    if (blob.length <= SCRATCH_BYTES) {
      this.heap.set(blob, this.scratch);
      return this.c.sqlite3_bind_blob(stmt, index, this.scratch, blob.length, TRANSIENT);
    }
    const at = this.allocate(blob.length);
    this.heap.set(blob, at);
    return this.c.sqlite3_bind_blob(stmt, index, at, blob.length, this.#freeFunction);
  }

  /** A JavaScript function as a C function pointer. Never given back: made a few times per process. */
  callback(signature: string, fn: (...args: never[]) => number): Pointer {
    return this.sqlite3.wasm.installFunction(signature, fn) as unknown as Pointer;
  }

  /** `SQLITE_CONSTRAINT_UNIQUE`, `SQLITE_BUSY`. */
  codeName(code: number): string {
    let name = this.#codeNames.get(code);
    if (name === undefined) {
      name = this.sqlite3.capi.sqlite3_js_rc_str(code) ?? `SQLITE_ERROR_${code}`;
      this.#codeNames.set(code, name);
    }
    return name;
  }
}

/**
 * Applies a changeset of SQLite's session extension inside of an open transaction, and says what stood against it. Nothing is asked meanwhile: what is to
 * become of a conflict is fixed beforehand, as SQLite's callback must answer at once.
 *
 * A change that the database has already is no conflict, whoever made it: a deleted row that is gone, an inserted one that is there in the same
 * words, an updated one that has the new values.
 */
import { TidemarkError } from '../../../src/base/errors.ts';
import type { ChangesetConflict, ConflictPolicy, SqlValue } from '../api.ts';
import type { Pointer, SqliteLibrary } from './sqlite-library.ts';

const CONFLICT = { data: 1, notFound: 2, conflict: 3, constraint: 4, foreignKey: 5 } as const;
const ANSWER = { omit: 0, replace: 1 } as const;
const OPERATION = { delete: 9, insert: 18, update: 23 } as const;
/** Cascades are left alone: what they did is in the changeset, and what they would do beyond it is a conflict. */
const NO_FOREIGN_KEY_ACTIONS = 8;
const VALUE_TYPE = { integer: 1, real: 2, text: 3, blob: 4 } as const;
const DBCONFIG_ENABLE_TRIGGER = 1003;
const DBCONFIG_DEFENSIVE = 1010;
/** What is told of conflicts is bounded; they are counted on. */
const MAX_TOLD = 1_000;

export interface AppliedChangeset {
  readonly code: number;
  readonly conflicts: readonly ChangesetConflict[];
  readonly conflictCount: number;
}

interface Applying {
  readonly policy: ConflictPolicy;
  readonly conflicts: ChangesetConflict[];
  count: number;
}

export class ChangesetApplier {
  readonly #lib: SqliteLibrary;
  #callback: Pointer | null = null;
  #applying: Applying | null = null;

  constructor(lib: SqliteLibrary) {
    this.#lib = lib;
  }

  /** Triggers do not fire: what they did is in the changeset. */
  apply(db: Pointer, changeset: Uint8Array, policy: ConflictPolicy): AppliedChangeset {
    const lib = this.#lib;
    const { capi } = lib.sqlite3;
    this.#callback ??= lib.callback('i(pip)', (_context: Pointer, kind: number, change: Pointer) =>
      this.#onConflict(kind, change),
    );
    const applying: Applying = { policy, conflicts: [], count: 0 };
    this.#applying = applying;
    const at = lib.allocate(Math.max(1, changeset.length));
    capi.sqlite3_db_config(db, DBCONFIG_ENABLE_TRIGGER as never, 0, 0);
    // Tables that a virtual table keeps take writes only so.
    capi.sqlite3_db_config(db, DBCONFIG_DEFENSIVE as never, 0, 0);
    try {
      lib.heap.set(changeset, at);
      const code = lib.c.sqlite3changeset_apply_v2(
        db,
        changeset.length,
        at,
        0,
        this.#callback,
        0,
        0,
        0,
        NO_FOREIGN_KEY_ACTIONS,
      );
      return { code, conflicts: applying.conflicts, conflictCount: applying.count };
    } finally {
      capi.sqlite3_db_config(db, DBCONFIG_DEFENSIVE as never, 1, 0);
      capi.sqlite3_db_config(db, DBCONFIG_ENABLE_TRIGGER as never, 1, 0);
      lib.c.sqlite3_free(at);
      this.#applying = null;
    }
  }

  #onConflict(kind: number, change: Pointer): number {
    const applying = this.#applying;
    if (applying === null) throw new TidemarkError('INTERNAL', 'a conflict without a changeset');
    if (kind === CONFLICT.foreignKey) {
      this.#tell(applying, {
        kind: 'foreign-key',
        table: null,
        operation: null,
        key: [],
        ours: null,
        theirs: null,
      });
      return ANSWER.omit;
    }
    const { operation, table, columns, isKey } = this.#read(change);
    if (kind === CONFLICT.notFound && operation === OPERATION.delete) return ANSWER.omit;
    const ofEach = (read: (index: number) => SqlValue | undefined): (SqlValue | undefined)[] =>
      Array.from({ length: columns }, (_, index) => read(index));
    const { c } = this.#lib;
    const hasRow = kind === CONFLICT.data || kind === CONFLICT.conflict;
    const before =
      operation === OPERATION.insert
        ? []
        : ofEach((index) => this.#value(c.sqlite3changeset_old, change, index));
    const after =
      operation === OPERATION.delete
        ? []
        : ofEach((index) => this.#value(c.sqlite3changeset_new, change, index));
    const ours = hasRow ? ofEach((index) => this.#value(c.sqlite3changeset_conflict, change, index)) : null;
    const isThere =
      ours !== null &&
      operation !== OPERATION.delete &&
      after.every((value, index) => value === undefined || isSame(value, ours[index]));
    if (isThere) return ANSWER.omit;
    const row = operation === OPERATION.insert ? after : before;
    this.#tell(applying, {
      kind: NAME_OF[kind as keyof typeof NAME_OF] ?? 'constraint',
      table,
      operation: NAME_OF_OPERATION[operation as keyof typeof NAME_OF_OPERATION] ?? 'update',
      key: row.filter((_, index) => isKey[index]).map((value) => value ?? null),
      ours: ours?.map((value) => value ?? null) ?? null,
      theirs:
        operation === OPERATION.delete ? null : after.map((value, index) => value ?? ours?.[index] ?? null),
    });
    return hasRow && applying.policy === 'theirs' ? ANSWER.replace : ANSWER.omit;
  }

  #tell(applying: Applying, conflict: ChangesetConflict): void {
    applying.count += 1;
    if (applying.conflicts.length < MAX_TOLD) applying.conflicts.push(conflict);
  }

  #read(change: Pointer): {
    readonly operation: number;
    readonly table: string;
    readonly columns: number;
    readonly isKey: readonly boolean[];
  } {
    const lib = this.#lib;
    const out = lib.allocate(16);
    try {
      lib.c.sqlite3changeset_op(change, out, out + 4, out + 8, 0);
      const table = lib.string(lib.pointer(out)) ?? '';
      const columns = lib.pointer(out + 4);
      const operation = lib.pointer(out + 8);
      lib.c.sqlite3changeset_pk(change, out, 0);
      const keyAt = lib.pointer(out);
      const isKey = Array.from({ length: columns }, (_, index) => lib.heap[keyAt + index] !== 0);
      return { operation, table, columns, isKey };
    } finally {
      lib.c.sqlite3_free(out);
    }
  }

  /** undefined: the change says nothing of the column. */
  #value(
    read: (change: Pointer, index: number, out: Pointer) => number,
    change: Pointer,
    index: number,
  ): SqlValue | undefined {
    const lib = this.#lib;
    const out = lib.allocate(4);
    try {
      if (read(change, index, out) !== 0) return undefined;
      const value = lib.pointer(out);
      return value === 0 ? undefined : this.#sqlValue(value);
    } finally {
      lib.c.sqlite3_free(out);
    }
  }

  #sqlValue(value: Pointer): SqlValue {
    const lib = this.#lib;
    const { c } = lib;
    switch (c.sqlite3_value_type(value)) {
      case VALUE_TYPE.integer:
        return c.sqlite3_value_int64(value);
      case VALUE_TYPE.real:
        return c.sqlite3_value_double(value);
      case VALUE_TYPE.text: {
        const at = c.sqlite3_value_text(value);
        return lib.text(at, c.sqlite3_value_bytes(value));
      }
      case VALUE_TYPE.blob: {
        const at = c.sqlite3_value_blob(value);
        return new Uint8Array(lib.bytes(at, c.sqlite3_value_bytes(value)));
      }
      default:
        return null;
    }
  }
}

const NAME_OF = {
  [CONFLICT.data]: 'changed',
  [CONFLICT.notFound]: 'gone',
  [CONFLICT.conflict]: 'exists',
  [CONFLICT.constraint]: 'constraint',
} as const;

const NAME_OF_OPERATION = {
  [OPERATION.insert]: 'insert',
  [OPERATION.update]: 'update',
  [OPERATION.delete]: 'delete',
} as const;

function isSame(a: SqlValue, b: SqlValue | undefined): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return Object.is(a, b);
}

/**
 * Differences, merges and rows brought back as JSON: what the administration interface answers. Integers that a JSON number cannot hold exactly are
 * `{"integer": "…"}`, blobs `{"blob": "base64"}`, reals that JSON has no word for `{"real": "Infinity"}`.
 */
import type { SqlValue } from '../engine/api.ts';
import type { DiffEvent } from './diff.ts';
import type { Row } from './side.ts';

export type ToldValue =
  | null
  | number
  | string
  | { readonly integer: string }
  | { readonly real: string }
  | { readonly blob: string };

export type ToldRow = readonly ToldValue[];

export type ToldDiffEvent =
  | {
      readonly kind: 'schema';
      readonly change: 'created' | 'dropped' | 'altered';
      readonly type: string;
      readonly name: string;
      readonly sql: string;
      /** Of an altered one. */
      readonly before: string | null;
    }
  | {
      readonly kind: 'table';
      readonly table: string;
      readonly columns: readonly string[];
      /** Empty: rows are told apart by rowid. */
      readonly keyColumns: readonly string[];
    }
  | {
      readonly kind: 'insert' | 'update' | 'delete';
      readonly table: string;
      readonly key: ToldRow;
      readonly before: ToldRow | null;
      readonly after: ToldRow | null;
    }
  | Extract<DiffEvent, { kind: 'end' }>;

export function toldDiffEvent(event: DiffEvent): ToldDiffEvent {
  switch (event.kind) {
    case 'schema': {
      const { kind, object } = event.change;
      const before = event.change.kind === 'altered' ? event.change.before.sql : null;
      return { kind: 'schema', change: kind, type: object.type, name: object.name, sql: object.sql, before };
    }
    case 'table': {
      const { name, columns, keyColumns } = event.table;
      return { kind: 'table', table: name, columns, keyColumns };
    }
    case 'row': {
      const { kind, key, before, after } = event.change;
      const table = event.table.name;
      return {
        kind,
        table,
        key: toldRow(key),
        before: before && toldRow(before),
        after: after && toldRow(after),
      };
    }
    case 'end':
      return event;
  }
}

export function toldRow(row: Row): ToldRow {
  return row.map(toldValue);
}

function toldValue(value: SqlValue): ToldValue {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : { integer: String(value) };
  }
  if (typeof value === 'number') return Number.isFinite(value) ? value : { real: String(value) };
  return value instanceof Uint8Array ? { blob: Buffer.from(value).toString('base64') } : value;
}

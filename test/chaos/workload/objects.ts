/**
 * Lists, registers and accounts as SQL tables: the statement for each operation, and what its answer means. Lists are kept in two ways, as
 * rows (many pages, an index) and as one growing text (overflow pages); the key says which.
 */
import type { InStatement, ResultSet } from '@libsql/client';
import type { MicroOperation } from '../../checkers/history.ts';

export const ACCOUNTS = Array.from({ length: 12 }, (_, id) => `${id}`);
const OPENING_BALANCE = 1_000;
export const OPENING_BALANCES: Readonly<Record<string, number>> = Object.fromEntries(
  ACCOUNTS.map((id) => [id, OPENING_BALANCE]),
);

/** No constraint keeps duplicates out: if there is one, it is to be seen. */
export const SCHEMA: readonly string[] = [
  'CREATE TABLE entry(key TEXT NOT NULL, place INTEGER NOT NULL, element INTEGER NOT NULL, body BLOB NOT NULL)',
  'CREATE INDEX entry_place ON entry(key, place)',
  'CREATE TABLE text_list(key TEXT PRIMARY KEY, elements TEXT NOT NULL) WITHOUT ROWID',
  'CREATE TABLE register(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID',
  'CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)',
  'CREATE TABLE scratch(id INTEGER PRIMARY KEY, client TEXT, body TEXT NOT NULL)',
  'CREATE INDEX scratch_body ON scratch(body)',
  ...ACCOUNTS.map((id) => `INSERT INTO account VALUES (${id}, ${OPENING_BALANCE})`),
];

/** Breaks a constraint, whatever the state. */
export const IMPOSSIBLE: InStatement = `INSERT INTO account VALUES (${ACCOUNTS[0]}, 0)`;

type WriteWish = Extract<MicroOperation, { kind: 'append' | 'write' | 'transfer' }>;

export type ReadWish =
  | { readonly kind: 'read-list'; readonly key: string }
  | { readonly kind: 'read-register'; readonly key: string }
  | { readonly kind: 'read-accounts' };

/** An operation before it is performed. `none` changes what no checker looks at, but SQLite's integrity check does. */
export type Wish =
  | { readonly kind: 'write'; readonly operation: WriteWish; readonly bodyBytes: number }
  | { readonly kind: 'read'; readonly wanted: ReadWish }
  | { readonly kind: 'none'; readonly statement: InStatement };

export function isTextList(key: string): boolean {
  return key.startsWith('text');
}

export function statementsOf(wish: Wish): InStatement[] {
  if (wish.kind === 'none') return [wish.statement];
  if (wish.kind === 'read') return [readStatement(wish.wanted)];
  const { operation, bodyBytes } = wish;
  switch (operation.kind) {
    case 'append': {
      const { key, element } = operation;
      if (isTextList(key)) {
        const sql =
          'INSERT INTO text_list VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET elements = elements || char(44) || excluded.elements';
        return [{ sql, args: [key, `${element}`] }];
      }
      const body = new Uint8Array(bodyBytes).fill(element % 251);
      const sql =
        'INSERT INTO entry SELECT ?1, coalesce(max(place), 0) + 1, ?2, ?3 FROM entry WHERE key = ?1';
      return [{ sql, args: [key, element, body] }];
    }
    case 'write': {
      const sql = 'INSERT INTO register VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value';
      return [{ sql, args: [operation.key, operation.value] }];
    }
    case 'transfer': {
      const { from, to, amount } = operation;
      const sql = 'UPDATE account SET balance = balance + ? WHERE id = ?';
      return [
        { sql, args: [-amount, Number(from)] },
        { sql, args: [amount, Number(to)] },
      ];
    }
  }
}

function readStatement(wanted: ReadWish): InStatement {
  switch (wanted.kind) {
    case 'read-list': {
      const sql = isTextList(wanted.key)
        ? 'SELECT (SELECT elements FROM text_list WHERE key = ?) AS elements'
        : 'SELECT group_concat(element ORDER BY place) AS elements FROM entry WHERE key = ?';
      return { sql, args: [wanted.key] };
    }
    case 'read-register':
      return { sql: 'SELECT (SELECT value FROM register WHERE key = ?) AS value', args: [wanted.key] };
    case 'read-accounts':
      return 'SELECT id, balance FROM account';
  }
}

/** The last of its statements' answers. */
export function answered(wanted: ReadWish, { rows }: ResultSet): MicroOperation {
  switch (wanted.kind) {
    case 'read-list':
      return { ...wanted, elements: elementsIn(rows[0]?.elements) };
    case 'read-register': {
      const value = rows[0]?.value;
      return { ...wanted, value: value === null || value === undefined ? null : Number(value) };
    }
    case 'read-accounts': {
      const balances = rows.map(({ id, balance }) => [String(id), Number(balance)] as const);
      return { ...wanted, balances: Object.fromEntries(balances) };
    }
  }
}

function elementsIn(text: unknown): number[] {
  return typeof text === 'string' || typeof text === 'number' ? String(text).split(',').map(Number) : [];
}

/** Rows whose body is not what was written with them. */
const BROKEN_BODIES = `SELECT count(*) AS n FROM entry WHERE replace(hex(body), printf('%02X', element % 251), '') <> ''`;

/** Everything at once, in one transaction. */
export const LAST_LOOK: readonly string[] = [
  'SELECT key, group_concat(element ORDER BY place) AS elements FROM entry GROUP BY key',
  'SELECT key, elements FROM text_list',
  'SELECT key, value FROM register',
  'SELECT id, balance FROM account',
  BROKEN_BODIES,
];

/** `keys`: of the lists and registers that were touched; those that are not in the answers are empty. */
export function lastLookOperations(
  results: readonly ResultSet[],
  keys: { readonly lists: Iterable<string>; readonly registers: Iterable<string> },
): MicroOperation[] {
  const [rowLists, textLists, registers, accounts] = results as [ResultSet, ResultSet, ResultSet, ResultSet];
  const lists = new Map([...rowLists.rows, ...textLists.rows].map((row) => [String(row.key), row.elements]));
  const values = new Map(registers.rows.map(({ key, value }) => [String(key), Number(value)]));
  const listKeys = new Set([...keys.lists, ...lists.keys()]);
  const registerKeys = new Set([...keys.registers, ...values.keys()]);
  return [
    ...[...listKeys].map(
      (key): MicroOperation => ({ kind: 'read-list', key, elements: elementsIn(lists.get(key)) }),
    ),
    ...[...registerKeys].map(
      (key): MicroOperation => ({ kind: 'read-register', key, value: values.get(key) ?? null }),
    ),
    answered({ kind: 'read-accounts' }, accounts),
  ];
}

export function brokenBodies(results: readonly ResultSet[]): number {
  return Number(results.at(-1)?.rows[0]?.n);
}

/** Tab completion: what may follow the text before the cursor. Pure; the schema is handed in. */
import type { SchemaNames } from './schema.ts';
import { KEYWORDS, quoteName } from './values.ts';

export interface DotWords {
  readonly names: readonly string[];
  /** Command → words its argument may be. */
  readonly args: Readonly<Record<string, readonly string[]>>;
}

export interface Completion {
  readonly candidates: readonly string[];
  /** The part of the line that a candidate replaces. */
  readonly fragment: string;
}

/** Of statements that SQLite does not know. Names need no quotes because of them. */
const TIMELINE_WORDS = ['BACKTRACK', 'CLONE', 'SHOW', 'SNAPSHOT', 'SNAPSHOTS', 'VOLUME', 'VOLUMES'];
const AFTER_VOLUME_WORD =
  /\b(?:create\s+clone\s+\S+\s+from|drop\s+volume|snapshots?(?:\s+\S+)?\s+of|backtrack)\s+$/i;
const AFTER_TABLE_WORD = /\b(?:from|join|into|update|table|on|describe|exists)\s+"?$/i;
const FUNCTIONS =
  `abs avg char coalesce count date datetime format group_concat hex ifnull iif instr json json_array json_each json_extract
  json_object julianday last_insert_rowid length like lower ltrim max min nullif printf quote random replace round row_number
  rtrim strftime substr sum time total trim typeof unicode unixepoch upper zeroblob`.split(/\s+/);

/** `earlier`: the lines of the statement before this one, for table aliases. */
export function complete(line: string, earlier: string, names: SchemaNames, dots: DotWords): Completion {
  if (earlier === '' && line.trimStart().startsWith('.')) return completeDot(line.trimStart(), names, dots);
  const fragment = /[\p{L}\p{N}_$]*$/u.exec(line)?.[0] ?? '';
  const before = line.slice(0, line.length - fragment.length);
  const volume = volumePlace(line, earlier);
  if (volume !== null) return { candidates: startingWith(names.volumes, volume), fragment: volume };
  const owner = /([\p{L}\p{N}_$]+|"(?:[^"]|"")+")\.$/u.exec(before)?.[1];
  if (owner !== undefined) {
    const columns = columnsOf(unquote(owner), `${earlier}\n${line}`, names);
    return { candidates: startingWith(columns.map(quoteName), fragment), fragment };
  }
  if (AFTER_TABLE_WORD.test(before)) {
    return { candidates: startingWith(names.tables.map(quoteName), fragment), fragment };
  }
  if (fragment === '') return { candidates: [], fragment };
  const mentioned = mentionedTables(`${earlier}\n${line}`, names);
  const near = mentioned.flatMap((table) => names.columns.get(table.toLowerCase()) ?? []);
  const columns = near.length > 0 ? near : [...names.columns.values()].flat();
  const words = startingWith([...new Set([...columns, ...names.tables].map(quoteName))], fragment);
  // People who type small letters want small keywords.
  const isLower = fragment === fragment.toLowerCase();
  const keywords = [...KEYWORDS, ...TIMELINE_WORDS].map((word) => (isLower ? word.toLowerCase() : word));
  const rest = startingWith([...keywords, ...FUNCTIONS], fragment);
  return { candidates: [...new Set([...words, ...rest])], fragment };
}

/** The volume's name typed so far, where one stands; null where none does. For whoever asks for the names only when they are needed. */
export function volumePlace(line: string, earlier: string): string | null {
  if (earlier === '' && /^\s*\.open\s+\S*$/.test(line)) return /\S*$/.exec(line)![0];
  const fragment = /[a-z0-9-]*$/i.exec(line)![0];
  return AFTER_VOLUME_WORD.test(`${earlier}\n${line.slice(0, line.length - fragment.length)}`)
    ? fragment
    : null;
}

function completeDot(line: string, names: SchemaNames, dots: DotWords): Completion {
  const match = /^(\.\w*)(\s+)?(.*)$/s.exec(line);
  const [, command = '', gap, rest = ''] = match ?? [];
  if (gap === undefined) return { candidates: startingWith(dots.names, command), fragment: command };
  const fragment = /\S*$/.exec(rest)?.[0] ?? '';
  const words = dots.args[command] ?? [];
  const all = words.includes('TABLE') ? names.tables : words.includes('VOLUME') ? names.volumes : words;
  return { candidates: startingWith(all, fragment), fragment };
}

function startingWith(words: readonly string[], fragment: string): string[] {
  const wanted = fragment.toLowerCase();
  return words.filter((word) => word.replace(/^"/, '').toLowerCase().startsWith(wanted)).sort();
}

function columnsOf(owner: string, text: string, names: SchemaNames): readonly string[] {
  const direct = names.columns.get(owner.toLowerCase());
  if (direct !== undefined) return direct;
  for (const table of names.tables) {
    const escaped = table.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const alias = new RegExp(`(?:\\b|")${escaped}"?\\s+(?:as\\s+)?${owner}\\b`, 'iu');
    if (alias.test(text)) return names.columns.get(table.toLowerCase()) ?? [];
  }
  return [];
}

function mentionedTables(text: string, names: SchemaNames): readonly string[] {
  const words = new Set(text.toLowerCase().match(/[\p{L}\p{N}_$]+/gu) ?? []);
  return names.tables.filter((table) => words.has(table.toLowerCase()));
}

function unquote(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

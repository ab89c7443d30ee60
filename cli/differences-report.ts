/** Differences, merges and rows brought back, as people read them. */
import type { ToldConflict, ToldMerge, ToldRestore } from '../compute-node/admin-diff.ts';
import type { ToldDiffEvent, ToldRow, ToldValue } from '../compute-node/diff/told.ts';
import type { Style } from './terminal/style.ts';

const MAX_VALUE_CHARS = 60;
const MAX_KEYS_SHOWN = 20;

type Shown = Exclude<ToldDiffEvent, { kind: 'end' }>;
interface Counts {
  insert: number;
  update: number;
  delete: number;
}

/** Lines of a diff as its events come. */
export class DiffText {
  readonly #style: Style;
  readonly #counts: Counts = { insert: 0, update: 0, delete: 0 };
  #columns: readonly string[] = [];
  #keyColumns: readonly string[] = [];
  #tables = 0;
  #schemaChanges = 0;

  constructor(style: Style) {
    this.#style = style;
  }

  linesOf(event: Shown): string {
    const { bold, dim, green, red, yellow } = this.#style;
    switch (event.kind) {
      case 'schema': {
        this.#schemaChanges += 1;
        const what = `${event.type} ${event.name}`;
        if (event.change === 'created') return green(`+ ${what}  ${oneLine(event.sql)}\n`);
        if (event.change === 'dropped') return red(`- ${what}  ${oneLine(event.sql)}\n`);
        return `${yellow(`~ ${what}`)}\n    ${red(oneLine(event.before ?? ''))}\n    ${green(oneLine(event.sql))}\n`;
      }
      case 'table':
        this.#tables += 1;
        this.#columns = event.columns;
        this.#keyColumns = event.keyColumns;
        return `${bold(event.table)} ${dim(`(${event.keyColumns.join(', ') || 'rowid'})`)}\n`;
      case 'insert':
        this.#counts.insert += 1;
        return green(`  + ${this.#row(event.key, event.after)}\n`);
      case 'delete':
        this.#counts.delete += 1;
        return red(`  - ${this.#row(event.key, event.before)}\n`);
      case 'update':
        this.#counts.update += 1;
        return yellow(`  ~ ${this.#change(event.key, event.before ?? [], event.after ?? [])}\n`);
    }
  }

  end(): string {
    const { insert, update, delete: deleted } = this.#counts;
    if (insert + update + deleted + this.#schemaChanges === 0) return 'No differences.\n';
    const schema =
      this.#schemaChanges === 0 ? '' : `, ${plural(this.#schemaChanges, 'change')} of the schema`;
    const text = `${insert} inserted, ${update} changed, ${deleted} deleted in ${plural(this.#tables, 'table')}${schema}\n`;
    return this.#style.dim(text);
  }

  #row(key: ToldRow, row: ToldRow | null): string {
    const cells = this.#columns.map((name, index) => `${name} ${valueText(row?.[index] ?? null)}`);
    const rowid = this.#keyColumns.length === 0 ? [`rowid ${valueText(key[0] ?? null)}`] : [];
    return [...rowid, ...cells].join(', ');
  }

  #change(key: ToldRow, before: ToldRow, after: ToldRow): string {
    const names = this.#keyColumns.length === 0 ? ['rowid'] : this.#keyColumns;
    const which = names.map((name, index) => `${name} ${valueText(key[index] ?? null)}`).join(', ');
    const changes = this.#columns.flatMap((name, index) => {
      const [old, now] = [before[index] ?? null, after[index] ?? null];
      return JSON.stringify(old) === JSON.stringify(now)
        ? []
        : [`${name} ${valueText(old)} → ${valueText(now)}`];
    });
    return `${which}: ${changes.join(', ')}`;
  }
}

export function mergeText(
  merge: ToldMerge,
  from: string,
  into: string,
  isDryRun: boolean,
  style: Style,
): string {
  const { bold, dim } = style;
  const tables = merge.tables.map(
    ({ table, inserts, updates, deletes }) =>
      `  ${bold(table)}  ${inserts} inserted, ${updates} changed, ${deletes} deleted\n`,
  );
  const schema = merge.schema.map(({ kind, type, name }) => `  ${type} ${bold(name)}  ${kind}\n`);
  const conflicts = merge.conflicts.map((conflict) => conflictText(conflict, merge, style));
  const more = merge.conflictCount - merge.conflicts.length;
  if (more > 0) conflicts.push(`  … and ${more} more\n`);
  const since = dim(`since LSN ${merge.base.lsn} of ${merge.base.volume}`);
  return [
    `Changes in ${from} ${since}:\n`,
    ...schema,
    ...(tables.length + schema.length === 0 ? ['  none\n'] : tables),
  ]
    .concat(
      merge.conflictCount === 0 ? [] : [`Conflicts with ${into}:\n`, ...conflicts],
      outcomeText(merge, into, isDryRun, style),
    )
    .join('');
}

function outcomeText(merge: ToldMerge, into: string, isDryRun: boolean, { green, red }: Style): string {
  if (merge.applied) return green(`Merged into ${into} (LSN ${merge.lsn}).\n`);
  if (merge.unsettled === 0 && isDryRun) return `Would be merged into ${into}; nothing was changed.\n`;
  const hint =
    merge.policy === 'abort'
      ? `  --policy theirs takes the rows of the merged volume, --policy ours keeps those of ${into}.\n`
      : '  No policy settles these; change the rows first.\n';
  return `${red(`Nothing was merged: ${plural(merge.unsettled, 'conflict')}.`)}\n${hint}`;
}

function conflictText(conflict: ToldConflict, { policy }: ToldMerge, { yellow, dim }: Style): string {
  if (conflict.table === null) return `  ${yellow('references would be left without their row')}\n`;
  const key = conflict.keyColumns.map((name, index) => `${name} ${valueText(conflict.key[index] ?? null)}`);
  const why = { changed: 'changed on both sides', gone: 'deleted there', exists: 'inserted on both sides' };
  const kind =
    conflict.kind === 'constraint' ? 'against a constraint' : why[conflict.kind as keyof typeof why];
  const differing = conflict.columns.flatMap((name, index) => {
    const [ours, theirs] = [conflict.ours?.[index] ?? null, conflict.theirs?.[index] ?? null];
    if (conflict.ours === null || conflict.theirs === null) return [];
    return JSON.stringify(ours) === JSON.stringify(theirs)
      ? []
      : [`${name} ${valueText(ours)} there, ${valueText(theirs)} merged`];
  });
  const settled = policy === 'abort' || conflict.kind === 'constraint' ? '' : dim(`  (${policy})`);
  const detail =
    differing.length === 0
      ? conflict.operation === 'delete'
        ? ', deleted by the merge'
        : ''
      : `: ${differing.join('; ')}`;
  return `  ${yellow(`${conflict.table} ${key.join(', ')}`)}  ${kind}${detail}${settled}\n`;
}

export function restoreText(restore: ToldRestore, isDryRun: boolean, { green, red, dim }: Style): string {
  const { table, inserted, overwritten, unchanged, different } = restore;
  const there =
    unchanged === 0
      ? ''
      : `, ${plural(unchanged, 'row')} there as ${unchanged === 1 ? 'it was' : 'they were'}`;
  if (restore.found === 0) return 'The SELECT found no row at that moment.\n';
  const done = `${plural(inserted, 'row')} inserted, ${overwritten} overwritten in ${table}${there}`;
  if (restore.applied) return green(`${done} (LSN ${restore.lsn}).\n`);
  if (different === overwritten && isDryRun) return `Would be: ${done}; nothing was changed.\n`;
  const keys = restore.differentKeys
    .slice(0, MAX_KEYS_SHOWN)
    .map((key) =>
      restore.keyColumns.map((name, index) => `${name} ${valueText(key[index] ?? null)}`).join(', '),
    );
  const more = different > keys.length ? dim(`  … and ${different - keys.length} more\n`) : '';
  return (
    `${red(`Nothing was brought back: ${plural(different, 'row')} of ${table} ${different === 1 ? 'has' : 'have'} other values by now.`)}\n` +
    keys.map((key) => `  ${key}\n`).join('') +
    `${more}  --overwrite gives them their old values.\n`
  );
}

/** As in SQL, long ones cut. */
export function valueText(value: ToldValue): string {
  if (value === null) return 'NULL';
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return `'${cut(value.replaceAll("'", "''"))}'`;
  if ('integer' in value) return value.integer;
  if ('real' in value) return value.real;
  const hex = Buffer.from(value.blob, 'base64').toString('hex');
  return hex.length <= MAX_VALUE_CHARS ? `x'${hex}'` : `x'${cut(hex)}' (${hex.length / 2} bytes)`;
}

function cut(text: string): string {
  const line = text.replaceAll('\n', '\\n');
  return line.length <= MAX_VALUE_CHARS ? line : `${line.slice(0, MAX_VALUE_CHARS - 1)}…`;
}

function oneLine(sql: string): string {
  return sql.replaceAll(/\s+/g, ' ').trim();
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

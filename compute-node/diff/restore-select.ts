/** The SELECT that names rows to be brought back: all of one table, with any conditions behind it. Pure. */
import { TidemarkError } from '../../src/base/errors.ts';
import { tokensOf } from '../timelines/sql/tokens.ts';
import { quoted } from './side.ts';

export interface RestoreSelect {
  readonly table: string;
  /** As columns are to be named. */
  readonly alias: string;
  /** Behind the table's name: alias, joins, conditions, order, limit. */
  readonly rest: string;
}

const IDENTIFIER = ['"(?:[^"]|"")+"', '\\[[^\\]]+\\]', '`(?:[^`]|``)+`', '[\\p{L}_][\\p{L}\\p{N}_$]*'].join(
  '|',
);
const SELECT = new RegExp(
  `^\\s*select\\s+\\*\\s+from\\s+(${IDENTIFIER})(?:\\s+(?:as\\s+)?(${IDENTIFIER}))?(.*)$`,
  'isu',
);
/** Words that follow a table's name without being its alias. */
const NO_ALIAS =
  /^(?:where|join|inner|left|right|full|cross|natural|order|limit|group|having|window|union|except|intersect|indexed|not)$/i;

/** Throws BAD_REQUEST. */
export function parseSelect(sql: string): RestoreSelect {
  const match = SELECT.exec(sql.replace(/;\s*$/, ''));
  const [, table, word, behind = ''] = match ?? [];
  if (table === undefined) {
    throw new TidemarkError('BAD_REQUEST', 'rows are named by SELECT * FROM a table, with any conditions', {
      nextStep: 'Write it like: SELECT * FROM orders WHERE customer = 7',
    });
  }
  const isAlias = word !== undefined && !NO_ALIAS.test(word);
  const rest = word === undefined ? behind : ` ${word}${behind}`;
  refuseOtherRows(rest);
  return { table: unquoted(table), alias: isAlias ? word : table, rest };
}

/** `values` of the rows. Behind it something else may follow, whatever comment it ends in. */
export function selectOf({ alias, rest }: RestoreSelect, table: string, values: readonly string[]): string {
  const list = values.map((name) => `${alias}.${quoted(name)}`).join(', ');
  return `SELECT ${list} FROM ${quoted(table)}${rest}\n`;
}

/** What a second SELECT adds is no row of the table, and has its columns in an order of its own. */
function refuseOtherRows(rest: string): void {
  let depth = 0;
  for (const { kind, text } of tokensOf(rest)) {
    if (kind === 'other' && text === '(') depth += 1;
    if (kind === 'other' && text === ')') depth -= 1;
    const isCompound = kind === 'word' && depth === 0 && /^(?:union|except|intersect)$/i.test(text);
    if (!isCompound && depth >= 0) continue;
    throw new TidemarkError('BAD_REQUEST', `near "${text}": rows are named by one SELECT alone`, {
      nextStep: 'Put the others into a condition: … WHERE id IN (SELECT … UNION SELECT …)',
    });
  }
}

function unquoted(name: string): string {
  const first = name[0] ?? '';
  if (first === '"' || first === '`') return name.slice(1, -1).replaceAll(first + first, first);
  return first === '[' ? name.slice(1, -1) : name;
}

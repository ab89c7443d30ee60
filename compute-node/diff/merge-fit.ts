/**
 * Whether tables that changed can be merged into the tables there are. A changeset goes by places, not by names; and of a table that it does not fit SQLite
 * passes over all changes without a word. So everything that does not fit is refused before.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { tokensOf } from '../timelines/sql/tokens.ts';
import type { ComparedTable } from './rows.ts';
import type { TableShape } from './schema.ts';

/**
 * `there`: tables of the volume merged into, once what is new was made there; `made`: names of those. Throws MERGE_CONFLICT, UNSUPPORTED.
 */
export function refuseMisfits(
  tables: Iterable<ComparedTable>,
  there: ReadonlyMap<string, TableShape>,
  made: ReadonlySet<string>,
  into: string,
): void {
  for (const table of tables) {
    const shape = there.get(table.name);
    if (shape === undefined) {
      throw misfit(`table '${table.name}' changed, and is not in '${into}' any more`);
    }
    if (!table.columns.every((name, index) => name === shape.columns[index]?.name)) {
      throw misfit(`table '${table.name}' has other columns in '${into}'`);
    }
    if (JSON.stringify(table.keyColumns) !== JSON.stringify(shape.keyColumns)) {
      throw misfit(`table '${table.name}' has another primary key in '${into}'`);
    }
    if (shape.keyColumns.length === 0 && shape.columns.some(({ name }) => name.toLowerCase() === '_rowid_')) {
      throw misfit(`table '${table.name}' has no primary key, and a column named _rowid_ in '${into}'`);
    }
    const clause = made.has(table.name) ? null : conflictClause(shape.sql);
    if (clause !== null) {
      throw new TidemarkError(
        'UNSUPPORTED',
        `table '${table.name}' is declared with ON CONFLICT ${clause}: SQLite would settle conflicts by itself`,
        { nextStep: 'Bring its rows over by hand, or give the table its constraints without that clause.' },
      );
    }
  }
}

/** REPLACE and IGNORE lose a row without a word where a changeset meets it. ABORT is what SQLite does anyway. */
function conflictClause(sql: string): string | null {
  const words = tokensOf(sql).map(({ kind, text }) => (kind === 'word' ? text.toUpperCase() : ''));
  for (const [index, word] of words.entries()) {
    const answer = words[index + 2];
    if (word === 'ON' && words[index + 1] === 'CONFLICT' && answer !== undefined && answer !== 'ABORT')
      return answer;
  }
  return null;
}

function misfit(message: string): TidemarkError {
  return new TidemarkError('MERGE_CONFLICT', message, {
    nextStep: 'Bring both to the same schema first, and merge then.',
  });
}

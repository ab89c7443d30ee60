/** The little that is looked at in SQL text before SQLite parses it. */

const SPACE_OR_COMMENT = /(?:[\s;]+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?(?:\*\/|$))*/y;
const WORD = /[A-Za-z]+/y;

/** The first `count` words of a statement, upper case; fewer when something else comes between. */
export function leadingWords(sql: string, count: number): readonly string[] {
  const words: string[] = [];
  let at = 0;
  while (words.length < count) {
    SPACE_OR_COMMENT.lastIndex = at;
    SPACE_OR_COMMENT.exec(sql);
    WORD.lastIndex = SPACE_OR_COMMENT.lastIndex;
    const word = WORD.exec(sql);
    if (word === null) break;
    words.push(word[0].toUpperCase());
    at = WORD.lastIndex;
  }
  return words;
}

/** Nothing but space, comments and semicolons. */
export function isBlank(sql: string): boolean {
  SPACE_OR_COMMENT.lastIndex = 0;
  SPACE_OR_COMMENT.exec(sql);
  return SPACE_OR_COMMENT.lastIndex === sql.length;
}

/** What a statement does to the transaction it runs in, and what is counted for it. */
export type StatementKind =
  | 'begin'
  | 'begin-readonly'
  | 'commit'
  | 'rollback'
  | 'dml'
  | 'pragma'
  | 'vacuum'
  | 'other';

export function kindOf(sql: string): StatementKind {
  const [first, second, third] = leadingWords(sql, 3);
  switch (first) {
    case 'BEGIN':
      // libSQL's clients say it so; SQLite takes the word for the transaction's name.
      return second === 'READONLY' || (second === 'TRANSACTION' && third === 'READONLY')
        ? 'begin-readonly'
        : 'begin';
    case 'COMMIT':
    case 'END':
      return 'commit';
    case 'ROLLBACK':
      return second === 'TO' || (second === 'TRANSACTION' && third === 'TO') ? 'other' : 'rollback';
    case 'INSERT':
    case 'REPLACE':
    case 'UPDATE':
    case 'DELETE':
    case 'WITH':
      return 'dml';
    case 'PRAGMA':
      return 'pragma';
    case 'VACUUM':
      return 'vacuum';
    default:
      return 'other';
  }
}

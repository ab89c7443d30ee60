/**
 * What a statement is about, seen from its first words alone. Which ones begin or end a transaction is used only to decide what a stream whose
 * transaction was rolled back behind the client's back may still run; SQLite decides everything else.
 */

export type TransactionWord = 'begin' | 'commit' | 'rollback' | 'other';

const SPACE_OR_COMMENT = /(?:[\s;]+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?(?:\*\/|$))*/y;
const WORD = /[A-Za-z]+/y;

/** Statement texts hold one statement: what follows the first is not looked at. */
export function transactionWord(sql: string): TransactionWord {
  const words = firstWords(sql, 3);
  switch (words[0]) {
    case 'BEGIN':
      return 'begin';
    case 'SAVEPOINT':
      return 'begin';
    case 'COMMIT':
    case 'END':
      return 'commit';
    case 'ROLLBACK':
      // ROLLBACK [TRANSACTION] TO [SAVEPOINT] name leaves the transaction open.
      return words[1] === 'TO' || (words[1] === 'TRANSACTION' && words[2] === 'TO') ? 'other' : 'rollback';
    default:
      return 'other';
  }
}

/** In capitals, comments left out. */
export function firstWords(sql: string, count: number): string[] {
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
    // A semicolon ends the statement.
    if (/^\s*;/.test(sql.slice(at, at + 16))) break;
  }
  return words;
}

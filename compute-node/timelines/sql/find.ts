/**
 * Finds the statements about timelines among others. Asked for every statement that a client sends, so that it looks at the first letters alone
 * wherever it can.
 */
import { firstWords } from '../../session/transaction-word.ts';
import type { TimelineStatement } from './statement.ts';

const MAY_BEGIN = /\s*(?:create|drop|backtrack|show|--|\/\*|;)/iy;
/** A script without any of these words holds none of them: most scripts are passed on unread. */
const SECOND_WORD = /\b(?:clone|snapshots?|volumes?|backtrack)\b/i;
/** A doubled quote inside quotes reads as the end of one text and the beginning of another: the same, for what is only skipped. */
const QUOTED_OR_COMMENT_OR_END =
  /'[^']*(?:'|$)|"[^"]*(?:"|$)|`[^`]*(?:`|$)|\[[^\]]*(?:\]|$)|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|;/g;

export function timelineStatementKind(sql: string): TimelineStatement['kind'] | null {
  MAY_BEGIN.lastIndex = 0;
  if (!MAY_BEGIN.test(sql)) return null;
  const [first, second] = firstWords(sql, 2);
  switch (first) {
    case 'BACKTRACK':
      return 'backtrack';
    case 'CREATE':
      return second === 'CLONE' ? 'create-clone' : second === 'SNAPSHOT' ? 'create-snapshot' : null;
    case 'DROP':
      return second === 'VOLUME' ? 'drop-volume' : second === 'SNAPSHOT' ? 'drop-snapshot' : null;
    case 'SHOW':
      return second === 'VOLUMES' ? 'show-volumes' : second === 'SNAPSHOTS' ? 'show-snapshots' : null;
    default:
      return null;
  }
}

export interface ScriptPart {
  readonly kind: 'sql' | 'timeline';
  readonly text: string;
  /** Where it begins in the script, in bytes of UTF-8: errors name places in the whole. */
  readonly offset: number;
}

/**
 * Cuts a script before and after each of our statements; what lies between stays together. A semicolon inside a trigger's body ends no statement,
 * but none of those that may stand in one looks like ours. Null: there are none.
 */
export function splitScript(script: string): readonly ScriptPart[] | null {
  if (!SECOND_WORD.test(script)) return null;
  const parts: ScriptPart[] = [];
  let sqlFrom = 0;
  const add = (kind: ScriptPart['kind'], from: number, to: number): void => {
    const text = script.slice(from, to);
    if (text.trim() === '') return;
    parts.push({ kind, text, offset: Buffer.byteLength(script.slice(0, from)) });
  };
  for (const [from, to] of pieces(script)) {
    if (timelineStatementKind(script.slice(from, to)) === null) continue;
    add('sql', sqlFrom, from);
    add('timeline', from, to);
    sqlFrom = to;
  }
  if (parts.length === 0) return null;
  add('sql', sqlFrom, script.length);
  return parts;
}

/** From one semicolon to the next, outside quotes and comments. */
function* pieces(script: string): Generator<readonly [number, number]> {
  let from = 0;
  for (const match of script.matchAll(QUOTED_OR_COMMENT_OR_END)) {
    if (match[0] !== ';') continue;
    yield [from, match.index + 1];
    from = match.index + 1;
  }
  if (from < script.length) yield [from, script.length];
}

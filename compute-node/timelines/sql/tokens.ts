/** Cuts a statement about timelines into tokens, by SQLite's rules for quotes and comments. Names may be written bare with hyphens: `my-dev`. */
import type { SqlError } from '../../engine/api.ts';
import { SqlFailure } from '../../engine/api.ts';

export type Token =
  | { readonly kind: 'word'; readonly text: string; readonly at: number }
  /** Within quotes of any kind: never a keyword. */
  | { readonly kind: 'quoted'; readonly text: string; readonly at: number }
  /** `?`, `?3`, `:name`, `@name`, `$name`. */
  | { readonly kind: 'parameter'; readonly text: string; readonly at: number }
  | { readonly kind: 'semicolon'; readonly text: string; readonly at: number }
  | { readonly kind: 'other'; readonly text: string; readonly at: number }
  | { readonly kind: 'end'; readonly text: ''; readonly at: number };

const TOKEN =
  /(?<blank>(?:\s+|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))+)|(?<word>[\p{L}\p{N}_]+(?:-[\p{L}\p{N}_]+)*)|(?<quoted>'[^']*(?:''[^']*)*'|"[^"]*(?:""[^"]*)*"|`[^`]*(?:``[^`]*)*`|\[[^\]]*\])|(?<parameter>\?\d*|[:@$][\p{L}\p{N}_]+)|(?<semicolon>;)|(?<other>[\s\S])/uy;

export function tokensOf(sql: string): readonly Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < sql.length) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(sql);
    const text = match?.[0] ?? sql.slice(at, at + 1);
    const { blank, word, quoted, parameter, semicolon } = match?.groups ?? {};
    if (word !== undefined) tokens.push({ kind: 'word', text, at });
    else if (quoted !== undefined) tokens.push({ kind: 'quoted', text: unquote(text), at });
    else if (parameter !== undefined) tokens.push({ kind: 'parameter', text, at });
    else if (semicolon !== undefined) tokens.push({ kind: 'semicolon', text, at });
    else if (blank === undefined) tokens.push({ kind: 'other', text, at });
    at += text.length;
  }
  tokens.push({ kind: 'end', text: '', at: sql.length });
  return tokens;
}

/** SQLite's way of telling a syntax error: the token, what was expected, and where in the text. */
export function syntaxError(sql: string, token: Token, expected: string): SqlFailure {
  const shown = token.kind === 'end' ? 'incomplete input' : `near "${token.text}"`;
  return sqlFailure('SQLITE_ERROR', `${shown}: ${expected}`, {
    offset: Buffer.byteLength(sql.slice(0, token.at)),
  });
}

export function sqlFailure(
  code: string,
  message: string,
  more: Partial<Pick<SqlError, 'offset' | 'nextStep'>> = {},
): SqlFailure {
  return new SqlFailure({ code, message, extendedCode: null, offset: null, ...more });
}

function unquote(text: string): string {
  const quote = text[0]!;
  const inside = text.slice(1, -1);
  return quote === '[' ? inside : inside.replaceAll(quote + quote, quote);
}

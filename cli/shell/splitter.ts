/**
 * Cuts SQL text into statements, line by line, without parsing it: a statement ends at a `;` outside of strings, quoted names and
 * comments, and, inside CREATE TRIGGER, only at the `;` after END. The same state machine as sqlite3_complete(), but
 * incremental: a line is scanned once, however long the statement grows.
 */

export interface SplitStatement {
  /** With its closing `;`. */
  readonly text: string;
  /** 1-based line, in the text fed so far, where the statement's first token stands. */
  readonly line: number;
}

/** What the scanner is inside of between two lines. */
type Inside = 'code' | 'single-quoted' | 'double-quoted' | 'backquoted' | 'bracketed' | 'block-comment';

/** How far towards "complete" the statement is; see the table below. */
type Progress = 'start' | 'normal' | 'explain' | 'create' | 'trigger' | 'trigger-semicolon' | 'trigger-end';

type Word = 'explain' | 'create' | 'temp' | 'trigger' | 'end' | 'other';

const CLOSING: Readonly<Record<Exclude<Inside, 'code' | 'block-comment'>, string>> = {
  'single-quoted': "'",
  'double-quoted': '"',
  backquoted: '`',
  bracketed: ']',
};

const WORD = /[\p{L}\p{N}_$]+/uy;

export class SqlSplitter {
  private inside: Inside = 'code';
  private progress: Progress = 'start';
  private parts: string[] = [];
  private line = 0;
  private startLine = 0;
  private hasToken = false;

  /** Feeds one line (without its newline); returns the statements that it completes. */
  pushLine(text: string): SplitStatement[] {
    this.line++;
    const complete: SplitStatement[] = [];
    let from = 0;
    let at = 0;
    while (at < text.length) {
      if (this.inside !== 'code') {
        at = this.leave(text, at);
        continue;
      }
      const char = text[at]!;
      if (char === ';') {
        at++;
        if (!this.onSemicolon()) continue;
        this.parts.push(text.slice(from, at));
        from = at;
        if (this.hasToken) complete.push({ text: this.parts.join('\n').trim(), line: this.startLine });
        this.clear();
        continue;
      }
      at = this.onCode(text, at, char);
    }
    this.parts.push(text.slice(from));
    if (!this.isPending) this.parts = [];
    return complete;
  }

  /** True while a statement (or an open comment) has begun and not ended. */
  get isPending(): boolean {
    return this.hasToken || this.inside !== 'code';
  }

  /** What a continuation prompt can show: the open quote or comment, else null. */
  get openDelimiter(): string | null {
    if (this.inside === 'code') return null;
    return this.inside === 'block-comment' ? '*/' : CLOSING[this.inside];
  }

  /** At the end of the input: what is left, as a statement without `;`. Null when nothing is. Starts anew. */
  finish(): { readonly statement: SplitStatement; readonly isUnterminated: boolean } | null {
    const statement = { text: this.parts.join('\n').trim(), line: this.startLine };
    const isUnterminated = this.inside !== 'code';
    const hadToken = this.hasToken;
    this.reset();
    return hadToken || isUnterminated ? { statement, isUnterminated } : null;
  }

  /** Forgets a statement that was begun. */
  reset(): void {
    this.inside = 'code';
    this.clear();
  }

  private clear(): void {
    this.progress = 'start';
    this.parts = [];
    this.hasToken = false;
  }

  private token(): void {
    if (this.hasToken) return;
    this.hasToken = true;
    this.startLine = this.line;
  }

  private leave(text: string, at: number): number {
    if (this.inside === 'block-comment') {
      const end = text.indexOf('*/', at);
      if (end < 0) return text.length;
      this.inside = 'code';
      return end + 2;
    }
    const closing = CLOSING[this.inside as keyof typeof CLOSING];
    const end = text.indexOf(closing, at);
    if (end < 0) return text.length;
    // A doubled closing quote is one character of the content (not for brackets).
    if (this.inside !== 'bracketed' && text[end + 1] === closing) return end + 2;
    this.inside = 'code';
    return end + 1;
  }

  private onCode(text: string, at: number, char: string): number {
    switch (char) {
      case ' ':
      case '\t':
      case '\r':
      case '\n':
      case '\f':
        return at + 1;
      case '-':
        if (text[at + 1] === '-') return text.length;
        break;
      case '/':
        if (text[at + 1] === '*') {
          this.inside = 'block-comment';
          return at + 2;
        }
        break;
      case "'":
        return this.enter('single-quoted', at);
      case '"':
        return this.enter('double-quoted', at);
      case '`':
        return this.enter('backquoted', at);
      case '[':
        return this.enter('bracketed', at);
    }
    this.token();
    WORD.lastIndex = at;
    const word = WORD.exec(text)?.[0];
    if (word === undefined) {
      this.onWord('other');
      return at + 1;
    }
    this.onWord(classify(word));
    return at + word.length;
  }

  private enter(inside: Inside, at: number): number {
    this.token();
    this.onWord('other');
    this.inside = inside;
    return at + 1;
  }

  /** True when the statement is complete here. */
  private onSemicolon(): boolean {
    if (this.progress === 'trigger' || this.progress === 'trigger-semicolon') {
      this.progress = 'trigger-semicolon';
      return false;
    }
    return true;
  }

  private onWord(word: Word): void {
    switch (this.progress) {
      case 'start':
        this.progress = word === 'explain' || word === 'create' ? word : 'normal';
        return;
      case 'normal':
        return;
      case 'explain': // EXPLAIN QUERY PLAN CREATE …
        if (word === 'create') this.progress = 'create';
        else if (word !== 'other') this.progress = 'normal';
        return;
      case 'create': // CREATE [TEMP] TRIGGER
        if (word === 'trigger') this.progress = 'trigger';
        else if (word !== 'temp') this.progress = 'normal';
        return;
      case 'trigger':
        return;
      case 'trigger-semicolon':
        this.progress = word === 'end' ? 'trigger-end' : 'trigger';
        return;
      case 'trigger-end': // END was a word of the body after all
        this.progress = 'trigger';
        return;
    }
  }
}

function classify(word: string): Word {
  switch (word.toLowerCase()) {
    case 'explain':
      return 'explain';
    case 'create':
      return 'create';
    case 'temp':
    case 'temporary':
      return 'temp';
    case 'trigger':
      return 'trigger';
    case 'end':
      return 'end';
    default:
      return 'other';
  }
}

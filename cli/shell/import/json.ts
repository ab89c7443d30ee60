/**
 * A streaming reader of JSON rows: an array of objects, or objects one after another (NDJSON). Elements are cut out by counting
 * brackets and parsed one by one, so that a file larger than a string may be works too. Integers of many digits stay exact.
 */
import { TidemarkError } from '../../../src/base/errors.ts';
import { parseExact, type JsonValue } from './json-exact.ts';

export interface JsonRow {
  readonly object: Readonly<Record<string, JsonValue>>;
  readonly line: number;
}

/** Longer than this is not a row. */
const MAX_ROW_CHARS = 64 * 1024 * 1024;
/** Digits that a JavaScript number may not hold. */
const LONG_INTEGER = /\d{16}/;

export class JsonRowParser {
  private depth = 0;
  private inString = false;
  private isEscaped = false;
  private pieces: string[] = [];
  private pieceChars = 0;
  private line = 1;
  private rowLine = 1;
  private isInArray = false;
  private hasEnded = false;
  private rowCount = 0;
  private isFirst = true;
  /** In the array, behind an element: a comma or the end must come. Behind a comma: an element must. */
  private expects: 'element' | 'comma' | 'either' = 'either';

  push(chunk: string): JsonRow[] {
    const rows: JsonRow[] = [];
    let from = -1;
    if (this.depth > 0) from = 0;
    for (let at = 0; at < chunk.length; at++) {
      const char = chunk.charCodeAt(at);
      if (char === 10) this.line++;
      if (this.inString) {
        if (this.isEscaped) this.isEscaped = false;
        else if (char === 92) this.isEscaped = true;
        else if (char === 34) this.inString = false;
        continue;
      }
      if (this.depth > 0) {
        if (char === 34) this.inString = true;
        else if (char === 123 || char === 91) this.depth++;
        else if (char === 125 || char === 93) {
          this.depth--;
          if (this.depth === 0) {
            this.pieces.push(chunk.slice(from, at + 1));
            from = -1;
            rows.push(this.row());
          }
        }
        continue;
      }
      if (this.between(char, at === 0)) {
        from = at;
        this.depth = 1;
        this.rowLine = this.line;
      }
    }
    if (from >= 0) {
      this.pieces.push(chunk.slice(from));
      this.pieceChars += chunk.length - from;
      if (this.pieceChars > MAX_ROW_CHARS) throw bad(this.rowLine, 'a row is larger than 64 MiB');
    }
    return rows;
  }

  end(): void {
    if (this.depth > 0 || this.inString) throw bad(this.rowLine, 'the last object is not closed');
    if (this.isInArray && !this.hasEnded) throw bad(this.line, 'the array is not closed');
    if (!this.isInArray && this.rowCount === 0) throw bad(1, 'there is no JSON in the file');
  }

  /** Outside of any object: true where one begins. */
  private between(char: number, isChunkStart: boolean): boolean {
    if (char === 0xfeff && isChunkStart && this.isFirst) return false;
    if (char === 32 || char === 9 || char === 10 || char === 13) return false;
    const wasFirst = this.isFirst;
    this.isFirst = false;
    if (this.hasEnded) throw bad(this.line, 'something follows the end of the array');
    switch (char) {
      case 91: // [
        if (!wasFirst) throw bad(this.line, 'an element is an array; rows must be objects');
        this.isInArray = true;
        return false;
      case 93: // ]
        if (!this.isInArray || this.expects === 'element')
          throw bad(this.line, '"]" stands where it should not');
        this.hasEnded = true;
        return false;
      case 44: // ,
        if (!this.isInArray || this.expects !== 'comma')
          throw bad(this.line, 'a comma stands where an object should');
        this.expects = 'element';
        return false;
      case 123: // {
        if (this.isInArray && this.expects === 'comma')
          throw bad(this.line, 'a comma is missing between two objects');
        return true;
      default:
        throw bad(this.line, `"${String.fromCharCode(char)}" stands where an object should begin`);
    }
  }

  private row(): JsonRow {
    const text = this.pieces.join('');
    this.pieces = [];
    this.pieceChars = 0;
    this.rowCount++;
    this.expects = 'comma';
    try {
      const object = (LONG_INTEGER.test(text) ? parseExact(text) : JSON.parse(text)) as JsonRow['object'];
      return { object, line: this.rowLine };
    } catch (cause) {
      throw bad(this.rowLine, cause instanceof Error ? cause.message : 'not JSON', cause);
    }
  }
}

function bad(line: number, why: string, cause?: unknown): TidemarkError {
  return new TidemarkError('BAD_REQUEST', `line ${line}: ${why}`, {
    cause,
    nextStep: 'The file must be a JSON array of objects, or one JSON object per line.',
  });
}

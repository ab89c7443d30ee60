/**
 * A streaming CSV reader (RFC 4180, with `\n` or `\r\n`). A field without quotes and without characters is null, a quoted empty one is the
 * empty string, so that what the shell's csv mode writes reads back as it was.
 */
import { TidemarkError } from '../../../src/base/errors.ts';

export interface CsvRow {
  readonly fields: readonly (string | null)[];
  /** 1-based line where the row begins. */
  readonly line: number;
}

type Where = 'field-start' | 'bare' | 'quoted' | 'quote-in-quoted';

export class CsvParser {
  private where: Where = 'field-start';
  private fields: (string | null)[] = [];
  private text = '';
  private line = 1;
  private rowLine = 1;
  private isFirst = true;
  private readonly separator: string;

  constructor(separator = ',') {
    this.separator = separator;
  }

  push(chunk: string): CsvRow[] {
    let input = chunk;
    if (this.isFirst && input !== '') {
      this.isFirst = false;
      if (input.startsWith('\ufeff')) input = input.slice(1);
    }
    const rows: CsvRow[] = [];
    let at = 0;
    while (at < input.length) at = this.step(input, at, rows);
    return rows;
  }

  /** The last row may lack its newline. */
  end(): CsvRow[] {
    if (this.where === 'quoted') {
      throw new TidemarkError(
        'BAD_REQUEST',
        `the quoted field of the row at line ${this.rowLine} is never closed`,
        {
          nextStep: 'Close it with ", and double every " within it.',
        },
      );
    }
    const rows: CsvRow[] = [];
    if (this.fields.length > 0 || this.text !== '' || this.where !== 'field-start') this.endRow(rows);
    return rows;
  }

  private step(input: string, at: number, rows: CsvRow[]): number {
    const char = input[at]!;
    switch (this.where) {
      case 'field-start':
        if (char === '"') {
          this.where = 'quoted';
          return at + 1;
        }
        this.where = 'bare';
        return at;
      case 'bare':
        return this.bare(input, at, rows);
      case 'quoted': {
        const end = input.indexOf('"', at);
        const piece = input.slice(at, end < 0 ? input.length : end);
        this.text += piece;
        for (let i = piece.indexOf('\n'); i >= 0; i = piece.indexOf('\n', i + 1)) this.line++;
        if (end < 0) return input.length;
        this.where = 'quote-in-quoted';
        return end + 1;
      }
      case 'quote-in-quoted':
        if (char === '"') {
          this.text += '"';
          this.where = 'quoted';
          return at + 1;
        }
        if (char === this.separator || char === '\n') return this.delimiter(char, at, rows, this.text);
        if (char === '\r') return at + 1;
        throw new TidemarkError('BAD_REQUEST', `line ${this.line}: "${char}" stands behind a closed quote`, {
          nextStep: 'Double every " within a quoted field.',
        });
    }
  }

  private bare(input: string, at: number, rows: CsvRow[]): number {
    let end = at;
    while (end < input.length && input[end] !== this.separator && input[end] !== '\n') end++;
    this.text += input.slice(at, end);
    if (end === input.length) return end;
    const char = input[end]!;
    if (char === '\n' && this.text.endsWith('\r')) this.text = this.text.slice(0, -1);
    return this.delimiter(char, end, rows, this.text === '' ? null : this.text);
  }

  private delimiter(char: string, at: number, rows: CsvRow[], field: string | null): number {
    this.fields.push(field);
    this.text = '';
    this.where = 'field-start';
    if (char === '\n') {
      this.emit(rows);
      this.line++;
      this.rowLine = this.line;
    }
    return at + 1;
  }

  private endRow(rows: CsvRow[]): void {
    if (this.where === 'bare' && this.text.endsWith('\r')) this.text = this.text.slice(0, -1);
    this.fields.push(this.where === 'quote-in-quoted' || this.text !== '' ? this.text : null);
    this.emit(rows);
  }

  /** An empty line is no row. */
  private emit(rows: CsvRow[]): void {
    const isBlank = this.fields.length === 1 && this.fields[0] === null;
    if (!isBlank) rows.push({ fields: this.fields, line: this.rowLine });
    this.fields = [];
  }
}

/** The modes that scripts read, and `line`: each row is written as it comes. */
import type { Column, SqlValue } from '../../../compute-node/engine/api.ts';
import { padStart } from '../../terminal/width.ts';
import { base64, cellText, rawText, realText } from '../values.ts';
import type { Renderer, RenderOptions, Write } from './renderer.ts';

type Row = readonly SqlValue[];

/** Shared shape: a header at the beginning, one piece of text per row, a closing at the end. */
abstract class RowByRow implements Renderer {
  protected readonly write: Write;
  protected readonly options: RenderOptions;
  protected names: readonly string[] = [];
  private rowsWritten = 0;

  constructor(write: Write, options: RenderOptions) {
    this.write = write;
    this.options = options;
  }

  begin(columns: readonly Column[]): void | Promise<void> {
    this.names = columns.map((column) => column.name);
    this.rowsWritten = 0;
    const text = this.head();
    if (text !== '') return this.write(text);
  }

  rows(rows: readonly Row[]): void | Promise<void> {
    let text = '';
    for (const row of rows) text += this.row(row, this.rowsWritten++);
    if (text !== '') return this.write(text);
  }

  end(_isComplete: boolean): void | Promise<void> {
    const text = this.tail(this.rowsWritten);
    if (text !== '') return this.write(text);
  }

  protected head(): string {
    return '';
  }
  protected abstract row(row: Row, index: number): string;
  protected tail(_rowCount: number): string {
    return '';
  }
}

export class ListRenderer extends RowByRow {
  protected override head(): string {
    return this.options.headers ? `${this.names.join(this.options.separator)}\n` : '';
  }

  protected row(row: Row): string {
    const parts = row.map((value) => (value === null ? (this.options.nullText ?? '') : rawText(value)));
    return `${parts.join(this.options.separator)}\n`;
  }
}

/** RFC 4180, with `\n` line ends. An empty string is written `""`, NULL as nothing. */
export class CsvRenderer extends RowByRow {
  protected override head(): string {
    return this.options.headers ? `${this.names.map(csvField).join(',')}\n` : '';
  }

  protected row(row: Row): string {
    const parts = row.map((value) =>
      value === null ? (this.options.nullText ?? '') : csvField(rawText(value)),
    );
    return `${parts.join(',')}\n`;
  }
}

function csvField(text: string): string {
  return text === '' || /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** One array of objects per result. Integers keep all their digits, blobs are base64. A result without rows is `[]`. */
export class JsonRenderer extends RowByRow {
  private keys: readonly string[] = [];

  override begin(columns: readonly Column[]): void | Promise<void> {
    this.keys = distinct(columns.map((column) => column.name)).map((name) => JSON.stringify(name));
    return super.begin(columns);
  }

  protected row(row: Row, index: number): string {
    const members = row.map((value, i) => `${this.keys[i]}:${jsonValue(value)}`);
    return `${index === 0 ? '[' : ',\n'}{${members.join(',')}}`;
  }

  protected override tail(rowCount: number): string {
    return rowCount === 0 ? '[]\n' : ']\n';
  }
}

function jsonValue(value: SqlValue): string {
  if (value === null) return 'null';
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Uint8Array) return JSON.stringify(base64(value));
  // JSON has no infinity; this overflows to it in every parser.
  if (!Number.isFinite(value)) return value > 0 ? '1e999' : '-1e999';
  return realText(value);
}

/** Members of one name would hide each other: the second `a` becomes `a:1`. */
function distinct(names: readonly string[]): string[] {
  const taken = new Set<string>();
  return names.map((name) => {
    let unique = name;
    for (let i = 1; taken.has(unique); i++) unique = `${name}:${i}`;
    taken.add(unique);
    return unique;
  });
}

/** `name = value`, one line per column. */
export class LineRenderer extends RowByRow {
  protected row(row: Row, index: number): string {
    const width = Math.max(...this.names.map((name) => name.length));
    let text = index === 0 ? '' : '\n';
    for (const [i, value] of row.entries()) {
      const shown = cellText(value, this.options.nullText ?? 'NULL');
      const { bold, dim } = this.options.style;
      text += `${bold(padStart(this.names[i] ?? '', width))} = ${value === null ? dim(shown) : shown}\n`;
    }
    return text;
  }
}

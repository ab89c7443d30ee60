/**
 * Aligned output: `table` (with lines), `column` (without) and `markdown`. Column widths come from the first rows of the result; rows
 * past those are laid out by the same widths, so that nothing has to be collected.
 */
import type { Column, SqlValue } from '../../../compute-node/engine/api.ts';
import { displayWidth, padEnd, padStart } from '../../terminal/width.ts';
import { cellText } from '../values.ts';
import type { Renderer, RenderOptions, Write } from './renderer.ts';

/** Rows, and characters, looked at before widths are fixed. */
const SAMPLE_ROWS = 2_000;
const SAMPLE_CHARS = 1_000_000;

interface Lines {
  readonly left: string;
  readonly between: string;
  readonly right: string;
  /** Null: no rule beneath the header. */
  readonly rule: {
    readonly fill: string;
    readonly left: string;
    readonly between: string;
    readonly right: string;
  } | null;
}

const LINES: Readonly<Record<'table' | 'column' | 'markdown', Lines>> = {
  table: { left: ' ', between: ' │ ', right: '', rule: { fill: '─', left: '─', between: '─┼─', right: '─' } },
  column: { left: '', between: '  ', right: '', rule: { fill: '-', left: '', between: '  ', right: '' } },
  markdown: {
    left: '| ',
    between: ' | ',
    right: ' |',
    rule: { fill: '-', left: '| ', between: ' | ', right: ' |' },
  },
};

interface Cell {
  readonly text: string;
  readonly alignRight: boolean;
  readonly isNull: boolean;
}

export class TableRenderer implements Renderer {
  private readonly write: Write;
  private readonly options: RenderOptions;
  private readonly kind: 'table' | 'column' | 'markdown';
  private columns: readonly Column[] = [];
  private sample: Cell[][] = [];
  private sampleChars = 0;
  private widths: number[] | null = null;
  private rowCount = 0;

  constructor(kind: 'table' | 'column' | 'markdown', write: Write, options: RenderOptions) {
    this.kind = kind;
    this.write = write;
    this.options = options;
  }

  begin(columns: readonly Column[]): void {
    this.columns = columns;
    this.sample = [];
    this.sampleChars = 0;
    this.widths = null;
    this.rowCount = 0;
  }

  async rows(rows: readonly (readonly SqlValue[])[]): Promise<void> {
    let text = '';
    for (const row of rows) {
      this.rowCount++;
      const cells = row.map((value) => this.cell(value));
      if (this.widths !== null) {
        text += this.rowText(cells, this.widths);
        continue;
      }
      this.sample.push(cells);
      for (const cell of cells) this.sampleChars += cell.text.length;
      if (this.sample.length >= SAMPLE_ROWS || this.sampleChars >= SAMPLE_CHARS) text += this.fixWidths();
    }
    if (text !== '') await this.write(text);
  }

  async end(isComplete: boolean): Promise<void> {
    let text = this.widths === null ? this.fixWidths() : '';
    if (isComplete && this.options.showRowCount && this.kind === 'table') {
      text += `${this.options.style.dim(this.rowCount === 1 ? '(1 row)' : `(${this.rowCount} rows)`)}\n`;
    }
    if (text !== '') await this.write(text);
  }

  private cell(value: SqlValue): Cell {
    let text = cellText(value, this.options.nullText ?? 'NULL');
    text = text.replaceAll('\t', '    ');
    if (this.kind === 'markdown') text = text.replaceAll('|', '\\|').replaceAll('\n', '<br>');
    return {
      text,
      alignRight: typeof value === 'bigint' || typeof value === 'number',
      isNull: value === null,
    };
  }

  private fixWidths(): string {
    const names = this.columns.map((column) => cellText(column.name, ''));
    const minimum = this.kind === 'markdown' ? 3 : 1;
    const widths = names.map((name) => Math.max(minimum, this.options.headers ? lineWidth(name) : 0));
    for (const row of this.sample) {
      for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 1, lineWidth(cell.text));
    }
    this.widths = widths;
    let text = this.options.headers ? this.headerText(names, widths) : '';
    for (const row of this.sample) text += this.rowText(row, widths);
    this.sample = [];
    return text;
  }

  private headerText(names: readonly string[], widths: readonly number[]): string {
    const lines = LINES[this.kind];
    const head = layOut(
      names.map((name) => ({ text: name, alignRight: false, isNull: false })),
      widths,
      lines,
      this.options.style.bold,
      this.options.style.dim,
    );
    if (lines.rule === null) return head;
    const { rule } = lines;
    const fill = widths.map((width) => rule.fill.repeat(width)).join(rule.between);
    return `${head}${this.options.style.dim(`${rule.left}${fill}${rule.right}`)}\n`;
  }

  private rowText(cells: readonly Cell[], widths: readonly number[]): string {
    return layOut(cells, widths, LINES[this.kind], null, this.options.style.dim);
  }
}

function lineWidth(text: string): number {
  if (!text.includes('\n')) return displayWidth(text);
  return Math.max(...text.split('\n').map(displayWidth));
}

/** One row; a cell with newlines makes it several lines high. */
function layOut(
  cells: readonly Cell[],
  widths: readonly number[],
  lines: Lines,
  emphasise: ((text: string) => string) | null,
  dim: (text: string) => string,
): string {
  const split = cells.map((cell) => cell.text.split('\n'));
  const height = Math.max(1, ...split.map((part) => part.length));
  const between = dim(lines.between);
  let text = '';
  for (let y = 0; y < height; y++) {
    const parts = cells.map((cell, i) => {
      const part = split[i]![y] ?? '';
      const isLast = i === cells.length - 1 && lines.right === '';
      const padded = cell.alignRight ? padStart(part, widths[i]!) : isLast ? part : padEnd(part, widths[i]!);
      if (emphasise !== null) return emphasise(padded);
      return cell.isNull ? dim(padded) : padded;
    });
    text += `${lines.left}${parts.join(between)}${lines.right}`.trimEnd();
    text += '\n';
  }
  return text;
}

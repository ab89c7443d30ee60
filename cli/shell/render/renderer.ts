/**
 * How a result becomes text, one class per mode. A renderer is fed a result as it arrives and keeps no more of it than its mode needs,
 * so that a result of any size can be shown.
 */
import type { Column, SqlValue } from '../../../compute-node/engine/api.ts';
import type { Style } from '../../terminal/style.ts';

export const MODES = ['table', 'column', 'list', 'csv', 'json', 'line', 'markdown'] as const;
export type Mode = (typeof MODES)[number];

export interface RenderOptions {
  readonly headers: boolean;
  /** Null: the mode's own marker. */
  readonly nullText: string | null;
  readonly separator: string;
  readonly style: Style;
  /** Adds "(3 rows)" beneath tables. */
  readonly showRowCount: boolean;
}

/** Takes text; a promise when the reader is slower than we are. */
export type Write = (text: string) => void | Promise<void>;

export interface Renderer {
  begin(columns: readonly Column[]): void | Promise<void>;
  rows(rows: readonly (readonly SqlValue[])[]): void | Promise<void>;
  /** The result is complete, or (not `isComplete`) ended early by an error. */
  end(isComplete: boolean): void | Promise<void>;
}

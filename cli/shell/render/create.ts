/** Mode name → renderer. */
import { assertNever } from '../../../src/base/assert.ts';
import type { Mode, Renderer, RenderOptions, Write } from './renderer.ts';
import { TableRenderer } from './table.ts';
import { CsvRenderer, JsonRenderer, LineRenderer, ListRenderer } from './text.ts';

export function createRenderer(mode: Mode, write: Write, options: RenderOptions): Renderer {
  switch (mode) {
    case 'table':
    case 'column':
    case 'markdown':
      return new TableRenderer(mode, write, options);
    case 'list':
      return new ListRenderer(write, options);
    case 'csv':
      return new CsvRenderer(write, options);
    case 'json':
      return new JsonRenderer(write, options);
    case 'line':
      return new LineRenderer(write, options);
    default:
      return assertNever(mode, 'mode');
  }
}

/** Errors point at the place. */
import { describe, expect, it } from 'vitest';
import { describeError, placeOf } from '../../../cli/shell/error-place.ts';
import { PLAIN } from '../../../cli/terminal/style.ts';

const error = (message: string, offset: number | null = null) => ({
  code: 'SQLITE_ERROR',
  extendedCode: null,
  message,
  offset,
});

describe('the place of an error', () => {
  it('is the byte offset, counted in characters', () => {
    const sql = "select 'é中😀', nope";
    const offset = Buffer.byteLength("select 'é中😀', ");
    expect(sql.slice(placeOf(error('no such column: nope', offset), sql)!)).toBe('nope');
  });

  it('is the named token when it stands there once', () => {
    expect(placeOf(error('near "fro": syntax error'), 'select * fro t')).toBe(9);
    expect(placeOf(error('no such table: main.nope'), 'select * from nope')).toBe(14);
    expect(placeOf(error('no such column: x'), 'select x, x')).toBeNull();
    expect(placeOf(error('something else'), 'select 1')).toBeNull();
  });

  it('is shown beneath its line', () => {
    const sql = 'select a,\n\t東京 fro\nfrom t';
    expect(describeError(error('near "fro": syntax error'), sql, 'file.sql:3', PLAIN)).toBe(
      'file.sql:3: Error: near "fro": syntax error (SQLITE_ERROR)\n   東京 fro\n        ^\n',
    );
  });

  it('is shown in the middle of a long line', () => {
    const sql = `select ${'1, '.repeat(200)} nope ${', 1'.repeat(200)}`;
    const [, line = '', caret = ''] = describeError(error('no such column: nope'), sql, null, PLAIN).split(
      '\n',
    );
    expect(line.length).toBeLessThan(110);
    expect(line.slice(caret.indexOf('^'), caret.indexOf('^') + 4)).toBe('nope');
  });
});

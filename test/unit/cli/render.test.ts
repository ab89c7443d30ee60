/** Results as text, mode by mode; what CSV writes reads back as it was. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CsvParser } from '../../../cli/shell/import/csv.ts';
import { createRenderer } from '../../../cli/shell/render/create.ts';
import { MODES, type Mode } from '../../../cli/shell/render/renderer.ts';
import { PLAIN } from '../../../cli/terminal/style.ts';
import type { SqlValue } from '../../../compute-node/engine/api.ts';

async function render(
  mode: Mode,
  names: readonly string[],
  pieces: readonly (readonly (readonly SqlValue[])[])[],
  options: { headers?: boolean; nullText?: string | null; showRowCount?: boolean } = {},
): Promise<string> {
  let text = '';
  const renderer = createRenderer(
    mode,
    (piece) => {
      text += piece;
    },
    { headers: true, nullText: null, separator: '|', style: PLAIN, showRowCount: false, ...options },
  );
  await renderer.begin(names.map((name) => ({ name, declaredType: null })));
  for (const rows of pieces) await renderer.rows(rows);
  await renderer.end(true);
  return text;
}

const ROWS: readonly (readonly SqlValue[])[] = [
  [1n, 'Zürich', null],
  [200n, '東京', 1.5],
  [-3n, 'two\nlines', new Uint8Array([1, 255])],
];
const NAMES = ['id', 'name', 'x'];

describe('modes', () => {
  it('table aligns by what is seen', async () => {
    expect(await render('table', NAMES, [ROWS], { showRowCount: true })).toBe(
      [
        ' id  │ name   │ x',
        '─────┼────────┼─────────',
        '   1 │ Zürich │ NULL',
        ' 200 │ 東京   │     1.5',
        "  -3 │ two    │ x'01ff'",
        '     │ lines  │',
        '(3 rows)',
        '',
      ].join('\n'),
    );
  });

  it('table shows columns of a result without rows', async () => {
    expect(await render('table', ['a', 'b'], [], { showRowCount: true })).toBe(' a │ b\n───┼───\n(0 rows)\n');
  });

  it('table goes on with its widths when a result is long', async () => {
    const many = Array.from({ length: 5_000 }, (_, i) => [BigInt(i), 'x'] as const);
    const text = await render('table', ['n', 't'], [many.slice(0, 3_000), many.slice(3_000)]);
    const lines = text.split('\n');
    expect(lines.length).toBe(5_003);
    expect(lines[2]).toBe('    0 │ x');
    expect(lines[5_001]).toBe(' 4999 │ x');
  });

  it('json keeps digits and tells columns of one name apart', async () => {
    const text = await render(
      'json',
      ['a', 'a', 'b'],
      [
        [
          [9007199254740993n, null, 1],
          ['"\n', 2.5, new Uint8Array([255])],
        ],
      ],
    );
    expect(text).toBe('[{"a":9007199254740993,"a:1":null,"b":1.0},\n{"a":"\\"\\n","a:1":2.5,"b":"/w=="}]\n');
    expect(await render('json', ['a'], [])).toBe('[]\n');
  });

  it('line, list, column and markdown', async () => {
    expect(await render('line', NAMES, [ROWS.slice(0, 2)])).toBe(
      '  id = 1\nname = Zürich\n   x = NULL\n\n  id = 200\nname = 東京\n   x = 1.5\n',
    );
    expect(await render('list', NAMES, [ROWS.slice(0, 2)])).toBe('id|name|x\n1|Zürich|\n200|東京|1.5\n');
    expect(await render('column', ['a', 'b'], [[[1n, 'x']]])).toBe('a  b\n-  -\n1  x\n');
    expect(await render('markdown', ['a'], [[['p|q\nr']]])).toBe(
      '| a         |\n| --------- |\n| p\\|q<br>r |\n',
    );
  });

  it('all can leave out headers and name NULL otherwise', async () => {
    for (const mode of MODES) {
      const text = await render(mode, ['col'], [[[null], ['v']]], { headers: false, nullText: '~' });
      if (mode !== 'json' && mode !== 'line') expect(text).not.toContain('col');
      if (mode !== 'json') expect(text).toContain('~');
    }
  });
});

describe('csv', () => {
  it('reads back what it wrote, however it comes in pieces', async () => {
    const field = fc.option(fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', '\r', ' ', 'é') }), {
      nil: null,
    });
    const table = fc
      .integer({ min: 2, max: 4 })
      .chain((width) => fc.array(fc.array(field, { minLength: width, maxLength: width }), { maxLength: 6 }));
    await fc.assert(
      fc.asyncProperty(table, fc.integer({ min: 1, max: 7 }), async (rows, step) => {
        const text = await render('csv', [], [rows], { headers: false });
        const parser = new CsvParser();
        const read = [];
        for (let i = 0; i < text.length; i += step) read.push(...parser.push(text.slice(i, i + step)));
        read.push(...parser.end());
        expect(read.map(({ fields }) => fields)).toEqual(rows);
      }),
    );
  });

  it('reads what others write', () => {
    const parser = new CsvParser();
    const rows = [...parser.push('\ufeffa,b\r\n"x ""y""",\r\n\r\n"1\r\n2",3'), ...parser.end()];
    expect(rows).toEqual([
      { fields: ['a', 'b'], line: 1 },
      { fields: ['x "y"', null], line: 2 },
      { fields: ['1\r\n2', '3'], line: 4 },
    ]);
  });

  it('refuses what is broken, with the line', () => {
    expect(() => new CsvParser().push('a\n"b"c\n')).toThrow(/line 2/);
    const open = new CsvParser();
    open.push('a\n"b\n');
    expect(() => open.end()).toThrow(/line 2 is never closed/);
  });
});

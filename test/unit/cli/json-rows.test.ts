/** Rows out of JSON files, cut anywhere, checked against JSON.parse. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseExact } from '../../../cli/shell/import/json-exact.ts';
import { JsonRowParser } from '../../../cli/shell/import/json.ts';

function rowsOf(text: string, step: number): unknown[] {
  const parser = new JsonRowParser();
  const rows = [];
  for (let i = 0; i < text.length; i += step) rows.push(...parser.push(text.slice(i, i + step)));
  parser.end();
  return rows.map(({ object }) => object);
}

/** As JSON.parse gives it: exact integers rounded to doubles. */
function rounded(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(rounded);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, rounded(inner)]));
}

describe('rows of JSON', () => {
  const objects = fc.array(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })), { maxLength: 5 });

  it('are the elements of an array, whatever pieces it comes in', () => {
    fc.assert(
      fc.property(objects, fc.integer({ min: 1, max: 9 }), fc.constantFrom(0, 2), (values, step, indent) => {
        const text = JSON.stringify(values, null, indent);
        expect(rounded(rowsOf(text, step))).toEqual(JSON.parse(text));
      }),
    );
  });

  it('are the objects of lines', () => {
    fc.assert(
      fc.property(objects, fc.integer({ min: 1, max: 9 }), (values, step) => {
        if (values.length === 0) return;
        const text = values.map((value) => JSON.stringify(value)).join('\n');
        expect(rounded(rowsOf(text, step))).toEqual(values.map((value) => JSON.parse(JSON.stringify(value))));
      }),
    );
  });

  it.each([
    ['[{"a":1}', /not closed/],
    ['{"a":1', /not closed/],
    ['', /no JSON/],
    ['[1]', /where an object should begin/],
    ['[{"a":1},]', /where it should not/],
    ['[{"a":1} {"a":2}]', /comma is missing/],
    ['[,{"a":1}]', /comma/],
    ['[{"a":1}] x', /follows the end/],
    ['[\n{"a":1},\n{"a" 1}]', /line 3/],
    ['hello', /"h" stands where/],
  ])('%j is refused', (text, message) => {
    expect(() => rowsOf(text, 3)).toThrow(message);
  });
});

describe('exact integers', () => {
  it('keep all digits', () => {
    expect(rowsOf('[{"a":9007199254740993,"b":[-12345678901234567890],"c":1.5e300,"d":12}]', 4)).toEqual([
      { a: 9007199254740993n, b: [-12345678901234567890n], c: 1.5e300, d: 12 },
    ]);
  });

  it('agree with JSON.parse otherwise', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(rounded(parseExact(text))).toEqual(JSON.parse(text));
      }),
    );
  });

  it.each(['', '{', '[1,]', '{"a":}', '01', '"\\x"', '1 2', 'nul', `${'['.repeat(300)}${']'.repeat(300)}`])(
    'refuse %s as JSON.parse does',
    (text) => {
      expect(() => parseExact(text)).toThrow(SyntaxError);
    },
  );
});

/** SQL literals read back as the same value by SQLite itself; cells and widths are what people see. */
import sqlite3InitModule from '@sqlite.org/sqlite-wasm';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { cellText, quoteName, realText, sqlLiteral } from '../../../cli/shell/values.ts';
import { displayWidth, padEnd, printable } from '../../../cli/terminal/width.ts';

const sqlite3 = await sqlite3InitModule();
const db = new sqlite3.oo1.DB(':memory:');
afterAll(() => db.close());

const readBack = (literal: string): unknown => {
  const [row] = db.selectArrays(`SELECT ${literal}`);
  return row?.[0];
};

describe('literals', () => {
  it('keep every text, line ends and quotes too, and never hold a line end themselves', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', "'", '"', '\n', '\r', '\\', '(', ')', 'n', '0', 'é', '中', '😀', ';'),
    });
    fc.assert(
      fc.property(text, (value) => {
        const literal = sqlLiteral(value);
        expect(literal).not.toMatch(/[\r\n]/);
        expect(readBack(literal)).toBe(value);
      }),
    );
  });

  it('keep a NUL within a text', () => {
    expect(db.selectValue(`SELECT hex(${sqlLiteral('a\0b')})`)).toBe('610062');
    expect(db.selectValue(`SELECT typeof(${sqlLiteral('a\0b')})`)).toBe('text');
  });

  it('keep every real and its type', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), (value) => {
        expect(db.selectValue(`SELECT typeof(${sqlLiteral(value)})`)).toBe('real');
        expect(Object.is(readBack(sqlLiteral(value)), value)).toBe(true);
      }),
      { examples: [[-0], [0], [Number.MIN_VALUE], [Number.MAX_VALUE], [Number.POSITIVE_INFINITY]] },
    );
  });

  it('keep every integer of 64 bits', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        expect(db.selectValue(`SELECT typeof(${sqlLiteral(value)}) || ' ' || (${sqlLiteral(value)})`)).toBe(
          `integer ${value}`,
        );
      }),
    );
  });

  it('keep blobs and NULL', () => {
    expect(readBack(sqlLiteral(new Uint8Array([0, 255, 16])))).toEqual(new Uint8Array([0, 255, 16]));
    expect(readBack(sqlLiteral(new Uint8Array(0)))).toEqual(new Uint8Array(0));
    expect(readBack(sqlLiteral(null))).toBeNull();
  });
});

describe('names', () => {
  it.each([
    ['plain', 'plain'],
    ['order', '"order"'],
    ['two words', '"two words"'],
    ['qu"ote', '"qu""ote"'],
    ['1st', '"1st"'],
  ])('%s becomes %s', (name, quoted) => {
    expect(quoteName(name)).toBe(quoted);
  });
});

describe('cells', () => {
  it('tell NULL from the text NULL', () => {
    expect(cellText(null, 'NULL')).toBe('NULL');
    expect(cellText('NULL', 'NULL')).toBe("'NULL'");
    expect(cellText('', '')).toBe('');
  });

  it('show reals as reals', () => {
    expect([1, -0, 1e21, 0.1, Number.POSITIVE_INFINITY].map(realText)).toEqual([
      '1.0',
      '-0.0',
      '1e+21',
      '0.1',
      'Inf',
    ]);
  });

  it('let no control character through', () => {
    expect(printable('a\u001b[31mb\r\u0007\u202e')).toBe('a\\x1b[31mb\\r\\x07\\u202e');
    expect(printable('a\n\tb')).toBe('a\n\tb');
  });

  it.each([
    ['abc', 3],
    ['Zürich', 6],
    ['中文', 4],
    ['e\u0301', 1],
    ['😀', 2],
    ['👩‍👩‍👧', 2],
    ['한국', 4],
    ['ｆｕｌｌ', 8],
    ['❤️', 2],
  ])('%s is %d columns wide', (text, width) => {
    expect(displayWidth(text)).toBe(width);
    expect(padEnd(text, 10)).toBe(text + ' '.repeat(10 - width));
  });
});

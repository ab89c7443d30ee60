/** Where statements end: as sqlite3_complete() has it, checked against that function itself. */
import sqlite3InitModule from '@sqlite.org/sqlite-wasm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SqlSplitter } from '../../../cli/shell/splitter.ts';

const { capi } = await sqlite3InitModule();

function split(text: string): { statements: string[]; rest: string | null } {
  const splitter = new SqlSplitter();
  const statements = text.split('\n').flatMap((line) => splitter.pushLine(line).map(({ text: sql }) => sql));
  return { statements, rest: splitter.finish()?.statement.text ?? null };
}

describe('statements of a script', () => {
  it.each([
    ['select 1; select 2;', ['select 1;', 'select 2;']],
    ['select\n1\n;', ['select\n1\n;']],
    ["select ';', 'it''s;', \";\", [;], `;`;", ["select ';', 'it''s;', \";\", [;], `;`;"]],
    ["select 'a\n;b';", ["select 'a\n;b';"]],
    ['-- nothing; here\nselect 1; -- nor; here', ['select 1;']],
    ['/* ; \n ; */ select 1;', ['/* ; \n ; */ select 1;']],
    [';;; ;select 1;', ['select 1;']],
    [
      'create trigger t after insert on a begin select 1; select 2; end; select 3;',
      ['create trigger t after insert on a begin select 1; select 2; end;', 'select 3;'],
    ],
    [
      'CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET end=1; END;select 1;',
      ['CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET end=1; END;', 'select 1;'],
    ],
    ['explain create trigger t begin a; end;', ['explain create trigger t begin a; end;']],
    ['create table trigger_log(a); select 1;', ['create table trigger_log(a);', 'select 1;']],
  ])('%j', (text, statements) => {
    expect(split(text)).toEqual({ statements, rest: null });
  });

  it('gives what lacks its semicolon at the end', () => {
    expect(split('select 1;\nselect 2')).toEqual({ statements: ['select 1;'], rest: 'select 2' });
    expect(split('select 1; -- only a comment').rest).toBeNull();
  });

  it('tells an unclosed string or comment', () => {
    for (const text of ["select 'a", 'select "a', 'select /* a', 'select [a', 'select `a']) {
      const splitter = new SqlSplitter();
      splitter.pushLine(text);
      expect(splitter.openDelimiter).not.toBeNull();
      expect(splitter.finish()).toMatchObject({ isUnterminated: true });
      expect(splitter.isPending).toBe(false);
    }
  });

  it('knows the line of each statement', () => {
    const splitter = new SqlSplitter();
    const lines = ['-- head', '', 'select 1; select', '2;', '  select 3;'];
    const found = lines.flatMap((line) => splitter.pushLine(line).map((statement) => statement.line));
    expect(found).toEqual([3, 3, 5]);
  });

  it('agrees with sqlite3_complete on any text of SQL-like tokens', () => {
    const token = fc.constantFrom(
      ...[';', ';', "'", '"', '`', '[', ']', '--', '/*', '*/', '\n', ' ', ' '],
      ...[
        'create',
        'TEMP',
        'temporary',
        'trigger',
        'end',
        'END',
        'explain',
        'x',
        'é',
        '1',
        '(',
        '-',
        '/',
        '$a',
        'endx',
      ],
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 25 }), (tokens) => {
        const text = tokens.join('');
        const splitter = new SqlSplitter();
        // A text is complete when its last statement is: nothing pends, and a statement came last.
        let sawSemicolon = false;
        for (const line of text.split('\n')) {
          splitter.pushLine(line);
          sawSemicolon ||= line.includes(';');
        }
        if (!sawSemicolon) return;
        // Without any token before, sqlite3_complete says "complete" only if a semicolon stood there; that is no statement here.
        const complete = capi.sqlite3_complete(text) === 1;
        if (complete) expect(splitter.isPending, text).toBe(false);
        else if (splitter.openDelimiter === null && /;[^;]*$/.test(text)) {
          // Not complete: something pends, unless what is open is nothing but blanks, comments, or an empty statement.
          const pends = splitter.isPending;
          if (!pends) expect(capi.sqlite3_complete(`${text}\n;`), text).toBe(1);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

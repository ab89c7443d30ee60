/** The shell against a Hrana server: scripts, commands, imports, dumps, interrupts. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { query } from '../../cli/client/sql-client.ts';
import { SqlSplitter } from '../../cli/shell/splitter.ts';
import { startTestServer, type TestServer } from '../support/hrana-server.ts';
import { ShellHarness } from '../support/shell-harness.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-test-'));
const file = (name: string, content: string): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
let server: TestServer;
let volumes = 0;
let here: ShellHarness;

beforeAll(async () => {
  server = await startTestServer({ volumes: Array.from({ length: 80 }, (_, i) => `s${i}`) });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const fresh = (settings = {}, isInteractive = false) =>
  ShellHarness.open(`${server.url}/s${volumes++}`, settings, isInteractive);

beforeEach(async () => {
  here?.close();
  here = await fresh({ mode: 'list', headers: false });
});

describe('scripts', () => {
  it('run statements in order and give their results in order', async () => {
    const { ok, out, err } = await here.script(
      "create table t(a, b);\ninsert into t values (1, 'x;y'), (2, null);\nselect * from t;\nselect count(*) from t",
    );
    expect({ ok, out, err }).toEqual({ ok: true, out: '1|x;y\n2|\n2\n', err: '' });
  });

  it('stop at the first error, point at it, and leave the rest undone', async () => {
    const { ok, out, err } = await here.script(
      'create table t(a);\nselect 1;\n\nselect 2 fro t\n where a;\ninsert into t values(1);\nselect count(*) from t;',
    );
    expect(ok).toBe(false);
    expect(out).toBe('1\n');
    expect(err).toContain('line 4: Error: near "t": syntax error');
    expect(err).toContain('  select 2 fro t\n               ^\n');
    expect((await here.script('select count(*) from t;')).out).toBe('0\n');
    expect(here.shell.hasFailed).toBe(true);
  });

  it('go on behind errors with .bail off', async () => {
    const { ok, out } = await here.script(
      '.bail off\nselect 1;\nselect nope;\nselect 2;\nselect nope;\n.nope\nselect 3;',
    );
    expect(ok).toBe(true);
    expect(out).toBe('1\n2\n3\n');
    expect(here.shell.hasFailed).toBe(true);
  });

  it('are sent in batches, but behave as one by one', async () => {
    const inserts = Array.from({ length: 500 }, (_, i) => `insert into t values(${i});`);
    inserts[300] = 'insert into t values(7);';
    const { ok, err } = await here.script(`create table t(a unique);\n${inserts.join('\n')}`);
    expect(ok).toBe(false);
    expect(err).toContain('line 302: Error: UNIQUE constraint failed: t.a (SQLITE_CONSTRAINT_UNIQUE)');
    expect((await here.script('select count(*) from t;')).out).toBe('300\n');
  });

  it('come in any pieces', async () => {
    const text = "select 'a\nb';select 2;\n.print hello 'two words'\n";
    here.out = '';
    await here.shell.runScript(text.split(''), null);
    expect(here.out).toBe('a\nb\n2\nhello two words\n');
  });

  it('tell an unfinished string, and do not run it', async () => {
    const { ok, err } = await here.script("create table t(a);\ninsert into t values('x");
    expect(ok).toBe(false);
    expect(err).toContain('line 2: Error: the input ends within a string');
  });

  it('keep a transaction over statements and know it', async () => {
    await here.script('create table t(a); begin; insert into t values(1);');
    expect(here.shell.client.isAutocommit).toBe(false);
    await here.script('rollback;');
    expect(here.shell.client.isAutocommit).toBe(true);
    expect((await here.script('select count(*) from t;')).out).toBe('0\n');
  });

  it('read files within files, and stop at their errors', async () => {
    const inner = file('inner.sql', 'select 1;\nselect nope;\nselect 2;\n');
    const outer = file('outer.sql', `.read '${inner}'\nselect 3;\n`);
    const { ok, out, err } = await here.script(`.read ${outer}\nselect 4;`);
    expect({ ok, out }).toEqual({ ok: false, out: '1\n' });
    expect(err).toBe(`${inner}:2: Error: no such column: nope (SQLITE_ERROR)\n  select nope;\n         ^\n`);
    const self = file('self.sql', '');
    writeFileSync(self, `.read ${self}`);
    expect((await here.script(`.read ${self}`)).err).toContain('deep');
    expect((await here.script('.read /nowhere/at/all')).err).toContain('IO_ERROR');
  });

  it('end at .quit', async () => {
    expect((await here.script('select 1;\n.quit\nselect 2;')).out).toBe('1\n');
    expect(here.shell.isQuitting).toBe(true);
  });
});

describe('commands', () => {
  const schema =
    'create table cities(name text, n int);create index cities_n on cities(n);create view v as select 1;create virtual table f using fts5(x);';

  it('list tables, indexes and definitions, without shadow tables', async () => {
    await here.script(schema);
    expect((await here.script('.tables')).out).toBe('cities  f       v\n');
    expect((await here.script('.tables ci')).out).toBe('cities\n');
    expect((await here.script('.tables %it%')).out).toBe('cities\n');
    expect((await here.script('.indexes')).out).toBe('cities_n\n');
    expect((await here.script('.schema cities')).out).toBe(
      'CREATE TABLE cities(name text, n int);\nCREATE INDEX cities_n on cities(n);\n',
    );
    expect((await here.script('.schema')).out).not.toContain('f_data');
  });

  it('change how results look', async () => {
    expect((await here.script('.mode json\nselect 1 a;')).out).toBe('[{"a":1}]\n');
    expect((await here.script('.mode list ,\n.headers on\n.nullvalue ~\nselect 1 a, null b;')).out).toBe(
      'a,b\n1,~\n',
    );
    expect((await here.script('.timer on\nselect 1;')).out).toMatch(/1\nRun time: [\d.]+ ms/);
  });

  it.each([
    ['.mode tabel', 'usage: .mode'],
    ['.nope', '".nope" is not a command'],
    ['.import x', 'usage: .import'],
    ['.timer maybe', 'usage: .timer on|off'],
    [".print 'a", 'a quote is not closed'],
    ['.open NOT-A-NAME', 'BAD_NAME'],
    ['.open nothere', 'VOLUME_NOT_FOUND'],
    ['.import /nowhere.csv t', 'IO_ERROR'],
    ['.import /nowhere.txt t', 'format of /nowhere.txt is not known'],
  ])('%s is refused', async (line, message) => {
    const { ok, err } = await here.script(line);
    expect(ok).toBe(false);
    expect(err).toContain(message);
  });

  it('complete from a beginning that says enough', async () => {
    expect((await here.script('.databas')).err).not.toContain('not a command');
    expect((await here.script('.he')).err).toContain('.headers or .help');
    expect((await here.script('.hel')).out).toContain('.import FILE TABLE');
  });

  it('open another volume', async () => {
    await here.script('create table only_here(a);');
    expect((await here.script('.open s79\n.tables')).out).toBe('');
    expect(here.shell.target.volume).toBe('s79');
  });
});

describe('typing', () => {
  it('tells row counts and changes', async () => {
    const typing = await fresh({}, true);
    const splitter = new SqlSplitter();
    for (const line of ['create table t(a);', 'insert into t', 'values (1),(2);', 'select * from t;']) {
      await typing.shell.typeLine(line, splitter);
    }
    expect(typing.out).toBe('2 rows changed\n a\n───\n 1\n 2\n(2 rows)\n');
    await typing.shell.typeLine('selekt; select 1;', splitter);
    expect(typing.err).toContain('near "selekt"');
    expect(typing.out).not.toContain('1\n(1 row)');
    typing.close();
  });

  it('is interrupted, and goes on; an open transaction is rolled back, and that is said', async () => {
    const endless = 'with recursive c(n) as (select 1 union all select n+1 from c) select n from c;';
    await here.script('create table t(a); begin; insert into t values(1);');
    const running = here.script(endless);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await here.shell.interrupt();
    expect(await running).toMatchObject({ ok: false });
    expect(here.err).toContain('Interrupted');
    expect(here.err).toContain('rolled back');
    expect((await here.script('select count(*) from t;')).out).toBe('0\n');
  });

  it('streams results larger than memory should hold, at the reader’s pace', async () => {
    let rows = 0;
    await here.shell.client.run(
      [
        {
          sql: 'with recursive c(n) as (select 1 union all select n+1 from c where n < 50000) select n from c',
        },
      ],
      async (event) => {
        if (event.kind !== 'rows') return;
        rows += event.rows.length;
        expect(event.rows.length).toBeLessThanOrEqual(1_000);
        await new Promise((resolve) => setImmediate(resolve));
      },
    );
    expect(rows).toBe(50_000);
  });
});

describe('.import', () => {
  const rowsOf = (sql: string) => query(here.shell.client, sql);

  it('makes a table that holds CSV unchanged', async () => {
    const path = file(
      'a.csv',
      'id,zip,price,big,note\n1,00501,1.5,12345678901234567890,"a ""b"""\n2,90210,2,1,\n3,,1e3,,""\n',
    );
    const { ok, out } = await here.script(`.import ${path} t`);
    expect(ok).toBe(true);
    expect(out).toMatch(/^3 rows into t \(new table\)/);
    expect(await rowsOf('select sql from sqlite_schema')).toEqual([
      ['CREATE TABLE t (\n  id INTEGER,\n  zip TEXT,\n  price REAL,\n  big TEXT,\n  note TEXT\n)'],
    ]);
    expect(await rowsOf('select * from t')).toEqual([
      [1n, '00501', 1.5, '12345678901234567890', 'a "b"'],
      [2n, '90210', 2, '1', null],
      [3n, null, 1000, null, ''],
    ]);
  });

  it('makes a table that holds JSON unchanged', async () => {
    const path = file(
      'a.json',
      '[{"n":1,"r":1,"t":"007","m":1,"b":true,"o":{"x":[1]},"big":9007199254740993},{"n":-2,"r":0.5,"t":null,"m":"x","extra":"é"}]',
    );
    await here.script(`.import ${path} t`);
    expect(await rowsOf('select n,r,t,m,b,o,big,extra,typeof(r),typeof(m) from t')).toEqual([
      [1n, 1, '007', 1n, 1n, '{"x":[1]}', 9007199254740993n, null, 'real', 'integer'],
      [-2n, 0.5, null, 'x', null, null, null, 'é', 'real', 'text'],
    ]);
  });

  it('fills a table by the names of the header, or by position', async () => {
    await here.script('create table t(a integer primary key, b text default 1, c as (a + 1));');
    expect((await here.script(`.import ${file('h.csv', 'B,a\nx,1\n')} t`)).ok).toBe(true);
    expect((await here.script(`.import ${file('p.csv', '2,y\n')} t`)).ok).toBe(true);
    expect((await here.script(`.import ${file('n.jsonl', '{"a":3}\n{"a":4,"B":"z"}\n')} t`)).ok).toBe(true);
    expect(await rowsOf('select * from t')).toEqual([
      [1n, 'x', 2n],
      [2n, 'y', 3n],
      [3n, null, 4n],
      [4n, 'z', 5n],
    ]);
  });

  it.each([
    ['ragged.csv', 'a,b\n1,2\n3\n', 'ragged.csv:3: the row has 1 fields'],
    ['twice.csv', 'a,A\n1,2\n', 'names "A" twice'],
    ['none.csv', '', 'holds no rows'],
    ['bad.json', '[{"a":1},{"a":]', 'line 1'],
    ['wide.json', '[{"a":1,"nope":2}]', 'no column "nope"'],
    ['huge.json', '[{"a":92233720368547758080}]', 'does not fit into 64 bits'],
  ])('refuses %s before anything is written', async (name, content, message) => {
    await here.script('create table old(a);');
    const { ok, err } = await here.script(
      `.import ${file(name, content)} ${name === 'wide.json' ? 'old' : 'new'}`,
    );
    expect(ok).toBe(false);
    expect(err).toContain(message);
    expect(await rowsOf("select count(*) from sqlite_schema where name = 'new'")).toEqual([[0n]]);
    expect(await rowsOf('select count(*) from old')).toEqual([[0n]]);
  });

  it('refuses what is not UTF-8', async () => {
    const path = join(folder, 'latin.csv');
    writeFileSync(path, Buffer.from('a\nZ\xfcrich\n', 'latin1'));
    expect((await here.script(`.import ${path} t`)).err).toContain('is not UTF-8');
  });

  it('rolls back the transaction that fails and says what stays', async () => {
    const lines = Array.from({ length: 12_000 }, (_, i) => (i === 11_000 ? '5' : String(i)));
    await here.script('create table t(a integer unique);');
    const { ok, err } = await here.script(`.import ${file('dup.csv', `a\n${lines.join('\n')}\n`)} t`);
    expect(ok).toBe(false);
    expect(err).toContain(
      'rows of lines 10002 to 12001 could not be inserted: UNIQUE constraint failed: t.a',
    );
    expect(err).toContain('The 10000 rows before them are in the table');
    expect(here.shell.client.isAutocommit).toBe(true);
    expect(await rowsOf('select count(*) from t')).toEqual([[10_000n]]);
  });

  it('belongs to an open transaction', async () => {
    await here.script(`begin;\n.import ${file('tx.csv', 'a\n1\n2\n')} t\nrollback;`);
    expect((await here.script('.tables')).out).toBe('');
  });
});

describe('.dump', () => {
  const content = `
    create table "odd name" ("a b" text, n int generated always as (length("a b")) stored, r real, bl blob);
    insert into "odd name"("a b", r, bl) values('multi
line', 1e300, x'00ff'), ('cr'||char(13)||char(10)||'lf \\n', -1.5, zeroblob(3)), ('nul'||char(0)||'x', 9e999, null), ('quote''s "x"', 0.1, x'');
    create table ai (id integer primary key autoincrement, v);
    insert into ai(v) values(1),(9223372036854775807),(-9223372036854775808),(1.0);
    delete from ai where id = 4;
    create table wr(k text primary key, v) without rowid;
    insert into wr values('b', 1), ('a', 2);
    create unique index ai_v on ai(v) where v > 0;
    create view vw as select name from src;
    create table src(name text);
    insert into src values ('Zürich west'), ('Bern');
    create table log(t);
    create trigger tr after insert on src begin insert into log values (new.name); select ';'; end;
    create virtual table own using fts5(a, b unindexed, tokenize='porter');
    insert into own values('running dogs', 'x'), ('it''s', null);
    insert into own(own, rank) values('rank', 'bm25(10.0)');
    create virtual table ext using fts5(name, content='src');
    insert into ext(ext) values('rebuild');
    create virtual table bare using fts5(t, content='');
    insert into bare(rowid, t) values (5, 'contentless text');
    create virtual table rt using rtree(id, x0, x1, +note);
    insert into rt values(1, 0.25, 5.5, 'n'),(2,-3,4,null);
    analyze;`;
  const questions = [
    'select "a b", hex("a b"), n, r, bl from "odd name"',
    'select * from ai',
    'select * from sqlite_sequence',
    'select * from wr',
    'select * from src',
    'select * from log',
    'select rowid, * from own',
    "select a from own('run')",
    "select rowid, name from ext('zürich')",
    "select rowid from bare('contentless')",
    'select * from rt order by id',
    'select * from sqlite_stat1 order by 1, 2',
    "select k, v from own_config where k <> 'version'",
    "select type, name, sql from sqlite_schema where name not like 'sqlite_autoindex%' order by name",
  ];

  it('makes the same database again', async () => {
    expect((await here.script(content)).err).toBe('');
    const path = join(folder, 'dump.sql');
    expect((await here.script(`.dump > ${path}`)).err).toBe('');
    const copy = await fresh();
    expect((await copy.script(`.read ${path}`)).err).toBe('');
    for (const sql of questions) {
      expect(await query(copy.shell.client, sql), sql).toEqual(await query(here.shell.client, sql));
    }
    expect(await query(copy.shell.client, 'pragma integrity_check')).toEqual([['ok']]);
    // And a dump of the copy is the same text.
    const again = await copy.script('.dump');
    expect(again.out).toBe(readFileSync(path, 'utf8'));
    copy.close();
  });

  it('of one table is that table with its index and trigger', async () => {
    await here.script(
      'create table a(x); create index ax on a(x); create table b(y); insert into a values(1);',
    );
    expect((await here.script('.dump a')).out).toBe(
      'PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE a(x);\nINSERT INTO a VALUES(1);\nCREATE INDEX ax on a(x);\nCOMMIT;\n',
    );
    expect(here.shell.client.isAutocommit).toBe(true);
  });

  it('to a place that cannot be written says so', async () => {
    expect((await here.script('.dump > /nowhere/x.sql')).err).toContain('ENOENT');
  });
});

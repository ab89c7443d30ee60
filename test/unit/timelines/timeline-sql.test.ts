import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProgramEvent, SqlValue, Step } from '../../../compute-node/engine/api.ts';
import { SqlFailure } from '../../../compute-node/engine/api.ts';
import { TimelineConnection } from '../../../compute-node/timelines/sql/connection.ts';
import { splitScript, timelineStatementKind } from '../../../compute-node/timelines/sql/find.ts';
import { parseTimelineStatement } from '../../../compute-node/timelines/sql/parse.ts';
import { parseMoment } from '../../../src/timeline/moment.ts';
import { MemoryEngine } from '../../support/memory-engine.ts';
import { MemoryTimelines } from '../../support/memory-timelines.ts';

const parse = (sql: string, args: SqlValue[] = [], namedArgs: { name: string; value: SqlValue }[] = []) =>
  parseTimelineStatement({ sql, args, namedArgs });

describe('statements about timelines', () => {
  it('are told from SQL by their first words', () => {
    for (const sql of [
      'create clone dev',
      ' -- a branch\n CREATE /* now */ CLONE dev',
      ';; drop volume dev;',
      'DROP SNAPSHOT s',
      "backtrack to '-5m'",
      'Show Volumes',
      'show snapshots of dev',
    ]) {
      expect(timelineStatementKind(sql), sql).not.toBeNull();
    }
    for (const sql of [
      'SELECT 1',
      'create table clone(a)',
      'create; clone x',
      'drop table volume',
      'show tables',
      'insert into backtrack values (1)',
      "select 'create clone dev'",
      '-- create clone dev',
      '',
    ]) {
      expect(timelineStatementKind(sql), sql).toBeNull();
    }
  });

  it('are parsed in all their forms', () => {
    expect(parse('CREATE CLONE dev')).toEqual({ kind: 'create-clone', name: 'dev', from: null, at: null });
    expect(parse(`create clone "my-dev" from main at '-15m' ;`)).toEqual({
      kind: 'create-clone',
      name: 'my-dev',
      from: 'main',
      at: '-15m',
    });
    expect(parse('create clone my-dev from eu-main at before-release')).toEqual({
      kind: 'create-clone',
      name: 'my-dev',
      from: 'eu-main',
      at: 'before-release',
    });
    expect(parse('create clone :n from ? at @when', ['main'], named({ n: 'dev', '@when': 'lsn:7' }))).toEqual(
      { kind: 'create-clone', name: 'dev', from: 'main', at: 'lsn:7' },
    );
    expect(parse('create clone ? at ?1', ['s'])).toMatchObject({ name: 's', at: 's' });
    expect(parse(`CREATE SNAPSHOT s OF dev AT 'it''s'`)).toEqual({
      kind: 'create-snapshot',
      name: 's',
      of: 'dev',
      at: "it's",
    });
    expect(parse('drop volume [dev]')).toEqual({ kind: 'drop-volume', name: 'dev' });
    expect(parse('drop snapshot s')).toEqual({ kind: 'drop-snapshot', name: 's', of: null });
    expect(parse(`backtrack to '-5m'`)).toEqual({ kind: 'backtrack', volume: null, to: '-5m' });
    expect(parse(`backtrack "to" /* it */ to '-5m' -- done`)).toEqual({
      kind: 'backtrack',
      volume: 'to',
      to: '-5m',
    });
    expect(parse('show volumes')).toEqual({ kind: 'show-volumes' });
    expect(parse('show snapshots of dev')).toEqual({ kind: 'show-snapshots', of: 'dev' });
  });

  it.each([
    ['create clone', 12, 'incomplete input: the name of the new volume expected'],
    ['create clone dev of main', 17, 'near "of": the end of the statement expected, as in CREATE CLONE'],
    ['create clone dev from', 21, 'incomplete input: the name of a volume expected'],
    ['create clone dev at -15m', 20, 'near "-": a moment within quotes'],
    ['create clone dev from main@-15m', 26, `near "@": a moment is named by AT 'moment', not by @ expected`],
    ['create clone dev from main@lsn:5', 26, 'near "@lsn"'],
    ['drop volume', 11, 'incomplete input'],
    ['drop volume dev force', 16, 'near "force"'],
    ['backtrack', 9, 'incomplete input: the name of a volume, or TO expected'],
    [`backtrack main '-5m'`, 15, 'near "-5m": TO expected'],
    ['show volumes2', 5, 'near "volumes2": VOLUMES expected'],
    ['/* ü */ show snapshots for x', 24, 'near "for"'],
    [`create clone dev; select 1`, 18, 'near "select"'],
    [`create clone 'dev`, 13, `near "'"`],
  ])('tell what is wrong in %s, and where', (sql, offset, message) => {
    let failure: unknown;
    try {
      parse(sql);
    } catch (error) {
      failure = error;
    }
    expect(failure).toBeInstanceOf(SqlFailure);
    expect((failure as SqlFailure).error).toMatchObject({ code: 'SQLITE_ERROR', offset });
    expect((failure as SqlFailure).error.message).toContain(message);
  });

  it('take only texts for parameters', () => {
    expect(() => parse('create clone ?', [7n])).toThrow('a value that is not text');
    expect(() => parse('create clone :n')).toThrow('parameter :n has no value');
  });

  it('are found in scripts, with what lies between left whole', () => {
    const trigger =
      "create trigger t after insert on a begin insert into b values ('; show volumes;'); delete from c; end;";
    const script = `create table a(x);${trigger}\nshow volumes; -- drop volume x;\nselect 'é';backtrack to '-1m'; select 2`;
    const parts = splitScript(script)!;
    expect(parts.map(({ kind, text }) => [kind, text.trim()])).toEqual([
      ['sql', `create table a(x);${trigger}`],
      ['timeline', 'show volumes;'],
      ['sql', "-- drop volume x;\nselect 'é';"],
      ['timeline', "backtrack to '-1m';"],
      ['sql', 'select 2'],
    ]);
    for (const { text, offset } of parts) {
      expect(Buffer.from(script).subarray(offset).toString().startsWith(text)).toBe(true);
    }
    expect(splitScript("select 1; select 'show volumes'")).toBeNull();
    expect(splitScript('select volume from t')).toBeNull();
  });

  it('cost no more than their length to look for', () => {
    const script = `${'['.repeat(2_000_000)} show volumes ${"'".repeat(1_000_001)}`;
    expect(splitScript(script)).toBeNull();
  });
});

function named(values: Record<string, SqlValue>): { name: string; value: SqlValue }[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

describe('a connection with timelines', () => {
  let engine: MemoryEngine;
  let timelines: MemoryTimelines;
  let connection: TimelineConnection;

  const open = (moment: string | null = null) =>
    TimelineConnection.open(() => engine.connect({ readonly: false }), {
      timelines,
      volume: 'main',
      moment: moment === null ? null : parseMoment(moment),
    });

  beforeEach(async () => {
    engine = new MemoryEngine();
    timelines = new MemoryTimelines(['main', 'other']);
    connection = await open();
  });

  afterEach(async () => {
    await connection.close();
    await engine.close();
  });

  async function run(...steps: (string | Partial<Step>)[]): Promise<ProgramEvent[]> {
    const events: ProgramEvent[] = [];
    await connection.run(
      steps.map((step) => {
        const statement = { sql: '', args: [], namedArgs: [], wantRows: true };
        if (typeof step === 'string') return { statement: { ...statement, sql: step }, condition: null };
        return { statement, condition: null, ...step };
      }),
      { consistency: 'strong', onEvent: (event) => void events.push(event) },
    );
    return events;
  }

  const brief = (events: readonly ProgramEvent[]): unknown[] =>
    events.flatMap((event): unknown[] => {
      if (event.kind === 'rows') return [event.rows];
      if (event.kind === 'step-error') return [`${event.step} ${event.error.code}`];
      return event.kind === 'step-skipped' || event.kind === 'step-end'
        ? [`${event.step} ${event.kind}`]
        : [];
    });

  it('answers each statement with named columns and rows', async () => {
    const rows = async (sql: string) => {
      const events = await run(sql);
      const begin = events.find((event) => event.kind === 'step-begin');
      const columns = begin?.kind === 'step-begin' ? begin.columns.map(({ name }) => name) : [];
      return events
        .flatMap((event) => (event.kind === 'rows' ? event.rows : []))
        .map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
    };
    expect(await rows(`create clone dev at '-40s'`)).toEqual([
      { volume: 'dev', parent: 'main', parent_lsn: 60n, committed_at: '1970-01-01T00:01:00Z' },
    ]);
    expect(await rows('create snapshot s of other')).toEqual([
      { snapshot: 's', volume: 'other', lsn: 100n, committed_at: '1970-01-01T00:01:40Z' },
    ]);
    expect(await rows('show snapshots')).toEqual([]);
    expect(await rows('show snapshots of other')).toHaveLength(1);
    expect(await rows('backtrack other to s')).toMatchObject([{ volume: 'other', lsn: 100n }]);
    expect(await rows('drop snapshot s of other')).toMatchObject([{ snapshot: 's' }]);
    expect(await rows('drop volume other')).toEqual([{ dropped: 'other' }]);
    expect(await rows(`backtrack to 'lsn:50'`)).toEqual([
      {
        volume: 'main',
        lsn: 50n,
        committed_at: '1970-01-01T00:00:50Z',
        undo: 'lsn:100',
        forward_again: "BACKTRACK main TO 'lsn:100'",
      },
    ]);
    expect(await rows(`BACKTRACK main TO 'lsn:100'`)).toMatchObject([{ lsn: 100n, undo: 'lsn:50' }]);
    const tree = await rows('show volumes');
    expect(tree).toMatchObject([
      { volume: 'main', parent: null, parent_lsn: null, own_bytes: 4096n, snapshots: 0n },
      { volume: 'dev', parent: 'main', parent_lsn: 60n, shared_bytes: 8192n },
    ]);
    expect(Object.keys(tree[0]!)).toEqual([
      'volume',
      'id',
      'parent',
      'parent_id',
      'parent_lsn',
      'own_bytes',
      'shared_bytes',
      'window_ms',
      'snapshots',
    ]);
  });

  it('keeps rows back from who wants none', async () => {
    const statement = { sql: 'show volumes', args: [], namedArgs: [], wantRows: false };
    expect(brief(await run({ statement }))).toEqual(['0 step-end']);
  });

  it('runs them in their place among SQL, under conditions of either kind', async () => {
    const statement = (sql: string) => ({ sql, args: [], namedArgs: [], wantRows: true });
    const events = await run(
      'create table t(a)',
      { statement: statement('show snapshots'), condition: { kind: 'ok', step: 0 } },
      { statement: statement('insert into t values (1)'), condition: { kind: 'ok', step: 1 } },
      { statement: statement('select a from t'), condition: { kind: 'ok', step: 2 } },
      { statement: statement('drop volume missing'), condition: { kind: 'ok', step: 3 } },
      { statement: statement('select 5'), condition: { kind: 'ok', step: 4 } },
      { statement: statement('select 6'), condition: { kind: 'error', step: 4 } },
      { statement: statement('show snapshots'), condition: { kind: 'not', cond: { kind: 'ok', step: 6 } } },
      { statement: statement('select 8'), condition: { kind: 'not', cond: { kind: 'ok', step: 7 } } },
    );
    expect(brief(events)).toEqual([
      '0 step-end',
      '1 step-end',
      '2 step-end',
      [[1n]],
      '3 step-end',
      '4 VOLUME_NOT_FOUND',
      '5 step-skipped',
      [[6n]],
      '6 step-end',
      '7 step-skipped',
      [[8n]],
      '8 step-end',
    ]);
  });

  it('refuses them within a transaction, which goes on', async () => {
    const events = await run('create table t(a)', 'begin', 'insert into t values (1)', `backtrack to '-5s'`);
    expect(brief(events).at(-1)).toBe('3 SQLITE_ERROR');
    const last = events.at(-1);
    expect(last?.kind === 'step-error' && last.error.message).toBe(
      'cannot BACKTRACK from within a transaction',
    );
    expect(timelines.calls).toEqual([]);
    expect(brief(await run('show volumes', 'commit', 'select count(*) from t'))).toEqual([
      '0 SQLITE_ERROR',
      '1 step-end',
      [[1n]],
      '2 step-end',
    ]);
  });

  it('hands on what the cluster says, with its code and next step', async () => {
    const error = async (sql: string) => {
      const last = (await run(sql)).at(-1);
      return last?.kind === 'step-error' ? last.error : null;
    };
    expect(await error(`backtrack to 'lsn:3'`)).toMatchObject({
      code: 'GONE',
      nextStep: 'Name a later one.',
    });
    expect(await error(`backtrack to '15 minutes'`)).toMatchObject({ code: 'BAD_REQUEST' });
    expect(await error('create clone other')).toMatchObject({ code: 'VOLUME_EXISTS' });
    expect(await error('create clone Dev')).toMatchObject({ code: 'BAD_NAME' });
    expect(await error(`backtrack main to '${'x'.repeat(5_000)}'`)).toMatchObject({ code: 'TOO_LARGE' });
  });

  it('goes on with another connection after its own volume went back, and only then', async () => {
    expect(engine.connects).toBe(1);
    await run(`backtrack other to '-5s'`, `backtrack to 'lsn:3'`, 'select 1');
    expect(engine.connects).toBe(1);
    await run(`backtrack to '-5s'`, 'select 1', 'select 2');
    expect(engine.connects).toBe(2);
    expect(engine.openConnections).toBe(1);
  });

  it('runs scripts, and tells errors at their place in the whole', async () => {
    await connection.runScript(`create table t(a); create clone dev; insert into t values (1)`, {
      consistency: 'strong',
    });
    expect(timelines.calls).toEqual(['clone main dev']);
    expect(brief(await run('select a from t'))).toEqual([[[1n]], '0 step-end']);
    const failure = await connection
      .runScript(`select 'é'; create clone; select 1`, { consistency: 'strong' })
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(SqlFailure);
    expect((failure as SqlFailure).error.offset).toBe(Buffer.byteLength("select 'é'; create clone"));
    await expect(
      connection.runScript('begin; show volumes; commit', { consistency: 'strong' }),
    ).rejects.toThrow('cannot SHOW VOLUMES from within a transaction');
  });

  it('describes them', async () => {
    const described = await connection.describe('create clone ? from :source');
    expect(described.parameters).toEqual([{ name: null }, { name: ':source' }]);
    expect(described.columns.map(({ name }) => name)).toContain('parent_lsn');
    expect(described.isReadonly).toBe(false);
  });

  it('to a moment means that moment where nothing else is named', async () => {
    await connection.close();
    connection = await open('lsn:70');
    const events = await run('create clone dev', 'create snapshot s of main', `backtrack to '-1s'`);
    expect(brief(events).at(-1)).toBe('2 BAD_REQUEST');
    await run(`backtrack main to 'lsn:60'`);
    expect(timelines.calls).toEqual(['clone main@lsn:70 dev', 'snapshot main s', 'backtrack main@lsn:60']);
  });
});

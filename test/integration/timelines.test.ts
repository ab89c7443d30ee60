/** Clones, snapshots, backtracks and drops, over storage nodes with real files and gRPC, and real SQLite. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ComputeNode } from '../../compute-node/node.ts';
import type { Moment } from '../../src/timeline/moment.ts';
import { parseMoment } from '../../src/timeline/moment.ts';
import { InProcessCluster, runOn, sql } from '../support/in-process-cluster.ts';

let cluster: InProcessCluster;
let node: ComputeNode;

beforeAll(async () => {
  cluster = await InProcessCluster.start();
  node = await cluster.openCompute('c1');
});
afterAll(() => cluster?.destroy());

let made = 0;
/** A volume of several protection groups, with `rows` rows in `t`. */
async function volume(rows = 30): Promise<string> {
  made += 1;
  const name = `vol${made}`;
  await node.createVolume(name);
  await sql(node, name, 'create table t (id integer primary key, text text)');
  await insert(name, rows);
  return name;
}

async function insert(name: string, rows: number): Promise<void> {
  for (let i = 0; i < rows; i += 1)
    await sql(node, name, 'insert into t (text) values (hex(randomblob(1500)))');
}

async function count(name: string, on = node): Promise<number> {
  return Number((await sql(on, name, 'select count(*) from t'))[0]?.[0]);
}

async function check(name: string): Promise<void> {
  expect((await sql(node, name, 'pragma integrity_check'))[0]).toEqual(['ok']);
}

const at = (text: string): Moment => parseMoment(text);
const lsnOf = async (name: string): Promise<number> => (await node.volume(name)).log.vdl;

describe('a clone', () => {
  it('shows its source as it was, is written to, and neither sees the other’s writes', async () => {
    const source = await volume(40);
    const { from } = await node.timelines.clone({ name: source, moment: null }, `${source}-dev`);
    expect(from.point.lsn).toBe(await lsnOf(source));
    expect(await count(`${source}-dev`)).toBe(40);
    await check(`${source}-dev`);
    await insert(`${source}-dev`, 7);
    await sql(node, `${source}-dev`, "update t set text = 'changed' where id <= 10");
    await insert(source, 3);
    expect([await count(source), await count(`${source}-dev`)]).toEqual([43, 47]);
    expect(await sql(node, source, "select count(*) from t where text = 'changed'")).toEqual([[0n]]);
    await check(source);
    await check(`${source}-dev`);
  });

  it('of a clone of a clone, ten deep, shows what each of them added', async () => {
    const root = await volume(5);
    let name = root;
    for (let depth = 1; depth <= 10; depth += 1) {
      const next = `${root}-d${depth}`;
      await node.timelines.clone({ name, moment: null }, next);
      await insert(next, 2);
      name = next;
    }
    for (let depth = 1; depth <= 10; depth += 1) expect(await count(`${root}-d${depth}`)).toBe(5 + 2 * depth);
    await check(name);
    expect(await count(root)).toBe(5);
  });

  it('of an older moment, and of one that is written to all the time', async () => {
    const source = await volume(10);
    const lsn = await lsnOf(source);
    let isOver = false;
    const load = (async () => {
      while (!isOver) await insert(source, 1);
    })();
    await node.timelines.clone({ name: source, moment: at(`lsn:${lsn}`) }, `${source}-old`);
    const { from } = await node.timelines.clone({ name: source, moment: null }, `${source}-now`);
    const seen = await count(`${source}-now`);
    isOver = true;
    await load;
    expect(await count(`${source}-old`)).toBe(10);
    expect(seen).toBeGreaterThanOrEqual(10);
    const { point } = await node.timelines.resolve(source, at(`lsn:${from.point.lsn}`));
    expect(point).toEqual(from.point);
    await check(`${source}-now`);
  });

  it('that was never opened can be cloned and dropped itself', async () => {
    const source = await volume(4);
    await node.timelines.clone({ name: source, moment: null }, `${source}-a`);
    await node.timelines.clone({ name: `${source}-a`, moment: null }, `${source}-b`);
    await node.timelines.clone({ name: source, moment: null }, `${source}-c`);
    await node.timelines.drop(`${source}-c`);
    expect(await count(`${source}-b`)).toBe(4);
  });
});

describe('a backtrack', () => {
  it('goes back, and forward again, as often as one likes; nothing of the undone future is seen', async () => {
    const name = await volume(12);
    const before = await lsnOf(name);
    await sql(node, name, 'delete from t where id > 3');
    await sql(node, name, 'create table other (x)');
    expect(await count(name)).toBe(3);
    const first = await node.timelines.backtrack(name, at(`lsn:${before}`));
    expect(await count(name)).toBe(12);
    await expect(sql(node, name, 'select * from other')).rejects.toThrow(/no such table/);
    await check(name);
    await insert(name, 1);
    expect(await count(name)).toBe(13);
    const second = await node.timelines.backtrack(name, at(first.undo));
    expect(await count(name)).toBe(3);
    expect(await sql(node, name, 'select count(*) from other')).toEqual([[0n]]);
    await node.timelines.backtrack(name, at(second.undo));
    expect(await count(name)).toBe(13);
    await check(name);
    await insert(name, 5);
    expect(await count(name)).toBe(18);
    // Another term goes on from there.
    await cluster.closeCompute(node);
    node = await cluster.openCompute('c1');
    expect(await count(name)).toBe(18);
    await check(name);
  });

  it('tells open sessions, whose next statement works; clones and opened moments notice nothing', async () => {
    const name = await volume(6);
    const lsn = await lsnOf(name);
    await insert(name, 6);
    await node.timelines.clone({ name, moment: null }, `${name}-dev`);
    const moment = await node.timelines.open(name, at(`lsn:${await lsnOf(name)}`));
    const session = await (await node.volume(name)).engine.connect({ readonly: false });
    expect(await runOn(session, 'select count(*) from t')).toEqual([[12n]]);
    await node.timelines.backtrack(name, at(`lsn:${lsn}`));
    await expect(runOn(session, 'select count(*) from t')).rejects.toMatchObject({ code: 'BACKTRACKED' });
    expect(await count(name)).toBe(6);
    expect(await count(`${name}-dev`)).toBe(12);
    const past = await moment.engine.connect({ readonly: true });
    expect(await runOn(past, 'select count(*) from t')).toEqual([[12n]]);
    await past.close();
    moment.release();
  });

  it('of a clone goes back to where it was cloned, not beyond', async () => {
    const source = await volume(5);
    await node.timelines.clone({ name: source, moment: null }, `${source}-dev`);
    await insert(`${source}-dev`, 5);
    const runStart = (await node.volume(`${source}-dev`)).log.past.manifest.runs[0]?.firstLsn ?? 0;
    const { undo } = await node.timelines.backtrack(`${source}-dev`, at(`lsn:${runStart - 1}`));
    expect(await count(`${source}-dev`)).toBe(5);
    await node.timelines.backtrack(`${source}-dev`, at(undo));
    expect(await count(`${source}-dev`)).toBe(10);
    await expect(node.timelines.backtrack(`${source}-dev`, at(`lsn:${runStart - 2}`))).rejects.toMatchObject({
      code: 'CUT',
    });
  });
});

describe('a snapshot', () => {
  it('is listed, read, cloned, backtracked to, and gone when it is dropped', async () => {
    const name = await volume(3);
    const first = await node.timelines.createSnapshot(name, 'before', null);
    await insert(name, 4);
    await node.timelines.createSnapshot(name, 'after', null);
    expect((await node.timelines.snapshots(name)).map((snapshot) => snapshot.name)).toEqual([
      'before',
      'after',
    ]);
    expect((await node.timelines.snapshots(name))[0]).toEqual(first);
    await node.timelines.clone({ name, moment: at('before') }, `${name}-dev`);
    expect(await count(`${name}-dev`)).toBe(3);
    await node.timelines.backtrack(name, at('before'));
    expect(await count(name)).toBe(3);
    await node.timelines.dropSnapshot(name, 'before');
    expect((await node.timelines.snapshots(name)).map((snapshot) => snapshot.name)).toEqual(['after']);
  });

  it('and all else that makes no sense is refused with a code of its own, and changes nothing', async () => {
    const name = await volume(1);
    await node.createVolume('taken');
    await node.timelines.createSnapshot(name, 'one', null);
    const before = [await node.timelines.snapshots(name), (await node.timelines.volumes()).length];
    const refusals: [() => Promise<unknown>, string][] = [
      [() => node.timelines.createSnapshot(name, 'one', null), 'SNAPSHOT_EXISTS'],
      [() => node.timelines.createSnapshot(name, 'No Name', null), 'BAD_NAME'],
      [() => node.timelines.createSnapshot(name, '2026-11-21', null), 'BAD_NAME'],
      [() => node.timelines.createSnapshot('nobody', 'one', null), 'VOLUME_NOT_FOUND'],
      [() => node.timelines.dropSnapshot(name, 'two'), 'SNAPSHOT_NOT_FOUND'],
      [() => node.timelines.clone({ name, moment: null }, name), 'CYCLE'],
      [() => node.timelines.clone({ name, moment: null }, 'taken'), 'VOLUME_EXISTS'],
      [() => node.timelines.clone({ name, moment: null }, 'V1'), 'BAD_NAME'],
      [() => node.timelines.clone({ name: 'nobody', moment: null }, 'x'), 'VOLUME_NOT_FOUND'],
      [() => node.timelines.clone({ name, moment: at('2999-01-01') }, 'x'), 'IN_FUTURE'],
      [() => node.timelines.clone({ name, moment: at('2001-01-01') }, 'x'), 'BEFORE_CREATION'],
      [() => node.timelines.clone({ name, moment: at('lsn:900000000') }, 'x'), 'IN_FUTURE'],
      [() => node.timelines.clone({ name, moment: at('none') }, 'x'), 'SNAPSHOT_NOT_FOUND'],
      [() => node.timelines.backtrack(name, at('2999-01-01')), 'IN_FUTURE'],
      [() => node.timelines.backtrack('nobody', at('one')), 'VOLUME_NOT_FOUND'],
      [() => node.timelines.drop('nobody'), 'VOLUME_NOT_FOUND'],
      [() => node.timelines.setWindow(name, 73 * 3_600_000), 'BAD_REQUEST'],
      [() => node.timelines.setWindow(name, -1), 'BAD_REQUEST'],
    ];
    for (const [refused, code] of refusals) await expect(refused()).rejects.toMatchObject({ code });
    expect([await node.timelines.snapshots(name), (await node.timelines.volumes()).length]).toEqual(before);
    expect(await count(name)).toBe(1);
  });
});

describe('a drop', () => {
  it('is refused while the volume is in use; by force its sessions end; the name can be used again at once', async () => {
    const name = await volume(2);
    const session = await (await node.volume(name)).engine.connect({ readonly: false });
    await expect(node.timelines.drop(name)).rejects.toMatchObject({ code: 'IN_USE' });
    expect(await runOn(session, 'select count(*) from t')).toEqual([[2n]]);
    await node.timelines.drop(name, { force: true });
    await expect(runOn(session, 'select count(*) from t')).rejects.toMatchObject({ code: 'VOLUME_DROPPED' });
    await expect(node.volume(name)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' });
    await node.createVolume(name);
    await expect(count(name)).rejects.toThrow(/no such table/);
  });
});

describe('a volume that another compute node holds', () => {
  it('is cloned from, not dropped unless by force, and then its writer there is told', async () => {
    const name = await volume(3);
    const other = await cluster.openCompute('c2');
    await expect(other.timelines.drop(name)).rejects.toMatchObject({ code: 'IN_USE' });
    const lsn = await lsnOf(name);
    await node.timelines.createSnapshot(name, 'mine', null);
    await other.timelines.clone({ name, moment: at('mine') }, `${name}-dev`);
    expect(await count(`${name}-dev`, other)).toBe(3);
    expect(await lsnOf(name)).toBe(lsn);
    const session = await (await node.volume(name)).engine.connect({ readonly: false });
    expect(await runOn(session, 'select count(*) from t')).toEqual([[3n]]);
    await other.timelines.drop(name, { force: true });
    await expect
      .poll(
        () =>
          runOn(session, "insert into t (text) values ('late')").then(
            () => 'written',
            (error: { code?: string; cause?: { code?: string } }) => error.cause?.code ?? error.code,
          ),
        { timeout: 20_000 },
      )
      .toBe('VOLUME_DROPPED');
    await expect
      .poll(() =>
        node.volume(name).then(
          () => 'open',
          (error: { code: string }) => error.code,
        ),
      )
      .toBe('VOLUME_NOT_FOUND');
    expect(await count(`${name}-dev`, other)).toBe(3);
    await cluster.closeCompute(other);
  });
});

describe('the window', () => {
  it('is shown, and set', async () => {
    const name = await volume(2);
    const before = await node.timelines.window(name);
    expect(before).toMatchObject({ windowMs: 3_600_000, newestLsn: await lsnOf(name) });
    expect(before.newestMicros).toBeGreaterThan(0);
    expect((await node.timelines.setWindow(name, 7_200_000)).windowMs).toBe(7_200_000);
  });

  it('moves on over clones and snapshots, which stay, and over what nobody has pinned, which goes', async () => {
    const name = await volume(10);
    await node.timelines.clone({ name, moment: null }, `${name}-dev`);
    await node.timelines.createSnapshot(name, 'kept', null);
    const pinned = await lsnOf(name);
    await sql(node, name, 'update t set text = hex(randomblob(1500))');
    const loose = await lsnOf(name);
    await sql(node, name, "update t set text = 'new'");
    await node.timelines.setWindow(name, 1_000);
    await expect
      .poll(
        async () => {
          await insert(name, 1);
          return (await node.timelines.window(name)).floorLsn;
        },
        { timeout: 60_000, interval: 250 },
      )
      .toBeGreaterThan(loose);
    await expect(node.timelines.resolve(name, at(`lsn:${loose}`))).rejects.toMatchObject({ code: 'GONE' });
    await expect(
      node.timelines.clone({ name, moment: at(`lsn:${loose}`) }, `${name}-late`),
    ).rejects.toMatchObject({ code: 'GONE' });
    // Opened for the first time now.
    expect(await sql(node, `${name}-dev`, "select count(*), sum(text <> 'new') from t")).toEqual([
      [10n, 10n],
    ]);
    await check(`${name}-dev`);
    expect((await node.timelines.resolve(name, at('kept'))).point.lsn).toBe(pinned);
    await node.timelines.backtrack(name, at('kept'));
    expect(await sql(node, name, "select count(*), sum(text <> 'new') from t")).toEqual([[10n, 10n]]);
  });
});

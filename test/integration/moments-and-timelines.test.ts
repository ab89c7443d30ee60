/** Moments across everything that changes a volume's timeline: returns, going forward again, clones, snapshots, drops. Real SQLite and storage. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ComputeNode } from '../../compute-node/node.ts';
import { parseMoment } from '../../src/timeline/moment.ts';
import { InProcessCluster, runOn, sql } from '../support/in-process-cluster.ts';

let cluster: InProcessCluster;
let node: ComputeNode;

beforeAll(async () => {
  cluster = await InProcessCluster.start();
  node = await cluster.openCompute('c1');
});
afterAll(() => cluster?.destroy());

interface Entry {
  readonly at: string;
  readonly lsn: number;
  readonly rows: readonly unknown[];
}

const ROWS = 'select id, length(text), substr(text, 1, 8) from t order by id';

async function entryOf(name: string): Promise<Entry> {
  const rows = await sql(node, name, ROWS);
  const { log } = await node.volume(name);
  await pause(2);
  const at = new Date().toISOString();
  await pause(2);
  return { at, lsn: log.vdl, rows };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function readAt(name: string, moment: string, withCheck = false): Promise<readonly unknown[]> {
  const opened = await node.timelines.open(name, parseMoment(moment));
  try {
    const connection = await opened.engine.connect({ readonly: true });
    try {
      if (withCheck) expect(await runOn(connection, 'pragma integrity_check')).toEqual([['ok']]);
      return await runOn(connection, ROWS);
    } finally {
      await connection.close();
    }
  } finally {
    opened.release();
  }
}

/** Each by its time or by its LSN: they are one moment. */
async function expectDiary(name: string, diary: readonly Entry[]): Promise<void> {
  for (const [i, { at, lsn, rows }] of diary.entries()) {
    const moment = i % 2 === 0 ? at : `lsn:${lsn}`;
    expect(await readAt(name, moment, i === 0), `${name}@${moment}`).toEqual(rows);
  }
}

async function written(name: string): Promise<void> {
  await node.createVolume(name);
  await sql(node, name, 'create table t (id integer primary key, text text)');
}

const insert = (name: string) => sql(node, name, 'insert into t (text) values (hex(randomblob(2500)))');

describe('moments', () => {
  it('stay what they were when the volume goes back and forward again', async () => {
    await written('back');
    const diary: Entry[] = [await entryOf('back')];
    for (let i = 0; i < 4; i += 1) {
      await insert('back');
      diary.push(await entryOf('back'));
    }
    const { undo } = await node.timelines.backtrack('back', parseMoment(`lsn:${diary[1]!.lsn}`));
    // Of the new run nothing is written yet.
    diary.push(await entryOf('back'));
    expect(diary.at(-1)!.rows).toEqual(diary[1]!.rows);
    await insert('back');
    diary.push(await entryOf('back'));
    await node.timelines.backtrack('back', parseMoment(undo));
    diary.push(await entryOf('back'));
    expect(diary.at(-1)!.rows).toEqual(diary[4]!.rows);
    await sql(node, 'back', "update t set text = 'short'");
    diary.push(await entryOf('back'));
    await expectDiary('back', diary.slice(1));
    // To a moment, too, in the middle of what was rewound.
    await node.timelines.backtrack('back', parseMoment(diary[6]!.at));
    diary.push(await entryOf('back'));
    expect(diary.at(-1)!.rows).toEqual(diary[6]!.rows);
    await expectDiary('back', diary);
  });

  it('of a clone begin with the clone, and show its source until it is written to', async () => {
    await written('source');
    await insert('source');
    const before = await entryOf('source');
    await node.timelines.clone({ name: 'source', moment: null }, 'copy');
    await insert('source');
    const fresh = await entryOf('copy');
    expect(fresh.rows).toEqual(before.rows);
    await insert('copy');
    const later = await entryOf('copy');
    await expectDiary('copy', [fresh, later]);
    await expectDiary('source', [before]);
    await expect(node.timelines.open('copy', parseMoment(before.at))).rejects.toThrow(/before copy was made/);
  });

  it('that are snapshots outlive the window; many are open at once', async () => {
    await written('many');
    const diary: Entry[] = [];
    for (let i = 0; i < 12; i += 1) {
      await insert('many');
      diary.push(await entryOf('many'));
    }
    await node.timelines.createSnapshot('many', 'release', parseMoment(`lsn:${diary[3]!.lsn}`));
    const opened = await Promise.all(
      diary.map(({ lsn }) => node.timelines.open('many', parseMoment(`lsn:${lsn}`))),
    );
    const connections = await Promise.all(opened.map(({ engine }) => engine.connect({ readonly: true })));
    await sql(node, 'many', 'delete from t');
    const seen = await Promise.all(connections.map((connection) => runOn(connection, ROWS)));
    expect(seen).toEqual(diary.map(({ rows }) => rows));
    expect(await readAt('many', 'release')).toEqual(diary[3]!.rows);
    await expect(runOn(connections[0]!, 'insert into t (text) values (1)')).rejects.toThrow(
      /SQLITE_READONLY: a moment of the past is read-only/,
    );
    await Promise.all(connections.map((connection) => connection.close()));
    for (const { release } of opened) release();
    expect(node.engines.moments).toBeGreaterThanOrEqual(12);
  });

  it('of a dropped volume are closed with it', async () => {
    await written('gone');
    await insert('gone');
    const { lsn } = await entryOf('gone');
    const opened = await node.timelines.open('gone', parseMoment(`lsn:${lsn}`));
    const connection = await opened.engine.connect({ readonly: true });
    await node.timelines.drop('gone', { force: true });
    await expect(runOn(connection, ROWS)).rejects.toMatchObject({ code: 'VOLUME_DROPPED' });
    await expect(node.timelines.open('gone', parseMoment(`lsn:${lsn}`))).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    });
    opened.release();
  });
});

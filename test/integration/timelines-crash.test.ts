/**
 * A compute node dies in the middle of a clone or a drop, after any number of writes: whoever comes next finds it done, or finishes or clears away what
 * is left; and never is there a clone that its parent does not keep history for.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ComputeNode } from '../../compute-node/node.ts';
import { readRetention } from '../../compute-node/timelines/pins.ts';
import { isTidemarkError } from '../../src/base/errors.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import { InProcessCluster, type MortalTimelines, sql } from '../support/in-process-cluster.ts';

let cluster: InProcessCluster;
let node: ComputeNode;
let heir: MortalTimelines;

beforeAll(async () => {
  cluster = await InProcessCluster.start();
  node = await cluster.openCompute('c1');
  heir = await cluster.openMortal(node, 10_000);
  await node.createVolume('source');
  await sql(node, 'source', 'create table t (id integer primary key, text text)');
  await insert('source', 20);
});
afterAll(async () => {
  heir?.close();
  await cluster?.destroy();
});

async function insert(name: string, rows: number): Promise<void> {
  for (let i = 0; i < rows; i += 1)
    await sql(node, name, 'insert into t (text) values (hex(randomblob(1500)))');
}

async function count(name: string): Promise<number> {
  return Number((await sql(node, name, 'select count(*) from t'))[0]?.[0]);
}

async function pinsOf(name: string): Promise<readonly string[]> {
  const named = await heir.directory.lookup(name);
  if (named === null) throw new Error(`no volume ${name}`);
  return (await readRetention(heir.directory.registers, named)).pins.map((pin) => pin.name);
}

const codeOf = (error: unknown): string => (isTidemarkError(error) ? error.code : String(error));

/** Volumes that have a record and no name. */
async function nameless(): Promise<readonly string[]> {
  const records = await heir.directory.records.list();
  const names = new Set((await heir.directory.list()).map(({ volume }) => volume));
  return records.filter(({ volume }) => !names.has(volume)).map(({ name }) => name);
}

async function kept(volume: VolumeId): Promise<number> {
  const { clusterId } = heir.directory.cluster;
  const statuses = await Promise.all(
    (await node.status()).nodes.map(
      async ({ status }) => status?.segments.filter((segment) => segment.volume === volume).length ?? 0,
    ),
  );
  expect(clusterId).not.toBe('');
  return statuses.reduce((sum, segments) => sum + segments, 0);
}

describe('a compute node that dies', () => {
  it('in the middle of a clone leaves a whole one, or nothing', async () => {
    let isWhole = false;
    for (let writes = 0; !isWhole; writes += 2) {
      const name = `clone${writes}`;
      const mortal = await cluster.openMortal(node);
      mortal.dieAfter(writes);
      const outcome = await mortal.clone({ name: 'source', moment: null }, name).then(
        () => 'made',
        () => 'failed',
      );
      isWhole = !mortal.isDead();
      mortal.close();
      // Somebody may use it before anything is cleared away.
      const found = await heir.directory.lookup(name);
      if (outcome === 'made') expect(found).not.toBeNull();
      if (found !== null) expect(await pinsOf('source')).toContain(`clone:${found.volume}`);
      await heir.sweep();
      const after = await heir.directory.lookup(name);
      expect(after?.volume).toBe(found?.volume);
      expect(await pinsOf('source')).toEqual(after === null ? [] : [`clone:${after.volume}`]);
      expect(await nameless()).toEqual([]);
      if (after === null) continue;
      expect(await count(name)).toBe(20);
      await node.timelines.drop(name);
      expect(await pinsOf('source')).toEqual([]);
    }
  });

  it('in the middle of a drop leaves the volume as it was, or dropped; its parent’s pin goes last', async () => {
    let isWhole = false;
    for (let writes = 0; !isWhole; writes += 3) {
      const name = `drop${writes}`;
      const { volume } = await node.timelines.clone({ name: 'source', moment: null }, name);
      await insert(name, 1);
      const mortal = await cluster.openMortal(node);
      mortal.dieAfter(writes);
      await mortal.drop(name).catch(() => undefined);
      isWhole = !mortal.isDead();
      mortal.close();
      const found = await heir.directory.lookup(name);
      if (found !== null) {
        expect(await pinsOf('source')).toEqual([`clone:${volume}`]);
        expect(await count(name)).toBe(21);
        await node.timelines.drop(name, { force: true });
      }
      await heir.sweep();
      await heir.sweep();
      expect(await pinsOf('source')).toEqual([]);
      expect(await nameless()).toEqual([]);
      expect(await kept(volume)).toBe(0);
      // Where it is still open, the next heartbeat ends it.
      await expect
        .poll(() => node.volume(name).then(() => 'open', codeOf), { timeout: 10_000 })
        .toBe('VOLUME_NOT_FOUND');
    }
  });
});

describe('a dropped parent', () => {
  it('stays for its clones, and theirs; with the last of them all of it goes, on a node that was away too', async () => {
    await node.createVolume('family');
    await sql(node, 'family', 'create table t (id integer primary key, text text)');
    await insert('family', 20);
    const ids = new Map<string, VolumeId>();
    for (const { name, volume } of await heir.directory.list()) if (name === 'family') ids.set(name, volume);
    for (const [from, name] of [
      ['family', 'child'],
      ['child', 'grandchild'],
      ['family', 'sibling'],
    ] as const) {
      ids.set(name, (await node.timelines.clone({ name: from, moment: null }, name)).volume);
      await insert(name, 3);
    }
    const total = async () => {
      const sizes = await Promise.all([...ids.values()].map(kept));
      return sizes.reduce((sum, segments) => sum + segments, 0);
    };
    await node.timelines.drop('family', { force: true });
    await node.timelines.drop('child', { force: true });
    const tree = await node.timelines.volumes();
    const shown = tree.filter(({ name }) => ['family', 'child', 'grandchild', 'sibling'].includes(name));
    expect(shown.map(({ name, parent }) => [name, parent?.volume, parent?.name])).toEqual([
      ['grandchild', ids.get('child'), null],
      ['sibling', ids.get('family'), null],
    ]);
    // New names, and other volumes.
    await node.createVolume('family');
    expect(await count('grandchild')).toBe(26);
    expect(await count('sibling')).toBe(23);
    await insert('grandchild', 2);
    await heir.sweep();
    expect(await count('grandchild')).toBe(28);
    const away = 'az3-b' as NodeId;
    await cluster.stopStorage(away);
    await node.timelines.drop('sibling', { force: true });
    await node.timelines.drop('grandchild', { force: true });
    await heir.sweep();
    // It may have something of them, and nothing may be forgotten before it has not.
    expect(await nameless()).toEqual(expect.arrayContaining(['child', 'family', 'grandchild', 'sibling']));
    await cluster.startStorage(away);
    for (let i = 0; i < 40 && (await nameless()).length > 0; i += 1) {
      await heir.sweep();
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    expect(await nameless()).toEqual([]);
    expect(await total()).toBe(0);
    expect(await count('source')).toBe(20);
  });
});

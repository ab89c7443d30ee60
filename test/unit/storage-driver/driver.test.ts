/** The storage node's driver with a scripted core: order of effects, what waits for what, and how it stops. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import type { OutgoingReply } from '../../../src/adapters/grpc/server.ts';
import { createLogger } from '../../../src/adapters/logger.ts';
import { AssertionError } from '../../../src/base/assert.ts';
import type { KvOp, KvRange, KvStore } from '../../../src/env/env.ts';
import type { StorageNodeClient } from '../../../src/env/transport.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import { SECTOR_BYTES } from '../../../storage-node/adapters/journal-disk.ts';
import { Journal } from '../../../storage-node/adapters/journal.ts';
import type { CoreEffect, CoreEvent, DiskRoom, DurableOp } from '../../../storage-node/core/effects.ts';
import { type Core, StorageNodeDriver } from '../../../storage-node/driver/driver.ts';
import { StoreWriter } from '../../../storage-node/driver/store-writer.ts';
import { appendRequest } from '../../contract/transport/transport-suite.ts';
import { emptyImage, type JournalImage, MemoryJournalDisk } from '../../support/memory-journal-disk.ts';
import { MemoryKv } from '../../support/memory-kv.ts';

const key = (value: number): Uint8Array => Uint8Array.of(1, value);
const home = (at: number, value: string): DurableOp => ({
  kind: 'home',
  key: key(at),
  value: Buffer.from(value),
});
const reply = (to: number): CoreEffect => ({
  kind: 'reply',
  to,
  reply: { method: 'registerList', body: { keys: [String(to)], refusal: null } },
});

/** A store that can be held back. */
class SlowStore implements KvStore {
  readonly inner = new MemoryKv();
  held: (() => void)[] | null = null;
  readonly batches: number[] = [];
  error: Error | null = null;

  async batch(ops: readonly KvOp[], options: { readonly sync: boolean }): Promise<void> {
    if (this.error !== null) throw this.error;
    const { held } = this;
    if (held !== null) await new Promise<void>((resolve) => held.push(resolve));
    this.batches.push(ops.length);
    await this.inner.batch(ops, options);
  }
  get = (at: Uint8Array): Promise<Uint8Array | undefined> => this.inner.get(at);
  getMany = (keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> => this.inner.getMany(keys);
  range = (query: KvRange): ReturnType<KvStore['range']> => this.inner.range(query);
  close = (): Promise<void> => this.inner.close();

  release(): void {
    const held = this.held ?? [];
    this.held = null;
    for (const go of held) go();
  }
}

class ScriptedCore implements Core {
  isReady = true;
  isIntact = true;
  incarnation = '1.test';
  readonly events: CoreEvent[] = [];
  script: (event: CoreEvent) => readonly CoreEffect[] = () => [];

  step(event: CoreEvent): readonly CoreEffect[] {
    if (event.kind !== 'tick') this.events.push(event);
    return event.kind === 'tick' ? [] : this.script(event);
  }
  kinds(): string[] {
    return this.events.map((event) => event.kind);
  }
}

interface Rig {
  readonly core: ScriptedCore;
  readonly store: SlowStore;
  readonly disk: MemoryJournalDisk;
  readonly journal: Journal;
  readonly driver: StorageNodeDriver;
  readonly replies: number[];
  readonly sent: OutgoingReply[];
  readonly paused: boolean[];
  readonly fatal: Error[];
  readonly storeFaults: Error[];
  readonly lines: string[];
  readonly calls: string[];
  gauges: { diskBytes: number; memoryBytes: number; diskRoom: DiskRoom; noteWritten(): void };
}

const rigs: Rig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.driver.stop();
});

async function rig(
  image: JournalImage = emptyImage(64 * SECTOR_BYTES),
  prepare: (core: ScriptedCore) => void = () => {},
): Promise<Rig> {
  const core = new ScriptedCore();
  prepare(core);
  const store = new SlowStore();
  const disk = new MemoryJournalDisk(image);
  const fatal: Error[] = [];
  const storeFaults: Error[] = [];
  const failed = (error: Error): void => driver.fail(error);
  const storeWriter = new StoreWriter(store, nodeTimers, failed);
  const { journal, recovery } = await Journal.open({
    disk,
    crc32: nodeCrc32,
    timers: nodeTimers,
    flushStore: () => storeWriter.written(),
    onFatal: failed,
  });
  const lines: string[] = [];
  const calls: string[] = [];
  const gauges = {
    diskBytes: 11,
    memoryBytes: 22,
    diskRoom: 'enough' as DiskRoom,
    noteWritten: () => undefined,
  };
  const peer = {
    nodeId: 'az1-b' as NodeId,
    call: async (method: string) => {
      calls.push(method);
      if (method === 'status') throw new Error('not reached');
      return { keys: [], refusal: null };
    },
  } as unknown as StorageNodeClient;
  const driver = new StorageNodeDriver({
    core,
    journal,
    store,
    storeWriter,
    flushStore: () => storeWriter.written(),
    reclaim: async () => {},
    gauges,
    peer: (nodeId) => (nodeId === peer.nodeId ? peer : null),
    learnNodes: () => undefined,
    clock: nodeClock,
    timers: nodeTimers,
    logger: createLogger({ format: 'text', write: (line) => lines.push(line) }),
    storeFaults: { findings: [], doubts: [], settle: () => undefined },
    tables: {
      checkedBytes: 0,
      totalBytes: 0,
      isRunning: false,
      findings: [],
      checkSoon: () => undefined,
      stop: () => undefined,
    },
    onFatal: (error) => fatal.push(error),
    onStoreFault: (error) => storeFaults.push(error),
  });
  const made: Rig = {
    core,
    store,
    disk,
    journal,
    driver,
    replies: [],
    sent: [],
    paused: [],
    fatal,
    storeFaults,
    lines,
    calls,
    gauges,
  };
  rigs.push(made);
  driver.serve({
    reply: (id, body) => {
      made.replies.push(id);
      made.sent.push(body);
    },
    pauseAppends: () => made.paused.push(true),
    resumeAppends: () => made.paused.push(false),
  });
  driver.start({ ...recovery, storeDoubts: [] }, 'seed');
  return made;
}

const list = (id: number, driver: StorageNodeDriver): void =>
  driver.onRequest(id, { method: 'registerList', body: { clusterId: '', prefix: '' } });

describe('storage node driver', () => {
  it('lets a reply that rides on a persist out only when the entry is synced', async () => {
    const { core, driver, disk, replies } = await rig();
    let release = (): void => {};
    const write = disk.writeRing.bind(disk);
    disk.writeRing = async (offset, bytes) => {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      await write(offset, bytes);
    };
    core.script = (event) =>
      event.kind === 'request'
        ? [{ kind: 'persist', ops: [home(1, 'a')], whenDurable: [reply(event.replyTo)] }]
        : [];
    list(1, driver);
    await sleep(20);
    expect(replies).toEqual([]);
    release();
    await sleep(20);
    expect(replies).toEqual([1]);
  });

  it('keeps the order of persists, those without ops included', async () => {
    const { core, driver, replies } = await rig();
    core.script = (event) => {
      if (event.kind !== 'request') return [];
      const ops = event.replyTo % 3 === 0 ? [] : [home(event.replyTo, 'x')];
      return [{ kind: 'persist', ops, whenDurable: [reply(event.replyTo)] }];
    };
    for (let id = 1; id <= 30; id++) {
      list(id, driver);
      if (id % 7 === 0) await sleep(2);
    }
    await sleep(30);
    expect(replies).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  });

  it('shows a query what was persisted and written before it, and puts the batches of a turn together', async () => {
    const { core, driver, store } = await rig();
    store.held = [];
    core.script = (event) =>
      event.kind === 'request'
        ? [
            { kind: 'persist', ops: [home(1, 'persisted')], whenDurable: [] },
            {
              kind: 'write',
              ops: [{ type: 'put', key: key(2), value: Buffer.from('written') }],
              token: 5,
              isLasting: false,
            },
            {
              kind: 'query',
              token: 6,
              queries: [
                { kind: 'getMany', keys: [key(1), key(2)] },
                { kind: 'range', gte: key(0), lt: key(9) },
              ],
            },
            { kind: 'write', ops: [{ type: 'del', key: key(1) }], token: 7, isLasting: false },
          ]
        : [];
    list(1, driver);
    await sleep(20);
    expect(core.kinds()).toEqual(['start', 'request']);
    store.release();
    await sleep(30);
    const result = core.events.find((event) => event.kind === 'query-result');
    if (result?.kind !== 'query-result' || result.results[0]?.kind !== 'getMany')
      throw new Error('no result');
    expect(result.token).toBe(6);
    expect(Buffer.from(result.results[0].values[1]!).toString()).toBe('written');
    expect(
      core.events
        .filter((event) => event.kind === 'written')
        .map((event) => event.token)
        .sort(),
    ).toEqual([5, 7]);
    expect(store.batches.length).toBeLessThanOrEqual(3);
  });

  it('makes one step at a time, also when effects bring events at once', async () => {
    const { core, driver } = await rig();
    let depth = 0;
    core.script = (event) => {
      depth += 1;
      expect(depth).toBe(1);
      const effects: CoreEffect[] =
        event.kind === 'request'
          ? [
              {
                kind: 'call',
                peer: 'az9-x' as NodeId,
                token: 1,
                request: { method: 'status', body: { clusterId: '' } },
              },
            ]
          : [];
      depth -= 1;
      return effects;
    };
    list(1, driver);
    driver.onAbandoned(1);
    await sleep(10);
    expect(core.kinds()).toEqual(['start', 'request', 'abandoned', 'peer-failed']);
  });

  it('carries calls to peers, and their failures', async () => {
    const { core, driver, calls } = await rig();
    const peer = 'az1-b' as NodeId;
    core.script = (event) =>
      event.kind === 'request'
        ? [
            {
              kind: 'call',
              peer,
              token: 1,
              request: { method: 'registerList', body: { clusterId: '', prefix: '' } },
            },
            { kind: 'call', peer, token: 2, request: { method: 'status', body: { clusterId: '' } } },
          ]
        : [];
    list(1, driver);
    await sleep(10);
    expect(calls).toEqual(['registerList', 'status']);
    expect(core.events.slice(2)).toMatchObject([
      { kind: 'peer-reply', token: 1, reply: { method: 'registerList' } },
      { kind: 'peer-failed', token: 2, message: 'not reached' },
    ]);
  });

  it('ends on a failed assertion: nothing is said any more', async () => {
    const { core, driver, fatal, replies } = await rig();
    core.script = (event) => {
      if (event.kind !== 'request') return [];
      if (event.replyTo === 2) throw new AssertionError('SCL went back');
      return [{ kind: 'persist', ops: [home(1, 'x')], whenDurable: [reply(event.replyTo)] }];
    };
    list(1, driver);
    list(2, driver);
    list(3, driver);
    await sleep(20);
    expect(fatal.map((error) => error.message)).toEqual(['SCL went back']);
    expect(replies).toEqual([]);
    expect(core.kinds()).toEqual(['start', 'request', 'request']);
  });

  it('ends when the core says so, the store fails or the journal fails', async () => {
    const first = await rig();
    first.core.script = (event) =>
      event.kind === 'request'
        ? [{ kind: 'fatal', code: 'WRONG_CLUSTER', message: 'not here' }, reply(1)]
        : [];
    list(1, first.driver);
    expect(first.fatal).toMatchObject([{ code: 'WRONG_CLUSTER' }]);
    expect(first.replies).toEqual([]);

    const persisting = (event: CoreEvent): readonly CoreEffect[] =>
      event.kind === 'request'
        ? [{ kind: 'persist', ops: [home(1, 'x')], whenDurable: [reply(event.replyTo)] }]
        : [];
    const second = await rig();
    second.core.script = persisting;
    second.store.error = new Error('store is gone');
    list(1, second.driver);
    await sleep(30);
    expect(second.fatal.map((error) => error.message)).toEqual(['store is gone']);
    // What the journal made durable before may have been answered; nothing is any more.
    second.replies.length = 0;
    list(2, second.driver);
    await sleep(30);
    expect(second.replies).toEqual([]);

    const unreadable = await rig();
    unreadable.core.script = () => [
      { kind: 'query', token: 1, queries: [{ kind: 'range', gte: key(0), lt: key(9) }] },
    ];
    unreadable.store.range = () => Promise.reject(new Error('a block cannot be read'));
    list(1, unreadable.driver);
    await sleep(20);
    expect(unreadable.fatal).toEqual([]);
    expect(unreadable.storeFaults.map((error) => error.message)).toEqual(['a block cannot be read']);
    expect(unreadable.core.kinds()).toEqual(['start', 'request']);

    const third = await rig();
    third.core.script = persisting;
    third.disk.writeRing = () => Promise.reject(new Error('ring is gone'));
    list(1, third.driver);
    await sleep(20);
    expect(third.fatal.map((error) => error.message)).toEqual(['ring is gone']);
    expect(third.replies).toEqual([]);
  });

  it('holds appends back while too much waits for the disk', async () => {
    const { core, driver, store, paused } = await rig();
    store.held = [];
    core.script = (event) =>
      event.kind === 'request'
        ? [{ kind: 'persist', ops: [home(1, 'x'.repeat(1 << 20))], whenDurable: [] }]
        : [];
    for (let id = 1; id <= 20; id++) list(id, driver);
    expect(paused).toEqual([true]);
    store.release();
    await sleep(200);
    expect(paused).toEqual([true, false]);
  });

  it('refuses appends, and appends only, while the disk is nearly full; not those of a take-over', async () => {
    const { core, driver, gauges, sent, lines } = await rig();
    gauges.diskRoom = 'short';
    driver.onRequest(1, { method: 'append', body: appendRequest(7) });
    list(2, driver);
    expect(sent).toMatchObject([
      { method: 'append', body: { incarnation: '1.test', refusal: { code: 'DISK_FULL' } } },
    ]);
    expect(core.kinds()).toEqual(['start', 'request']);
    driver.onRequest(4, { method: 'append', body: { ...appendRequest(7), recovery: true } });
    expect(core.kinds()).toEqual(['start', 'request', 'request']);
    gauges.diskRoom = 'enough';
    driver.onRequest(3, { method: 'append', body: appendRequest(7) });
    expect(core.kinds()).toEqual(['start', 'request', 'request', 'request']);
    gauges.diskRoom = 'short';
    await sleep(70);
    expect(lines.join('')).toMatch(/nearly full/);
    expect(core.events.at(-1)).toEqual({ kind: 'disk', room: 'short' });
  });

  it('fills the sizes into a status', async () => {
    const { core, driver, sent } = await rig();
    core.script = (event) =>
      event.kind === 'request'
        ? [{ kind: 'reply', to: 1, reply: { method: 'status', body: { segments: [] } as never } }]
        : [];
    list(1, driver);
    expect(sent).toMatchObject([{ body: { diskBytes: 11, memoryBytes: 22 } }]);
  });
});

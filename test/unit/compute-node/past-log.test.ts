/** The log client at one read point: what it does when the nodes that keep the volume change while it is open. */
import { describe, expect, it } from 'vitest';
import type { ReadMember, StorageLinks } from '../../../compute-node/driver/storage-links.ts';
import { PastLog } from '../../../compute-node/timelines/past-log.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import type { Lsn, NodeId, PageNumber, RunId, VolumeId } from '../../../src/log/lsn.ts';
import type { ReadPagesReply, ReadPagesRequest } from '../../../src/messages/messages.ts';
import type { ManifestValue, PgConfig } from '../../../src/register/values.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { originManifest } from '../../../compute-node/volume/take-over-manifest.ts';

const VOLUME = 'volume' as VolumeId;
const OLD = ['a1', 'a2', 'b1', 'b2', 'c1', 'c2'] as NodeId[];
const NEW = ['a3', 'a4', 'b3', 'b4', 'c3', 'c4'] as NodeId[];
const PAGE = 1 as PageNumber;

/** Streams to nodes of which only `serving` have the volume. */
function linksOf(serving: () => readonly NodeId[], asked: NodeId[]): StorageLinks {
  const links = {
    joinRead: (member: ReadMember) => {
      for (const node of [...OLD, ...NEW]) member.onReadUp(node);
      return () => {};
    },
    sendRead: (
      node: NodeId,
      { pages }: ReadPagesRequest,
      onReply: (reply: ReadPagesReply) => void,
    ): number => {
      asked.push(node);
      const isServing = serving().includes(node);
      queueMicrotask(() =>
        onReply({
          requestId: 1,
          pages: isServing
            ? pages.map((page) => ({ page, lsn: 5 as Lsn, data: new Uint8Array(4096).fill(7) }))
            : [],
          scl: 5 as Lsn,
          refusal: isServing ? null : { code: 'NO_SEGMENT', message: 'not here', promised: null },
        }),
      );
      return 1;
    },
  };
  return links as unknown as StorageLinks;
}

function manifestOf(members: readonly NodeId[]): ManifestValue {
  const manifest = originManifest({
    volume: VOLUME,
    epoch: { number: 2, writerId: 'w' },
    pgPages: 8,
    members,
  });
  const run = { ...manifest.runs[0]!, lastLsn: 9 as Lsn, closingTails: [9 as Lsn], openedAtMicros: 1 };
  return { ...manifest, runs: [run] };
}

function opened(members: readonly PgConfig[]) {
  const clock = new ManualClock();
  const asked: NodeId[] = [];
  let serving: readonly NodeId[] = OLD;
  let looked = 0;
  let closed = 0;
  const log = new PastLog({
    name: 'main@lsn:5',
    point: { volume: VOLUME, run: 0 as RunId, lsn: 5 as Lsn },
    manifest: manifestOf(OLD),
    requiredScls: [5 as Lsn],
    readMembers: async () => {
      looked += 1;
      return members;
    },
    links: linksOf(() => serving, asked),
    clock,
    timers: nodeTimers,
    onClosed: () => {
      closed += 1;
    },
  });
  return {
    log,
    clock,
    asked,
    move: () => {
      serving = NEW;
    },
    looked: () => looked,
    closed: () => closed,
    read: async () => (await log.readPages(5 as Lsn, [PAGE]))[0]?.data[0],
  };
}

describe('a log client at a read point', () => {
  it('asks again whoever served, and learns of new members now and then', async () => {
    const past = opened(manifestOf(NEW).pgs);
    expect(await past.read()).toBe(7);
    const [first] = past.asked;
    expect(await past.read()).toBe(7);
    expect(past.asked).toEqual([first, first]);
    expect(past.looked()).toBe(0);
    past.clock.advance(10_000);
    expect(await past.read()).toBe(7);
    expect(past.looked()).toBe(1);
    past.move();
    expect(await past.read()).toBe(7);
    expect(NEW).toContain(past.asked.at(-1));
    await past.log.close();
  });

  it('writes nothing, is durable and confirmed at once, and ends once', async () => {
    const past = opened([]);
    expect(past.log.writable).toBe(false);
    expect(() => past.log.submit()).toThrow(/read-only/);
    await expect(past.log.whenWritable()).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await past.log.whenDurable();
    await past.log.confirmReadable();
    await past.log.close();
    await past.log.close();
    expect(past.closed()).toBe(1);
    await expect(past.read()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});

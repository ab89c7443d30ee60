/** The file's own guards, below everything that keeps SQLite from running into them. */
import { describe, expect, it } from 'vitest';
import type { Host } from '../../../compute-node/engine/worker/host.ts';
import { PageCache } from '../../../compute-node/engine/worker/page-cache.ts';
import { PageSource } from '../../../compute-node/engine/worker/page-source.ts';
import { LOCK, VolumeFile } from '../../../compute-node/engine/worker/volume-file.ts';
import { putU32 } from '../../../compute-node/engine/sqlite-header.ts';
import { type Lsn, toLsn } from '../../../src/log/lsn.ts';
import type { PageChange } from '../../../src/log/record.ts';

const PAGE = 4096;

/** A volume of `sizePages` pages whose first bytes are their numbers, at LSN 10; `hole` was never written. */
function bench(
  options: { readonly sizePages?: number; readonly hole?: number; readonly maxOverlayPages?: number } = {},
) {
  const { sizePages = 3 } = options;
  const cache = new PageCache(1000 * PAGE);
  const state = {
    head: toLsn(10),
    vdl: toLsn(10),
    holdsLock: true,
    readers: 0,
    handedOver: [] as PageChange[][],
    commits: [] as Lsn[],
  };
  for (let page = 1; page <= sizePages; page += 1) {
    const data = new Uint8Array(PAGE).fill(page);
    if (page === 1) putU32(data, 28, sizePages);
    if (page === options.hole) cache.putFetched(page, 0, 10, null, true);
    else cache.putFetched(page, 5, 10, data, false);
  }
  const host: Host = {
    nowMs: () => 0,
    vdl: () => state.vdl,
    isWritable: () => true,
    mtrBytesTaken: () => 0,
    wantNews: () => {},
    isInterrupted: () => false,
    post: () => {
      throw new Error('a fetch that should not be');
    },
    flush: () => {},
    nextPageAnswer: () => null,
  };
  const file = new VolumeFile(
    {
      cache,
      source: new PageSource(host, cache),
      head: () => state.head,
      vdl: () => state.vdl,
      handOver: (changes) => {
        state.handedOver.push([...changes]);
        state.head = toLsn(state.head + changes.length);
        return state.head;
      },
      readPointTaken: () => {
        state.readers += 1;
      },
      readPointLeft: () => {
        state.readers -= 1;
      },
    },
    {
      nextReadPoint: () => state.head,
      holdsWriterLock: () => state.holdsLock,
      isInterrupted: () => false,
      committed: (cpl) => state.commits.push(cpl),
    },
    { maxOverlayPages: options.maxOverlayPages ?? 100, maxReadAheadPages: 8 },
  );
  return { file, state, cache };
}

function page(fill: number, sizePages?: number): Uint8Array {
  const data = new Uint8Array(PAGE).fill(fill);
  if (sizePages !== undefined) putU32(data, 28, sizePages);
  return data;
}

describe('VolumeFile', () => {
  it('gives RESERVED to the holder of the writer lock alone', () => {
    const { file, state } = bench();
    state.holdsLock = false;
    expect(file.lockTo(LOCK.shared)).toBe('ok');
    expect(file.lockTo(LOCK.reserved)).toBe('busy');
    expect(file.lock).toBe(LOCK.shared);
    state.holdsLock = true;
    expect(file.lockTo(LOCK.reserved)).toBe('ok');
  });

  it('gives RESERVED at the newest MTR alone', () => {
    const { file, state } = bench();
    file.lockTo(LOCK.shared);
    state.head = toLsn(11);
    expect(file.lockTo(LOCK.reserved)).toBe('stale');
    expect(file.lock).toBe(LOCK.shared);
    file.unlockTo(LOCK.none);
    file.lockTo(LOCK.shared);
    expect(file.lockTo(LOCK.reserved)).toBe('ok');
  });

  it('sends an image of a page that was never written, though it lies below the end and was read', () => {
    const { file, state } = bench({ sizePages: 5, hole: 4 });
    file.lockTo(LOCK.exclusive);
    file.write(page(4), 3 * PAGE);
    file.commit();
    expect(state.handedOver.map((mtr) => mtr.map(({ page: number, kind }) => [number, kind]))).toEqual([
      [[4, 'image']],
    ]);
  });

  it('counts as a reader from SHARED to NONE', () => {
    const { file, state } = bench();
    file.lockTo(LOCK.shared);
    file.lockTo(LOCK.reserved);
    file.unlockTo(LOCK.shared);
    expect(state.readers).toBe(1);
    file.unlockTo(LOCK.none);
    expect(state.readers).toBe(0);
  });

  it('reads its own writes, and short beyond the end that page 1 gives', () => {
    const { file } = bench();
    const into = new Uint8Array(16);
    file.lockTo(LOCK.exclusive);
    expect(file.read(into, PAGE + 100)).toBe(true);
    expect(into[0]).toBe(2);
    expect(file.read(into, 3 * PAGE)).toBe(false);
    expect(into.every((byte) => byte === 0)).toBe(true);
    file.write(page(9), 3 * PAGE);
    expect(file.sizePages()).toBe(4);
    expect(file.read(into, 3 * PAGE)).toBe(true);
    expect(into[0]).toBe(9);
    file.unlockTo(LOCK.none);
    file.lockTo(LOCK.shared);
    expect(file.sizePages()).toBe(3);
    expect(file.read(into, 3 * PAGE)).toBe(false);
  });

  it('hands over what differs, within the size that page 1 gives', () => {
    const { file, state } = bench();
    file.lockTo(LOCK.exclusive);
    file.write(page(1, 4), 0);
    file.write(page(2), PAGE); // as it was
    file.write(page(7), 3 * PAGE);
    file.write(page(8), 4 * PAGE); // beyond the new end
    file.commit();
    expect(state.handedOver).toHaveLength(1);
    expect(state.handedOver[0]?.map(({ page: number, kind }) => [number, kind])).toEqual([
      [1, 'delta'],
      [4, 'image'],
    ]);
    expect([file.readPoint, state.commits]).toEqual([12, [12]]);
    // Still locked, it sees what it made; a second commit has nothing to hand over.
    expect(file.sizePages()).toBe(4);
    file.commit();
    expect(state.handedOver).toHaveLength(1);
  });

  it('makes images where the base is not at hand, rather than fetch it at the commit', () => {
    const { file, state, cache } = bench();
    file.lockTo(LOCK.exclusive);
    file.sizePages();
    file.write(page(1, 3), 0);
    file.write(page(7), PAGE);
    // All but page 1 is gone by now.
    const first = Uint8Array.from(cache.peek(1, 10) ?? []);
    cache.clear(10);
    cache.putFetched(1, 5, 10, first, false);
    file.commit();
    expect(state.handedOver[0]?.map(({ page: number, kind }) => [number, kind])).toEqual([[2, 'image']]);
  });

  it('forgets what was not committed, undiffed', () => {
    const { file, state } = bench();
    const into = new Uint8Array(1);
    file.lockTo(LOCK.exclusive);
    file.write(page(7), PAGE);
    file.unlockTo(LOCK.shared);
    file.read(into, PAGE);
    expect(into[0]).toBe(2);
    file.commit();
    expect(state.handedOver).toEqual([]);
  });

  it('a truncate takes pages out of the transaction', () => {
    const { file, state } = bench({ sizePages: 5 });
    file.lockTo(LOCK.exclusive);
    for (const number of [2, 3, 4, 5]) file.write(page(50 + number), (number - 1) * PAGE);
    file.write(page(1, 2), 0);
    file.truncate(2 * PAGE);
    expect(file.sizePages()).toBe(2);
    file.commit();
    expect(state.handedOver[0]?.map(({ page: number }) => number)).toEqual([1, 2]);
    expect(file.sizePages()).toBe(2);
  });

  it('refuses the page past the limit, takes what a rollback writes, and never commits after it', () => {
    const { file, state } = bench({ maxOverlayPages: 2 });
    file.lockTo(LOCK.exclusive);
    file.write(page(7), 0);
    file.write(page(7), PAGE);
    expect(() => file.write(page(7), 2 * PAGE)).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
    // SQLite restores the old pages, in any order.
    file.write(page(3), 2 * PAGE);
    file.write(page(2), PAGE);
    expect(() => file.commit()).toThrow('refused');
    expect(state.handedOver).toEqual([]);
    file.unlockTo(LOCK.none);
    file.lockTo(LOCK.exclusive);
    file.write(page(1, 3), 0);
    file.commit();
  });

  it('has no records of the lock byte page, which reads as zeros', () => {
    const { file, state, cache } = bench();
    const lockByte = 0x40000000;
    const number = lockByte / PAGE + 1;
    const first = new Uint8Array(PAGE).fill(1);
    putU32(first, 28, number + 1);
    cache.putHandedOver(1, 11, first);
    state.head = toLsn(11);
    file.lockTo(LOCK.exclusive);
    const into = new Uint8Array(PAGE).fill(1);
    expect(file.read(into, lockByte)).toBe(true);
    expect(into.every((byte) => byte === 0)).toBe(true);
    file.write(page(0), lockByte);
    file.write(page(5), lockByte + PAGE);
    file.commit();
    expect(state.handedOver[0]?.map(({ page: changed }) => changed)).toEqual([number + 1]);
  });

  it('takes no write without the lock', () => {
    const { file } = bench();
    file.lockTo(LOCK.shared);
    expect(() => file.write(page(1), 0)).toThrow('without the writer lock');
    expect(() => file.truncate(PAGE)).toThrow('without the writer lock');
  });
});

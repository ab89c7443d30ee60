/** What a backtrack does around the take-over: its target is pinned before, and until that is over; nothing is begun that cannot be finished. */
import { describe, expect, it } from 'vitest';
import { Backtracks } from '../../../compute-node/timelines/backtrack.ts';
import type { TimelineContext } from '../../../compute-node/timelines/context.ts';
import type { MomentResolver } from '../../../compute-node/timelines/moment-resolver.ts';
import { nodeRandom } from '../../../src/adapters/random.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { Lsn, RunId, VolumeId } from '../../../src/log/lsn.ts';
import { decodeRetention, encodeRetention } from '../../../src/register/codec.ts';
import type { RetentionValue } from '../../../src/register/values.ts';
import type { Moment } from '../../../src/timeline/moment.ts';
import type { Run } from '../../../src/timeline/run.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';

const VOLUME = 'vol00000' as VolumeId;
const POINT = { volume: VOLUME, run: 0 as RunId, lsn: 500 as Lsn };
const RUN: Run = {
  id: 0 as RunId,
  epoch: { number: 1, writerId: 'w' },
  firstLsn: 1 as Lsn,
  lastLsn: null,
  parent: null,
  closingTails: null,
  openedAtMicros: 1,
  lastCommitTimeMicros: 1,
};

function setUp(fields: Partial<RetentionValue> = {}) {
  let retention: RetentionValue = {
    format: 1,
    volume: VOLUME,
    floor: 100 as Lsn,
    windowMs: 1_000,
    dropped: false,
    pins: [],
    ...fields,
  };
  const registers = {
    changeVolume: async (
      _register: string,
      _volume: string,
      place: unknown,
      change: (bytes: Uint8Array) => Uint8Array | null,
    ) => {
      const next = change(encodeRetention(retention));
      if (next !== null) retention = decodeRetention(next);
      return { content: { value: encodeRetention(retention) }, changed: next !== null, place };
    },
  };
  const pinsInRewind: string[][] = [];
  const asked: string[] = [];
  let rewind = async (): Promise<{ leftAtLsn: Lsn }> => ({ leftAtLsn: 900 as Lsn });
  const context = {
    directory: { registers },
    random: nodeRandom,
    logger: silentLogger,
    volume: async () => ({}),
    lookup: async () => ({}),
    holder: async () => ({ computeId: 'c2', url: 'http://c2' }),
    holders: {
      backtrack: async (url: string, name: string, to: Moment) => {
        asked.push(`${url} ${name} ${JSON.stringify(to)}`);
        return { name, undo: 'lsn:1000' };
      },
    },
    rewind: (_name: string, target: { lsn: Lsn }) => {
      expect(target.lsn).toBe(POINT.lsn);
      pinsInRewind.push(
        retention.pins
          .filter(({ point }) => point.lsn === POINT.lsn)
          .map(({ name }) => name.split(':')[0] ?? ''),
      );
      return rewind();
    },
  } as unknown as TimelineContext;
  const named = { name: 'main', volume: VOLUME, registerMembers: [], registerGeneration: 0 };
  const resolver = {
    resolve: async () => ({ named, manifest: { runs: [RUN] }, point: POINT, committedAtMicros: 5 }),
  } as unknown as MomentResolver;
  const backtracks = new Backtracks(context, resolver);
  return {
    backtrack: () => backtracks.backtrack('main', { kind: 'lsn', lsn: POINT.lsn }),
    pinsInRewind,
    asked,
    pins: () => retention.pins.map(({ name }) => name),
    raise: (floor: number) => {
      retention = { ...retention, floor: floor as Lsn };
    },
    onRewind: (next: typeof rewind) => {
      rewind = next;
    },
  };
}

describe('a backtrack', () => {
  it('pins its target until the new run is installed, and not longer', async () => {
    const { backtrack, pins, pinsInRewind } = setUp();
    expect(await backtrack()).toMatchObject({ name: 'main', undo: 'lsn:900' });
    expect(pinsInRewind).toEqual([['backtrack']]);
    expect(pins()).toEqual([]);
  });

  it('does not begin when the floor has passed the target since it was resolved', async () => {
    const { backtrack, pins, pinsInRewind, raise } = setUp();
    raise(501);
    await expect(backtrack()).rejects.toMatchObject({ code: 'GONE' });
    expect(pinsInRewind).toEqual([]);
    expect(pins()).toEqual([]);
  });

  it('lets go of the target when it fails, and of one that a crash has left', async () => {
    const left = { name: 'backtrack:older', point: { ...POINT, lsn: 300 as Lsn } };
    const kept = { name: 'snapshot:mine', point: { ...POINT, lsn: 200 as Lsn } };
    const { backtrack, onRewind, pins } = setUp({ pins: [left, kept] });
    onRewind(() => Promise.reject(new TidemarkError('NO_QUORUM', 'too few')));
    await expect(backtrack()).rejects.toMatchObject({ code: 'NO_QUORUM' });
    expect(pins()).toEqual(['snapshot:mine']);
  });

  it('is left to whoever took the volume while it was closed here, to the very same point', async () => {
    const { backtrack, onRewind, pins, asked } = setUp();
    onRewind(() => Promise.reject(new TidemarkError('VOLUME_HELD', 'c2 was faster')));
    expect(await backtrack()).toMatchObject({ undo: 'lsn:1000' });
    expect(asked).toEqual(['http://c2 main {"kind":"lsn","lsn":500}']);
    expect(pins()).toEqual([]);
  });

  it('is one at a time of each volume', async () => {
    const { backtrack, onRewind, pinsInRewind } = setUp();
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    onRewind(async () => {
      await held;
      return { leftAtLsn: 900 as Lsn };
    });
    const both = Promise.all([backtrack(), backtrack()]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(pinsInRewind.length).toBe(1);
    release();
    await both;
    expect(pinsInRewind).toEqual([['backtrack'], ['backtrack']]);
  });
});

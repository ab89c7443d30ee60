/** How far and when a writer raises the retention floor: by the window, by who reads, and not before readers can have told. */
import { describe, expect, it } from 'vitest';
import { FloorKeeper, READER_EXPIRY_MS } from '../../../compute-node/driver/floor-keeper.ts';
import type { Registers } from '../../../compute-node/driver/registers.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { Lsn, NodeId, VolumeId } from '../../../src/log/lsn.ts';
import { decodeRetention, encodeRetention } from '../../../src/register/codec.ts';
import type { RetentionValue } from '../../../src/register/values.ts';

const HOUR_MS = 3_600_000;
const OPENED_MS = 1_000;
const OPENED_WALL_MICROS = 1_700_000_000_000_000;

/** A writer that opened at LSN 1,000; before that one LSN was written per second. */
function opened(fields: Partial<RetentionValue> = {}) {
  let retention: RetentionValue = {
    format: 1,
    volume: 'vol' as VolumeId,
    floor: 0 as Lsn,
    windowMs: HOUR_MS,
    dropped: false,
    pins: [],
    ...fields,
  };
  const asked: number[] = [];
  let failure: TidemarkError | null = null;
  let isTold = false;
  const registers: Pick<Registers, 'changeVolume'> = {
    changeVolume: async (_register, _volume, place, change) => {
      const next = change(encodeRetention(retention));
      if (next !== null) retention = decodeRetention(next);
      const content = { ballot: { number: 1, writerId: 'w' }, version: 1, value: encodeRetention(retention) };
      return { content: content as never, changed: next !== null, place };
    },
  };
  const keeper = new FloorKeeper({
    registers,
    name: {
      format: 1,
      name: 'main',
      volume: retention.volume,
      registerMembers: ['n' as NodeId],
      registerGeneration: 0,
    },
    retention,
    openedAtLsn: 1_000 as Lsn,
    nowMs: OPENED_MS,
    logger: silentLogger,
    newestAt: async (micros) => {
      asked.push(micros);
      if (failure !== null) throw failure;
      return Math.max(0, 1_000 + Math.floor((micros - OPENED_WALL_MICROS) / 1_000_000)) as Lsn;
    },
    onCommitted: () => {},
    onDropped: () => {
      isTold = true;
    },
  });
  /** So long after the opening. */
  const tick = async (sinceMs: number): Promise<number> => {
    const wallMicros = OPENED_WALL_MICROS + sinceMs * 1_000;
    await keeper.tick({ monotonicMs: OPENED_MS + sinceMs, wallMicros });
    return retention.floor;
  };
  return {
    keeper,
    tick,
    asked,
    isTold: () => isTold,
    change: (next: Partial<RetentionValue>) => (retention = { ...retention, ...next }),
    fail: (error: TidemarkError | null) => (failure = error),
  };
}

describe('the retention floor', () => {
  it('is raised to the window’s start soon after a take-over: storage is asked for the time before', async () => {
    const { keeper, tick, asked } = opened({ windowMs: 600_000 });
    keeper.reportReadPoint(1_000 as Lsn);
    expect(await tick(60_000)).toBe(1_000 - 540);
    expect(await tick(120_000)).toBe(1_000 - 480);
    expect(asked.length).toBe(2);
    // From then on by what this writer has seen itself.
    keeper.onDurable(2_000 as Lsn, OPENED_MS + 300_000);
    keeper.reportReadPoint(2_000 as Lsn);
    expect(await tick(600_000)).toBe(1_000);
    expect(await tick(900_000)).toBe(2_000);
    expect(asked.length).toBe(2);
  });

  it('follows a window that somebody else has set, and the writer hears of a volume that somebody else has dropped', async () => {
    const { keeper, tick, change, isTold } = opened({ windowMs: 6 * HOUR_MS });
    keeper.reportReadPoint(1_000 as Lsn);
    change({ windowMs: 600_000 });
    await tick(120_000);
    expect(await tick(240_000)).toBe(1_000 - 360);
    expect(isTold()).toBe(false);
    change({ dropped: true });
    await tick(360_000);
    expect(isTold()).toBe(true);
  });

  it('is not raised before whoever reads can have told a new writer', async () => {
    const { keeper, tick } = opened({ windowMs: 120_000 });
    keeper.reportReadPoint(1_000 as Lsn);
    expect(await tick(READER_EXPIRY_MS - 1_000)).toBe(0);
    expect(await tick(READER_EXPIRY_MS + 12_000)).toBeGreaterThan(0);
  });

  it('is not raised while the engine has not told where it reads, nor above that', async () => {
    const { keeper, tick } = opened({ windowMs: 120_000 });
    expect(await tick(60_000)).toBe(0);
    keeper.reportReadPoint(700 as Lsn);
    expect(await tick(120_000)).toBe(700);
  });

  it('stays below a reader of the past until that one’s time is over', async () => {
    const { keeper, tick } = opened({ windowMs: 120_000 });
    keeper.reportReadPoint(1_000 as Lsn);
    keeper.holdReadPoint('a moment', 300 as Lsn, OPENED_MS + 90_000);
    keeper.holdReadPoint('another', 500 as Lsn, OPENED_MS + 200_000);
    expect(await tick(60_000)).toBe(300);
    expect(await tick(100_000)).toBe(500);
    keeper.holdReadPoint('another', 500 as Lsn, OPENED_MS + 400_000);
    expect(await tick(300_000)).toBe(500);
    keeper.holdReadPoint('another', 500 as Lsn, 0);
    expect(await tick(320_000)).toBe(1_000);
  });

  it('waits when storage cannot say, and goes by a window that was made longer meanwhile', async () => {
    const { keeper, tick, fail, change } = opened({ windowMs: 600_000 });
    keeper.reportReadPoint(1_000 as Lsn);
    fail(new TidemarkError('NO_QUORUM', 'nobody can say'));
    expect(await tick(60_000)).toBe(0);
    fail(null);
    change({ windowMs: 660_000 });
    expect(await tick(120_000)).toBe(1_000 - 540);
    expect(await tick(180_000)).toBe(1_000 - 480);
  });

  it('of a dropped volume is left alone', async () => {
    const { keeper, tick, change } = opened({ windowMs: 120_000 });
    keeper.reportReadPoint(1_000 as Lsn);
    change({ dropped: true });
    expect(await tick(60_000)).toBe(0);
  });
});

/** Open moments, as the writer of their volume is to know them: it keeps their history while they are read, and not for ever. */
import { describe, expect, it } from 'vitest';
import type { TimelineContext } from '../../../compute-node/timelines/context.ts';
import type { ResolvedPoint } from '../../../compute-node/timelines/moment-resolver.ts';
import { OpenedPasts } from '../../../compute-node/timelines/opened-pasts.ts';
import { VolumeRegistry } from '../../../compute-node/volume-registry.ts';
import { originManifest } from '../../../compute-node/volume/take-over-manifest.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { Timers } from '../../../src/env/env.ts';
import type { Lsn, NodeId, RunId, VolumeId } from '../../../src/log/lsn.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const VOLUME = 'volume' as VolumeId;
const MINUTE_MS = 60_000;

function opened() {
  const clock = new ManualClock();
  const told: string[] = [];
  let tellAll = (): void => {};
  let term: string | null = 'first term';
  const registry = new VolumeRegistry({
    open: () => Promise.reject(new Error('no volume is opened')),
    maxOpenVolumes: 10,
    logger: silentLogger,
  });
  const timers: Pick<Timers, 'every'> = {
    every: (_intervalMs, run) => {
      tellAll = run;
      return { cancel: () => {} };
    },
  };
  const past = {
    holdReadPoint: (_holder: string, lsn: Lsn, forMs: number) =>
      told.push(`${term}: ${lsn} for ${Math.round(forMs / MINUTE_MS)} min`),
  };
  const context = {
    clock,
    timers,
    links: { joinRead: () => () => {} },
    holdPast: registry.holdPast.bind(registry),
    openPastEngine: async () => ({ status: () => ({ connections: 0 }), close: async () => {} }),
    openHere: () => (term === null ? null : Promise.resolve({ log: { past } })),
  } as unknown as TimelineContext;
  const manifest = originManifest({
    volume: VOLUME,
    epoch: { number: 2, writerId: 'w' },
    pgPages: 8,
    members: ['a', 'b', 'c', 'd', 'e', 'f'] as NodeId[],
  });
  const resolved = {
    name: 'main',
    point: { volume: VOLUME, run: 0 as RunId, lsn: 5 as Lsn },
    committedAtMicros: null,
    manifest: { ...manifest, runs: [{ ...manifest.runs[0]!, lastLsn: null }] },
    requiredScls: [5 as Lsn],
  } as unknown as ResolvedPoint;
  const pasts = new OpenedPasts(context);
  return {
    clock,
    open: () => pasts.open(resolved),
    registry,
    takeTold: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return told.splice(0);
    },
    tellAll: () => tellAll(),
    begin: (next: string | null) => {
      term = next;
    },
  };
}

describe('an open moment', () => {
  it('is told to the writer before it is read, again to a new term, and once more at its end', async () => {
    const moments = opened();
    const { release } = await moments.open();
    expect(await moments.takeTold()).toEqual(['first term: 5 for 15 min']);
    moments.begin(null);
    moments.tellAll();
    expect(await moments.takeTold()).toEqual([]);
    moments.begin('second term');
    moments.clock.advance(5 * MINUTE_MS);
    moments.tellAll();
    expect(await moments.takeTold()).toEqual(['second term: 5 for 10 min']);
    release();
    await moments.registry.endPasts(VOLUME, new TidemarkError('VOLUME_DROPPED', 'it was dropped'));
    expect((await moments.takeTold())[0]).toMatch(/^second term: 5 for -/);
    moments.tellAll();
    expect(await moments.takeTold()).toEqual([]);
  });

  it('holds the floor from each use anew, and no longer', async () => {
    const moments = opened();
    await moments.open();
    moments.clock.advance(14 * MINUTE_MS);
    await moments.open();
    await moments.takeTold();
    moments.clock.advance(14 * MINUTE_MS);
    moments.tellAll();
    expect(await moments.takeTold()).toEqual(['first term: 5 for 1 min']);
    moments.clock.advance(2 * MINUTE_MS);
    moments.tellAll();
    expect(await moments.takeTold()).toEqual(['first term: 5 for -1 min']);
    moments.tellAll();
    expect(await moments.takeTold()).toEqual([]);
  });
});

/** What a sweep clears away: what nobody is at work on any more, never a volume whose name leads to it. */
import { describe, expect, it } from 'vitest';
import type { TimelineContext } from '../../../compute-node/timelines/context.ts';
import { Drops } from '../../../compute-node/timelines/drops.ts';
import { pinPoint } from '../../../compute-node/timelines/pins.ts';
import type { NamedVolume } from '../../../compute-node/driver/directory.ts';
import type { Registers } from '../../../compute-node/driver/registers.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import type { Lsn, RunId, VolumeId } from '../../../src/log/lsn.ts';
import { decodeRetention, encodeRetention } from '../../../src/register/codec.ts';
import type { RetentionValue } from '../../../src/register/values.ts';

const VOLUME = 'vol00000' as VolumeId;
const NAMED: NamedVolume = {
  format: 1,
  name: 'main',
  volume: VOLUME,
  registerMembers: [],
  registerGeneration: 0,
};
const POINT = { volume: VOLUME, run: 0 as RunId, lsn: 500 as Lsn };

/** Registers of one volume. `listed`: what the list of names shows; `named`: what the name's register says. */
function setUp({
  listed = false,
  named = false,
  record = 'stands',
  ...fields
}: Partial<RetentionValue> & {
  readonly listed?: boolean;
  readonly named?: boolean;
  readonly record?: 'stands' | 'given up';
}) {
  let retention: RetentionValue = {
    ...{ format: 1, volume: VOLUME, floor: 100 as Lsn, windowMs: 1_000, dropped: false, pins: [] },
    ...fields,
  };
  const taken: string[] = [];
  const gone: string[] = [];
  const content = () => ({ content: { value: encodeRetention(retention) } });
  const registers = {
    readVolume: async (register: string) =>
      register === 'retention' ? content() : { content: { value: null } },
    changeVolume: async (
      _register: string,
      _volume: string,
      _place: unknown,
      change: (bytes: Uint8Array) => Uint8Array | null,
    ) => {
      const next = change(encodeRetention(retention));
      if (next !== null) retention = decodeRetention(next);
      return content();
    },
  } as unknown as Registers;
  const directory = {
    registers,
    cluster: { clusterId: 'c', nodes: [] },
    records: {
      list: async () => (record === 'stands' ? [NAMED] : []),
      read: async (volume: string) =>
        record === 'stands' && (volume === VOLUME || volume === 'alive') ? NAMED : null,
      giveUp: async (volume: string) => void gone.push(volume),
    },
    list: async () => (listed ? [NAMED] : []),
    lookup: async () => (named ? NAMED : null),
    takeName: async ({ name }: NamedVolume) => void taken.push(name),
  };
  const context = {
    directory,
    clients: new Map(),
    clock: { now: () => ({ monotonicMs: 1_000, wallMicros: 0 }) },
    logger: silentLogger,
  } as unknown as TimelineContext;
  return { drops: new Drops(context, 0), registers, taken, gone, retention: () => retention };
}

describe('a sweep', () => {
  it('clears away what has a record and no name', async () => {
    const { drops, gone, retention } = setUp({});
    await drops.sweep();
    expect(retention().dropped).toBe(true);
    expect(gone).toEqual([VOLUME]);
  });

  it('takes a name back that was given to a volume that was given up meanwhile', async () => {
    const { drops, taken } = setUp({ listed: true, named: true, record: 'given up', dropped: true });
    await drops.sweep();
    expect(taken).toEqual(['main']);
    const made = setUp({ listed: true, named: true, record: 'given up' });
    await made.drops.sweep();
    expect(made.taken).toEqual([]);
  });

  it('lets go of what a clone pinned that was given up for good before it was made', async () => {
    const pins = ['clone:alive', 'clone:never'].map((name) => ({ name, point: POINT }));
    const { drops, gone, retention } = setUp({ dropped: true, pins });
    await drops.sweep();
    expect(retention().pins.map(({ name }) => name)).toEqual(['clone:alive']);
    expect(gone).toEqual([]);
  });

  it('touches no volume whose name leads to it, although the list of names did not show it', async () => {
    const { drops, taken, gone, retention } = setUp({ named: true });
    await drops.sweep();
    expect(taken).toEqual([]);
    expect(retention().dropped).toBe(false);
    expect(gone).toEqual([]);
  });
});

describe('a dropped volume', () => {
  const pins = [{ name: 'clone:child', point: POINT }];
  const runs = { runs: [] };

  it('takes another clone of a point that one has, and nothing that would keep it for ever', async () => {
    const { registers, retention } = setUp({ dropped: true, floor: Number.MAX_SAFE_INTEGER as Lsn, pins });
    const pin = (name: string) => pinPoint(registers, NAMED, runs, { name, point: POINT });
    await expect(pin('snapshot:late')).rejects.toMatchObject({ code: 'VOLUME_DROPPED' });
    await expect(pin('backtrack:late')).rejects.toMatchObject({ code: 'VOLUME_DROPPED' });
    await pin('clone:second');
    expect(retention().pins.map(({ name }) => name)).toEqual(['clone:child', 'clone:second']);
  });
});

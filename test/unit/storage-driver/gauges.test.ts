import { describe, expect, it } from 'vitest';
import { GIB, MIB } from '../../../src/base/limits.ts';
import { Gauges } from '../../../storage-node/driver/gauges.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';

async function gauges(disk: { freeBytes: number; totalBytes: number }): Promise<Gauges> {
  const made = new Gauges(
    async () => disk,
    nodeTimers,
    async () => 0,
  );
  await made.refresh();
  return made;
}

describe('room on the disk', () => {
  it('is short below 256 MiB, gone well below that; on a small disk by its share', async () => {
    const at = async (freeBytes: number, totalBytes: number) =>
      (await gauges({ freeBytes, totalBytes })).diskRoom;
    expect(await at(300 * MIB, 100 * GIB)).toBe('enough');
    expect(await at(150 * MIB, 100 * GIB)).toBe('short');
    expect(await at(100 * MIB, 100 * GIB)).toBe('gone');
    expect(await at(120 * MIB, 200 * MIB)).toBe('enough');
    expect(await at(80 * MIB, 200 * MIB)).toBe('short');
    expect(await at(40 * MIB, 200 * MIB)).toBe('gone');
  });

  it('shrinks by what is written between two readings, and comes back with a reading', async () => {
    const disk = { freeBytes: 300 * MIB, totalBytes: 100 * GIB };
    const read = await gauges(disk);
    read.noteWritten(MIB);
    expect(read.diskRoom).toBe('enough');
    read.noteWritten(20 * MIB);
    expect(read.diskRoom).toBe('short');
    await read.refresh();
    expect(read.diskRoom).toBe('enough');
  });

  it('is what it was when the disk cannot be read', async () => {
    let fails = false;
    const read = new Gauges(
      async () => {
        if (fails) throw new Error('gone');
        return { freeBytes: MIB, totalBytes: GIB };
      },
      nodeTimers,
      async () => 0,
    );
    await read.refresh();
    fails = true;
    await read.refresh();
    expect(read.diskRoom).toBe('gone');
  });
});

/** What every JournalDisk must do, on the one in memory and on files. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  FileJournalDisk,
  type JournalDisk,
  SECTOR_BYTES,
} from '../../../storage-node/adapters/journal-disk.ts';
import { emptyImage, MemoryJournalDisk } from '../../support/memory-journal-disk.ts';

const RING_BYTES = 8 * SECTOR_BYTES;
const root = await mkdtemp(join(tmpdir(), 'tidemark-journal-'));
afterAll(() => rm(root, { recursive: true, force: true }));
let count = 0;

interface Subject {
  open(): Promise<JournalDisk>;
  /** Closed and opened again. */
  reopen(disk: JournalDisk): Promise<JournalDisk>;
}

function suite(name: string, subject: () => Subject): void {
  describe(`journal disk: ${name}`, () => {
    it('begins as zeros of the size asked for, without guard', async () => {
      const disk = await subject().open();
      expect(disk).toMatchObject({ ringBytes: RING_BYTES, isNew: true });
      expect((await disk.readRing(0, RING_BYTES)).every((byte) => byte === 0)).toBe(true);
      expect(await disk.readGuard('guard-a')).toBeNull();
      await disk.close();
    });

    it('keeps what was written where it was written', async () => {
      const { open, reopen } = subject();
      let disk = await open();
      await disk.writeRing(3 * SECTOR_BYTES, new Uint8Array(2 * SECTOR_BYTES).fill(7));
      await disk.writeRing(4 * SECTOR_BYTES, new Uint8Array(SECTOR_BYTES).fill(8));
      disk = await reopen(disk);
      expect(disk).toMatchObject({ ringBytes: RING_BYTES, isNew: false });
      const ring = await disk.readRing(2 * SECTOR_BYTES, 4 * SECTOR_BYTES);
      expect([0, 1, 2, 3].map((sector) => ring[sector * SECTOR_BYTES + 9])).toEqual([0, 7, 8, 0]);
      await disk.close();
    });

    it('replaces guard copies whole and apart', async () => {
      const { open, reopen } = subject();
      let disk = await open();
      await disk.replaceGuard('guard-a', Uint8Array.of(1, 2, 3));
      await disk.replaceGuard('guard-b', Uint8Array.of(4));
      await disk.replaceGuard('guard-a', Uint8Array.of(5));
      disk = await reopen(disk);
      expect([...((await disk.readGuard('guard-a')) ?? [])]).toEqual([5]);
      expect([...((await disk.readGuard('guard-b')) ?? [])]).toEqual([4]);
      await disk.close();
    });
  });
}

suite('memory', () => ({
  open: async () => new MemoryJournalDisk(emptyImage(RING_BYTES), true),
  reopen: async (disk) => new MemoryJournalDisk((disk as MemoryJournalDisk).image()),
}));

suite('files', () => {
  const directory = join(root, `journal-${count++}`);
  return {
    open: () => FileJournalDisk.open(directory, RING_BYTES),
    reopen: async (disk) => {
      await disk.close();
      return FileJournalDisk.open(directory, RING_BYTES);
    },
  };
});

describe('journal on files', () => {
  it('is preallocated, and keeps the size it was made with', async () => {
    const directory = join(root, 'sized');
    const disk = await FileJournalDisk.open(directory, RING_BYTES + 100);
    expect(disk.ringBytes).toBe(RING_BYTES);
    await disk.close();
    const { size, blocks } = await stat(join(directory, 'ring'));
    expect(size).toBe(RING_BYTES);
    expect(blocks * 512).toBeGreaterThanOrEqual(RING_BYTES);
    const again = await FileJournalDisk.open(directory, 2 * RING_BYTES);
    expect(again.ringBytes).toBe(RING_BYTES);
    await again.close();
  });

  it('says what is wrong with a disk', async () => {
    await expect(FileJournalDisk.open('/dev/null/journal', RING_BYTES)).rejects.toMatchObject({
      code: 'IO_ERROR',
    });
    const directory = join(root, 'closed');
    const disk = await FileJournalDisk.open(directory, RING_BYTES);
    await rm(directory, { recursive: true });
    await expect(disk.replaceGuard('guard-a', new Uint8Array(1))).rejects.toMatchObject({ code: 'IO_ERROR' });
    await expect(disk.readRing(RING_BYTES, SECTOR_BYTES)).rejects.toMatchObject({ code: 'IO_ERROR' });
    await disk.close();
  });
});

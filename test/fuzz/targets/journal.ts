/** A journal's files with anything done to them: recovery finds what is intact, says what is damaged, and never fails. */
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { isTidemarkError } from '../../../src/base/errors.ts';
import { encodeEntry, encodeOps, entrySectors } from '../../../storage-node/adapters/journal-entry.ts';
import { encodeGuard } from '../../../storage-node/adapters/journal-guard.ts';
import { type GuardCopy, SECTOR_BYTES } from '../../../storage-node/adapters/journal-disk.ts';
import { recoverJournal } from '../../../storage-node/adapters/journal-recovery.ts';
import { emptyImage, MemoryJournalDisk } from '../../support/memory-journal-disk.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { mutateBytes } from '../mutate.ts';
import { durableOps } from '../samples.ts';
import type { Target } from '../target.ts';

const RING_SECTORS = 12;

export const journal: Target = {
  name: 'journal',
  weight: 4,
  concurrency: 1,
  open: async () => ({
    input: async (random) => {
      const disk = new MemoryJournalDisk(damagedImage(random));
      try {
        const { recovery } = await recoverJournal(disk, nodeCrc32, random.below(20));
        for (const finding of recovery.findings)
          if (typeof finding !== 'string') throw new Error('no finding');
      } catch (error) {
        if (!isTidemarkError(error)) throw error;
      }
    },
    check: () => {},
    close: async () => {},
  }),
};

function damagedImage(random: SeededRandom) {
  const image = emptyImage(RING_SECTORS * SECTOR_BYTES);
  let sector = 0;
  let previousChecksum = 0;
  for (let sequence = 1 + random.below(5); sector < RING_SECTORS - 1; sequence += 1) {
    const payload = encodeOps(durableOps(random));
    const sectors = entrySectors(payload.length);
    const target = image.ring.subarray(sector * SECTOR_BYTES, (sector + sectors) * SECTOR_BYTES);
    const offset = sector * SECTOR_BYTES;
    const header = { sequence, offset, knownSynced: sequence - 1, storeFlushed: 0, previousChecksum };
    previousChecksum = encodeEntry(header, payload, target, nodeCrc32);
    sector += sectors;
    if (random.chance(0.2)) break;
  }
  const guards = new Map<GuardCopy, Uint8Array>();
  for (const copy of ['guard-a', 'guard-b'] as const) {
    if (random.chance(0.2)) continue;
    const guard = {
      generation: 1 + random.below(2),
      through: random.below(4),
      storeFlushed: random.below(4),
      values: new Map([['a', Uint8Array.of(1)]]),
    };
    const bytes = encodeGuard(guard, nodeCrc32);
    guards.set(copy, random.chance(0.4) ? mutateBytes(random, bytes) : bytes);
  }
  if (random.chance(0.7)) damageSectors(random, image.ring);
  return { ring: image.ring, guards };
}

/** Mutated within sectors: a disk does not shift what lies behind. */
function damageSectors(random: SeededRandom, ring: Uint8Array): void {
  for (let count = 1 + random.below(3); count > 0; count -= 1) {
    const from = random.below(RING_SECTORS) * SECTOR_BYTES;
    const length = random.chance(0.7) ? 64 : SECTOR_BYTES;
    const piece = mutateBytes(random, ring.subarray(from, from + length));
    ring.set(piece.subarray(0, length), from);
  }
}

/** What a storage node keeps over crashes and damage: journal, guard, quarantine, checksums (design section 5). */
import type { Mutant } from '../mutant.ts';
import { RESTARTS } from './biases.ts';

const SEGMENT = 'storage-node/core/segment.ts';
const RECOVERY = 'storage-node/core/recovery.ts';
const JOURNAL = 'storage-node/adapters/journal.ts';
const JOURNAL_RECOVERY = 'storage-node/adapters/journal-recovery.ts';
const JOURNAL_ENTRY = 'storage-node/adapters/journal-entry.ts';
const FENCE = 'compute-node/volume/take-over-fence.ts';
const VALUES = 'storage-node/core/values.ts';
const CODEC = 'src/log/codec.ts';
const ENVELOPE = 'src/base/envelope.ts';

export const STORAGE: readonly Mutant[] = [
  {
    name: 'epoch-not-durable',
    rule: 'The promise of an epoch survives a restart.',
    section: '5, 6',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: SEGMENT,
        find: "return [this.guard('promise', encodeEpoch(epoch))];",
        replace: 'return [];',
      },
    ],
  },
  {
    name: 'promise-kept-in-leveldb-only',
    rule: 'Promises are in the journal’s guard: LevelDB alone cannot be trusted with what was acknowledged.',
    section: '5',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: SEGMENT,
        find: "return [this.guard('promise', encodeEpoch(epoch))];",
        replace: "return [{ kind: 'home', key: this.keys.round(NO_LSN), value: encodeEpoch(epoch) }];",
      },
      {
        file: RECOVERY,
        find: '    const endLsn = trailingLsn(key);\n',
        replace:
          '    const endLsn = trailingLsn(key);\n    if (endLsn === NO_LSN) {\n      const promise = decodeEpoch(value);\n      if (compareEpochs(promise, segment.promised) > 0) segment.promised = promise;\n    }\n',
      },
    ],
  },
  {
    name: 'quarantine-off',
    rule: 'A segment that holds less than it acknowledged says so: its absences prove nothing.',
    section: '5',
    arena: 'members',
    edits: [
      { file: SEGMENT, find: 'return this.quarantine !== null;', replace: 'return false;' },
      {
        file: FENCE,
        find: 'return promise.intact && promise.watermark <= promise.scl;',
        replace: 'return promise.intact;',
      },
    ],
  },
  {
    name: 'watermark-off',
    rule: 'What was acknowledged is remembered beside the log: less held than that is found at the start.',
    section: '5',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: RECOVERY,
        find: 'segment.watermark = watermark ?? NO_LSN;',
        replace: 'segment.watermark = NO_LSN;',
      },
    ],
  },
  {
    name: 'quarantined-inventory-counts',
    rule: 'A quarantined segment’s absences deny nothing to recovery.',
    section: '5, 6',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: FENCE,
        find: 'return promise.intact && promise.watermark <= promise.scl;',
        replace: 'return true;',
      },
    ],
  },
  {
    name: 'journal-not-replayed',
    rule: 'Batches that LevelDB lost are replayed from the journal at a start.',
    section: '5',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: RECOVERY,
        find: 'replayChunks(ctx, segment, journal.get(segment.name)?.chunks ?? []);',
        replace: '',
      },
    ],
  },
  {
    name: 'torn-tail-taken-for-damage',
    rule: 'An entry that was never known synced and is torn is no damage.',
    section: '5',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [{ file: JOURNAL_RECOVERY, find: '    lastFound - 1,\n', replace: '    lastFound + 1,\n' }],
  },
  {
    name: 'damage-taken-for-torn-tail',
    rule: 'An invalid entry at or below one known synced is damage.',
    section: '5',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: JOURNAL_RECOVERY,
        find: 'damaged: gaps.length > 0 || guard.findings.length > 0,',
        replace: 'damaged: false,',
      },
    ],
  },
  {
    name: 'journal-checksum-unchecked',
    rule: 'A journal entry counts only with its checksum.',
    section: '5',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [{ file: JOURNAL_ENTRY, find: 'if (checksum !== header.checksum) return false;', replace: '' }],
  },
  {
    name: 'ring-reused-before-flush',
    rule: 'Ring space is reused only when its home ops are in LevelDB’s tables and its guard ops in both copies.',
    section: '5',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: JOURNAL,
        find: 'this.#ring.release(Math.min(this.#storeFlushed, this.#guardThrough));',
        replace: 'this.#ring.release(this.#writtenSequence);',
      },
      {
        file: JOURNAL,
        find: 'this.#storeFlushed = Math.max(this.#storeFlushed, through);',
        replace: 'this.#storeFlushed = Math.max(this.#storeFlushed, this.#writtenSequence);',
      },
    ],
  },
  {
    name: 'store-not-flushed-at-checkpoint',
    rule: 'LevelDB is synced before ring space is reused.',
    section: '5',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: JOURNAL,
        find: '      await this.#options.flushStore();\n      this.#storeFlushed = Math.max(',
        replace: '      this.#storeFlushed = Math.max(',
      },
    ],
  },
  {
    name: 'lost-round-not-noticed',
    rule: 'Coalescing rounds form a chain: one that LevelDB lost in its middle is coalesced again.',
    section: '5',
    arena: 'pages',
    edits: [
      {
        file: RECOVERY,
        find: 'if (broken.length === 0 && roundStart(ctx, segment, key, value) === baseLsn) {',
        replace: 'if (broken.length === 0) {',
      },
    ],
  },
  {
    name: 'store-values-not-bound-to-their-key',
    rule: 'The checksum of a stored value covers its key: page and LSN.',
    section: '5',
    arena: 'codec',
    edits: [
      {
        file: VALUES,
        find: 'return (bytes, seed) => this.crc32(bytes, this.crc32(key, seed));',
        replace: 'return (bytes, seed) => this.crc32(bytes, seed);',
      },
    ],
  },
  {
    name: 'record-checksum-unchecked',
    rule: 'A record’s own checksum is checked wherever bytes come in.',
    section: '5',
    arena: 'codec',
    edits: [
      {
        file: CODEC,
        find: 'return recordChecksum(record, context, crc32) === record.checksum;',
        replace: 'return true;',
      },
    ],
  },
  {
    name: 'record-checksum-without-page',
    rule: 'A record’s checksum covers its page.',
    section: '5',
    arena: 'codec',
    edits: [
      {
        file: CODEC,
        find: 'checkedView.setUint32(24, record.page);',
        replace: 'checkedView.setUint32(24, 0);',
      },
    ],
  },
  {
    name: 'record-checksum-without-lsn',
    rule: 'A record’s checksum covers its LSN and backlink.',
    section: '5',
    arena: 'codec',
    edits: [
      {
        file: CODEC,
        find: 'checkedView.setFloat64(0, record.lsn);',
        replace: 'checkedView.setFloat64(0, 0);',
      },
      {
        file: CODEC,
        find: 'checkedView.setFloat64(8, record.prevLsn);',
        replace: 'checkedView.setFloat64(8, 0);',
      },
    ],
  },
  {
    name: 'record-checksum-without-birth-epoch',
    rule: 'A record’s checksum covers volume, PG and birth epoch.',
    section: '5',
    arena: 'codec',
    edits: [
      {
        file: CODEC,
        find: 'return crc32(textEncoder.encode(`${volume}\\n${pg}\\n${birthEpoch.number}\\n${birthEpoch.writerId}`));',
        replace: 'return crc32(textEncoder.encode(`${volume}`));',
      },
    ],
  },
  {
    name: 'envelope-checksum-unchecked',
    rule: 'Every value of ours that is stored or sent is under a checksum, which is checked.',
    section: '5',
    arena: 'codec',
    edits: [
      {
        file: ENVELOPE,
        find: 'if (checksum(payload, seedOf(format)) !== stated) {',
        replace: 'if (false) {',
      },
    ],
  },
  {
    name: 'envelope-kinds-not-told-apart',
    rule: 'Intact bytes of one kind of value are never taken for another.',
    section: '5',
    arena: 'codec',
    edits: [
      {
        file: ENVELOPE,
        find: 'return (format.tag << 8) | format.version;',
        replace: 'return format.version;',
      },
    ],
  },
];

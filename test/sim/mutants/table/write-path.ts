/** The way of a write: acknowledgement, durability, completeness (design sections 1, 3, 5). */
import type { Mutant } from '../mutant.ts';
import { FAILOVERS, GROWTH, ZOMBIES } from './biases.ts';

const TRACKER = 'src/quorum/volume-tracker.ts';
const PG_TRACKER = 'src/quorum/pg-tracker.ts';
const HELD_LOG = 'storage-node/core/held-log.ts';
const DRIVER = 'storage-node/driver/driver.ts';
const SEGMENT = 'storage-node/core/segment.ts';
const WRITER = 'compute-node/volume/writer.ts';

export const WRITE_PATH: readonly Mutant[] = [
  {
    name: 'ack-at-vcl',
    rule: 'VDL is the highest CPL at or below VCL, not VCL: half an MTR is never durable.',
    section: '1, 3',
    arena: 'cluster',
    edits: [{ file: TRACKER, find: 'if (slot & 1) vdl = next;', replace: 'vdl = next;' }],
  },
  {
    name: 'ack-before-sync',
    rule: 'A storage node answers only when the journal entry is synced.',
    section: '3, 5',
    arena: 'cluster',
    edits: [
      {
        file: DRIVER,
        find: 'journal.append(ops, () => this.#onDurable(whenDurable));',
        replace: 'journal.append(ops, () => undefined); this.#onDurable(whenDurable);',
      },
    ],
  },
  {
    name: 'scl-skips-gap',
    rule: 'SCL follows the backlinks: a segment claims no record beyond a gap.',
    section: '1',
    arena: 'cluster',
    edits: [
      {
        file: HELD_LOG,
        find: 'if ((piece.records[0] as RedoRecord).prevLsn !== this.scl) break;',
        replace: '',
      },
    ],
  },
  {
    name: 'pgcl-is-maximum',
    rule: 'PGCL is what four of six SCLs have reached, not the highest one.',
    section: '1',
    arena: 'cluster',
    edits: [
      {
        file: PG_TRACKER,
        find: 'this.deciders.reachedByWriteQuorum((node) => this.sclOf(node)) as Lsn',
        replace: 'Math.max(...this.deciders.nodes.map((node) => this.sclOf(node))) as Lsn',
      },
    ],
  },
  {
    name: 'write-quorum-of-three',
    rule: 'Writes need four of six, so that any three inventories meet them.',
    section: '3',
    arena: 'cluster',
    edits: [
      {
        file: PG_TRACKER,
        find: 'this.deciders.reachedByWriteQuorum((node) => this.sclOf(node)) as Lsn',
        replace: 'this.deciders.reachedByReadQuorum((node) => this.sclOf(node)) as Lsn',
      },
    ],
  },
  {
    name: 'restarted-segment-keeps-its-acks',
    rule: 'When an incarnation changes, the live writer forgets that segment’s earlier acknowledgements.',
    section: '5',
    arena: 'cluster',
    edits: [
      {
        file: PG_TRACKER,
        find: '    if (member.incarnation !== incarnation) {',
        replace: '    if (member.incarnation === null) {',
      },
    ],
  },
  {
    name: 'vcl-ignores-other-pgs',
    rule: 'VCL covers a record only when a write quorum of its own PG holds it and all before it.',
    section: '1',
    arena: 'cluster',
    edits: [
      {
        file: TRACKER,
        find: 'if (this.stateOf((slot >>> 1) as PgIndex).tracker.pgcl < next) break;',
        replace: 'if (this.pgs.every(({ tracker }) => tracker.pgcl < next)) break;',
      },
    ],
  },
  {
    name: 'every-record-a-cpl',
    rule: 'Only the last record of an MTR is a CPL: an MTR is never torn at a batch boundary.',
    section: '1, 3',
    arena: 'cluster',
    edits: [{ file: WRITER, find: 'const isCpl = i === count - 1;', replace: 'const isCpl = true;' }],
  },
  {
    name: 'resend-duplicates',
    rule: 'A record that comes again is known, not new.',
    section: '3',
    arena: 'pages',
    edits: [
      {
        file: HELD_LOG,
        find: "return isSame && sameEpoch(next.birthEpoch, birthEpoch) ? 'known' : 'conflict';",
        replace: "return isSame && sameEpoch(next.birthEpoch, birthEpoch) ? 'new' : 'conflict';",
      },
    ],
  },
  {
    name: 'later-mtr-overtakes-one-that-waits',
    rule: 'While an MTR waits for its PG, every later MTR waits behind it.',
    section: '6, 9',
    arena: 'cluster',
    hint: GROWTH,
    edits: [
      {
        file: WRITER,
        find: 'const mustWait = !this.held.isEmpty || highestPg >= this.manifests.committedCount;',
        replace: 'const mustWait = highestPg >= this.manifests.committedCount;',
      },
    ],
  },
  {
    name: 'uncommitted-pg-written',
    rule: 'Records for a new PG go out only after the manifest naming it is committed.',
    section: '6, 9',
    arena: 'cluster',
    hint: GROWTH,
    edits: [
      {
        file: WRITER,
        find: 'this.manifests.onFailed(event.version, nowMs);',
        replace: 'this.onManifestCommitted(event.version, nowMs);',
      },
    ],
  },
  {
    name: 'deposed-writer-goes-on',
    rule: 'Proof of a higher epoch ends the term for good.',
    section: '3, 6',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      {
        file: WRITER,
        find: 'if (compareEpochs(refusal.promised, this.epoch) <= 0) return false;',
        replace: 'return false;',
      },
    ],
  },
  {
    name: 'coalescing-above-vdl',
    rule: 'Only durable records are brought into page form.',
    section: '5',
    arena: 'cluster',
    edits: [
      {
        file: SEGMENT,
        find: 'return Math.min(this.vdl, this.scl) as Lsn;',
        replace: 'return this.scl;',
      },
      {
        file: SEGMENT,
        find: 'assert(this.coalesced <= this.vdl,',
        replace: 'assert(true,',
      },
    ],
  },
  {
    name: 'commit-time-goes-back',
    rule: 'Commits are stamped max(previous + 1, now), over failovers too.',
    section: '7',
    arena: 'cluster',
    hint: FAILOVERS,
    edits: [
      {
        file: WRITER,
        find: 'Math.max(this.lastCommitTimeMicros + 1, now.wallMicros)',
        replace: 'now.wallMicros',
      },
    ],
  },
];

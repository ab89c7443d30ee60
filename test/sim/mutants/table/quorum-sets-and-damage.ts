/** Quorum sets while members change (design section 9), and stores that are damaged (section 5). */
import type { Mutant } from '../mutant.ts';
import { MEMBERS, OLD_DISKS } from './biases.ts';

const QUORUM_SET = 'src/quorum/quorum-set.ts';
const PG_TRACKER = 'src/quorum/pg-tracker.ts';
const WRITER_MEMBERS = 'compute-node/volume/writer-members.ts';
const RECOVERY = 'storage-node/core/recovery.ts';
const PAGE_READ = 'storage-node/core/page-read.ts';

export const QUORUM_SETS_AND_DAMAGE: readonly Mutant[] = [
  {
    name: 'membership-change-by-old-quorum-alone',
    rule: 'From the proposal on, writes, fences, installs and leases need 4/6 of the old set and 4/6 of the new.',
    section: '9',
    arena: 'cluster',
    hint: MEMBERS,
    edits: [
      {
        file: QUORUM_SET,
        find: 'return new QuorumSet(proposed === null ? [members] : [members, proposed]);',
        replace: 'return new QuorumSet(proposed === null || proposed.length > 0 ? [members] : [members]);',
      },
    ],
  },
  {
    name: 'newcomer-counted-before-hydration',
    rule: 'A newcomer’s SCL counts only once it is hydrated, and a change ends only then.',
    section: '9',
    arena: 'cluster',
    hint: MEMBERS,
    edits: [
      {
        file: PG_TRACKER,
        find: 'const counted = isHydrated ? scl : NO_LSN;',
        replace: 'const counted = scl;',
      },
      {
        file: WRITER_MEMBERS,
        find: 'if (!newcomers.every((node) => known.isHydrated(node) && known.sclOf(node) >= pgclBefore)) return false;',
        replace: '',
      },
    ],
  },
  {
    name: 'stricter-rule-only-once-committed',
    rule: 'Both member sets count from before the proposal leaves the writer.',
    section: '9',
    arena: 'cluster',
    hint: MEMBERS,
    edits: [
      {
        file: 'compute-node/volume/writer-manifests.ts',
        find: 'return this.proposedConfigOf(pg) ?? config;',
        replace: 'return config;',
      },
    ],
  },
  {
    name: 'inventories-of-either-set',
    rule: 'Three intact inventories of each member set are needed: a record may be called never-durable only if three of one set deny it.',
    section: '6, 9',
    arena: 'cluster',
    hint: MEMBERS,
    edits: [
      {
        file: 'compute-node/volume/take-over-compute.ts',
        find: 'if (!quorum.isReadQuorum(isIntact))',
        replace: 'if (intact.size < 3)',
      },
    ],
  },
  {
    name: 'moved-register-begins-empty',
    rule: 'A register that moved goes on from the value that its tombstone carries.',
    section: '6',
    arena: 'cluster',
    hint: MEMBERS,
    edits: [
      {
        file: 'compute-node/volume/take-over-register.ts',
        find: 'return { value: learned.value ?? this.#before };',
        replace: 'return { value: learned.value };',
      },
      {
        file: 'compute-node/volume/take-over-register.ts',
        find: 'this.result = { ...content, value: content.value ?? this.#before };',
        replace: 'this.result = content;',
      },
    ],
  },
  {
    name: 'damaged-pages-trusted',
    rule: 'Pages whose newest value the store may have lost are copied from peers before they are shown.',
    section: '5',
    arena: 'cluster',
    hint: OLD_DISKS,
    edits: [
      { file: RECOVERY, find: 'doubts.add(NO_PAGE, COMMIT_INDEX);', replace: '' },
      { file: PAGE_READ, find: 'if (!segment.doubts.covers(page)) return;', replace: 'return;' },
    ],
  },
];

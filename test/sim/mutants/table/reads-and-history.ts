/** Page reads, floor and collection, timelines (design sections 4, 5, 7), and the engine's side of them. */
import type { Mutant } from '../mutant.ts';
import { HISTORY } from './biases.ts';

const READ_REQUESTS = 'storage-node/core/read-requests.ts';
const PAGE_READ = 'storage-node/core/page-read.ts';
const COLLECT = 'storage-node/core/collect.ts';
const FLOOR_WINDOW = 'compute-node/volume/writer-floor.ts';
const FLOOR_KEEPER = 'compute-node/driver/floor-keeper.ts';
const TRACKER = 'src/quorum/volume-tracker.ts';
const PAGE_CACHE = 'compute-node/engine/worker/page-cache.ts';
const VOLUME_FILE = 'compute-node/engine/worker/volume-file.ts';
const PROGRAM_RUN = 'compute-node/engine/program-run.ts';
const OUTPUT = 'compute-node/engine/worker/output.ts';

export const READS_AND_HISTORY: readonly Mutant[] = [
  {
    name: 'read-from-lagging-segment',
    rule: 'A segment serves a read point only when its SCL has reached the tail there; else it says BEHIND.',
    section: '1, 4',
    arena: 'cluster',
    edits: [{ file: READ_REQUESTS, find: 'if (segment.scl < requiredScl) {', replace: 'if (false) {' }],
  },
  {
    name: 'scl-compared-with-the-lsn',
    rule: 'A segment can serve L when its SCL has reached tail(PG, L), not L itself: a quiet PG serves for ever.',
    section: '1',
    arena: 'cluster',
    edits: [
      {
        file: TRACKER,
        find: 'return Math.min(at, this.stateOf(pg).tailAtVdl) as Lsn;',
        replace: 'return at;',
      },
    ],
  },
  {
    name: 'read-below-the-floor',
    rule: 'A read below the floor is refused (GONE) unless it is pinned.',
    section: '7',
    arena: 'pages',
    edits: [
      {
        file: READ_REQUESTS,
        find: "throw new TidemarkError('GONE', `history below ${retention.floor} is not kept`);",
        replace: '',
      },
    ],
  },
  {
    name: 'invisible-records-shown',
    rule: 'A read point sees its own run’s records and its parent’s up to the branch, nothing of a rewound stretch.',
    section: '7',
    arena: 'pages',
    edits: [
      {
        file: PAGE_READ,
        find: 'history.filter((record) => isVisible(level.path, level.segment.volume, record.lsn))',
        replace: 'history.filter(() => true)',
      },
    ],
  },
  {
    name: 'page-history-unchecked',
    rule: 'Every record of a page names the one before it: what is missing is damage, never an older page in silence.',
    section: '5',
    arena: 'pages',
    edits: [
      {
        file: PAGE_READ,
        find: 'if (record.prevLsn === null || record.prevLsn === before) continue;',
        replace: 'continue;',
      },
    ],
  },
  {
    name: 'head-of-page-not-remembered',
    rule: 'A head read that ends on an older record than the newest one remembered is damage, not an answer.',
    section: '5',
    arena: 'pages',
    edits: [
      {
        file: PAGE_READ,
        find: 'if (own !== undefined) checkHead(point, own, page, lsn);',
        replace: '',
      },
    ],
  },
  {
    name: 'collection-above-a-reader',
    rule: 'The floor is never raised above a live read point.',
    section: '7',
    arena: 'cluster',
    hint: HISTORY,
    edits: [
      {
        file: FLOOR_WINDOW,
        find: 'return Math.min(this.samples[0]!.lsn, lowestReadPoint) as Lsn;',
        replace: 'return this.samples[0]!.lsn;',
      },
    ],
  },
  {
    name: 'collection-above-the-window',
    rule: 'The floor is never raised above the window’s start.',
    section: '7',
    arena: 'cluster',
    hint: HISTORY,
    edits: [
      {
        file: FLOOR_WINDOW,
        find: 'return Math.min(this.samples[0]!.lsn, lowestReadPoint) as Lsn;',
        replace: 'return lowestReadPoint;',
      },
      { file: FLOOR_WINDOW, find: 'if (index < 0) return null;', replace: 'if (index < 0) index = 0;' },
    ],
  },
  {
    name: 'collection-above-a-pin',
    rule: 'What a pin needs is kept.',
    section: '7',
    arena: 'pages',
    edits: [
      {
        file: COLLECT,
        find: 'return !kept.some(({ from, to }) => end >= from && start <= to);',
        replace: 'return true;',
      },
    ],
  },
  {
    name: 'newest-below-the-floor-is-enough',
    rule: 'After a backtrack the head may descend from an older point: each retained run keeps what its own lowest read point starts from.',
    section: '7',
    arena: 'pages',
    edits: [
      {
        file: COLLECT,
        find: 'for (const need of needs.oldestOfRuns) keepFrom = Math.min(keepFrom, baseOf(need) ?? keepFrom) as Lsn;',
        replace:
          'keepFrom = Math.min(keepFrom, entries.findLast((entry) => entry.isLasting)?.firstLsn ?? keepFrom) as Lsn;',
      },
    ],
  },
  {
    name: 'floor-raised-around-a-pin',
    rule: 'Raising the floor is a compare-and-set of the retention register, ordered with pins.',
    section: '7',
    arena: 'cluster',
    hint: HISTORY,
    edits: [
      {
        file: FLOOR_KEEPER,
        find: 'const current = decodeRetention(bytes);',
        replace: 'const current = this.#retention;',
      },
    ],
  },
  {
    name: 'destructive-act-on-an-uncommitted-floor',
    rule: 'History is collected to a committed floor only.',
    section: '6, 7',
    arena: 'cluster',
    hint: HISTORY,
    edits: [
      {
        file: FLOOR_KEEPER,
        find: 'return encodeRetention({ ...current, floor });',
        replace:
          'this.#bytes = encodeRetention({ ...current, floor });\n      this.#told = new Set();\n      this.#tellingSince = new Map();\n      return this.#bytes;',
      },
    ],
  },
  {
    name: 'eviction-above-vdl',
    rule: 'No page whose newest change is above VDL is evicted: storage could not give it back.',
    section: '4',
    arena: 'engine',
    edits: [
      {
        file: PAGE_CACHE,
        find: 'if (entry === except || newestLsn > this.#vdl) {',
        replace: 'if (entry === except) {',
      },
    ],
  },
  {
    name: 'stale-snapshot-allowed-to-write',
    rule: 'A transaction that read an older state than the newest MTR may not write.',
    section: '4, 10',
    arena: 'engine',
    edits: [
      {
        file: VOLUME_FILE,
        find: "if (this.#readPoint !== this.#view.head()) return 'stale';",
        replace: '',
      },
      {
        file: VOLUME_FILE,
        find: "assert(this.#readPoint === this.#view.head(), 'a commit that is not based on the newest MTR');",
        replace: '',
      },
      {
        file: 'compute-node/engine/worker/program.ts',
        find: 'if (file.lock < LOCK.shared || file.readPoint === this.#env.headLsn()) return;',
        replace: 'if (true) return;',
      },
    ],
  },
  {
    name: 'non-durable-result-released',
    rule: 'A result is given out only when VDL covers what it saw or wrote.',
    section: '3, 4',
    arena: 'output',
    edits: [
      {
        file: PROGRAM_RUN,
        find: 'if (message.lsn > volume.vdl) await volume.whenDurable(message.lsn);',
        replace: '',
      },
    ],
  },
  {
    name: 'strong-result-released-unconfirmed',
    rule: 'A strong result with no MTR of its own behind it is confirmed after it was computed.',
    section: '4',
    arena: 'output',
    edits: [{ file: PROGRAM_RUN, find: 'if (confirmation !== null) await confirmation;', replace: '' }],
  },
  {
    name: 'rows-before-a-commit-unconfirmed',
    rule: 'What a program says after its last MTR is a read, and is confirmed.',
    section: '4',
    arena: 'output',
    edits: [
      { file: OUTPUT, find: 'needsConfirmation: this.#isUncovered,', replace: 'needsConfirmation: false,' },
    ],
  },
];

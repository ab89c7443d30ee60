/** Who holds a PG, and from when on a newcomer is believed (design section 9). */
import type { Mutant } from '../mutant.ts';

const MEMBERSHIP = 'storage-node/core/membership.ts';
const PAGE_BATCH = 'storage-node/core/page-batch.ts';
const COPIES = 'storage-node/core/page-copies.ts';
const SEGMENT = 'storage-node/core/segment.ts';

export const MEMBERS: readonly Mutant[] = [
  {
    name: 'newcomer-votes-before-hydration',
    rule: 'Who comes to a PG under a later configuration than its first vouches for nothing before it is hydrated.',
    section: '9',
    arena: 'members',
    edits: [
      {
        file: MEMBERSHIP,
        find: 'const isBorn = known === null && configVersion <= FIRST_CONFIG_VERSION;',
        replace: 'const isBorn = true;',
      },
    ],
  },
  {
    name: 'asked-back-and-believed',
    rule: 'Who is to follow again, and has missed that it left, is as new as any other.',
    section: '9',
    arena: 'members',
    edits: [
      {
        file: MEMBERSHIP,
        find: 'const ops = isNewcomer ? comeAnew(ctx, segment, config.configVersion) : [];',
        replace: 'const ops: DurableOp[] = [];',
      },
    ],
  },
  {
    name: 'hydrated-when-copied',
    rule: 'A copy of pages is not the end of the log: a newcomer counts when it holds all that three whole members held.',
    section: '9',
    arena: 'members',
    edits: [
      {
        file: SEGMENT,
        find: 'this.hydration.isCopied = true;',
        replace: 'this.hydration = null;',
      },
      {
        file: SEGMENT,
        find: "    this.quarantine = { kind: 'damaged', targets: new Map() };\n    this.rounds = [];",
        replace: '    this.quarantine = null;\n    this.rounds = [];',
      },
    ],
  },
  {
    name: 'hydrated-by-old-records',
    rule: 'What the log has from before a copy began ends no hydration, least of all at a start.',
    section: '9',
    arena: 'members',
    edits: [
      {
        file: SEGMENT,
        find: 'if (this.hydration !== null && !(this.hydration.isCopied && this.hydration.isComplete)) return [];',
        replace: 'if (this.hydration?.isCopied === true && !this.hydration.isComplete) return [];',
      },
    ],
  },
  {
    name: 'hydrated-by-one-peer',
    rule: 'One peer may itself lack what is durable: three of six meet every write quorum.',
    section: '5, 9',
    arena: 'members',
    edits: [{ file: SEGMENT, find: 'const CLEARING_PEERS = 3;', replace: 'const CLEARING_PEERS = 1;' }],
  },
  {
    name: 'cut-admitted-in-hydration',
    rule: 'A page entry at an LSN that is in no run is not taken over in a copy.',
    section: '6, 9',
    arena: 'members',
    edits: [{ file: PAGE_BATCH, find: '|| runOf(this.manifest.runs, lsn) === null', replace: '' }],
  },
  {
    name: 'no-tombstone',
    rule: 'A node that has left a PG answers no message of a configuration in which it was a member.',
    section: '9',
    arena: 'members',
    edits: [
      {
        file: MEMBERSHIP,
        find: 'if (known === null || known.left === null || configVersion > known.left.configVersion) return null;',
        replace: 'if (known !== null || known === null) return null;',
      },
    ],
  },
  {
    name: 'copy-goes-on-in-the-middle',
    rule: 'What a bundle has beyond the cursor is part of the rest: sources differ in where bundles begin.',
    section: '9',
    arena: 'copies',
    edits: [{ file: COPIES, find: 'if (!(yield* this.rest(cursor))) return this.end();', replace: '' }],
  },
];

/** What storage nodes remember of each other (design section 5): nodes put back to old images of their disks. */
import type { Mutant } from '../mutant.ts';

const RECALL = 'storage-node/core/recall.ts';
const DOUBT = 'storage-node/core/doubt.ts';
const MEMORY = 'storage-node/core/peer-memory.ts';
const ITEMS = 'storage-node/core/memory-items.ts';
const EXCHANGE = 'storage-node/core/memory-exchange.ts';
const REGISTERS = 'storage-node/core/registers.ts';
const SEGMENT = 'storage-node/core/segment.ts';
const RECOVERY = 'storage-node/core/recovery.ts';

export const PEERS_MEMORY: readonly Mutant[] = [
  {
    name: 'peers-not-asked-after-restart',
    rule: 'A node that starts votes and acknowledges only when its peers have answered what it may have forgotten.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: RECALL,
        find: 'if (this.isSettled || !this.isAnswered(ctx)) return false;',
        replace: 'if (this.isSettled) return false;',
      },
    ],
  },
  {
    name: 'votes-while-peers-are-asked',
    rule: 'While a node asks its peers it neither promises nor acknowledges.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: RECALL,
        find: 'if (!this.isSettled) return unsure(`storage node ${ctx.options.nodeId}`);',
        replace: '',
      },
    ],
  },
  {
    name: 'old-image-believed',
    rule: 'What the peers remember and the node does not know puts the node in doubt of itself.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: RECALL,
        find: 'if (lapses.length > 0 || isOldImage) {',
        replace: 'if (lapses.length < 0) {',
      },
    ],
  },
  {
    name: 'promise-forgotten-with-the-disk',
    rule: 'A promise that the peers remember is in force again before the node votes.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: SEGMENT,
        find: 'const ops = compareEpochs(promised, this.promised) > 0 ? this.promise(promised) : [];',
        replace: 'const ops: DurableOp[] = [];',
      },
    ],
  },
  {
    name: 'register-acceptor-rolled-back',
    rule: 'An acceptor put back to an old image votes only when three others have told it what they hold.',
    section: '5, 6',
    arena: 'memory',
    edits: [
      { file: DOUBT, find: 'this.registers.isTrusted = false;', replace: '' },
      {
        file: REGISTERS,
        find: 'this.lost.set(key, { acceptedBallot, acceptedVersion });',
        replace: '',
      },
    ],
  },
  {
    name: 'lost-value-denied',
    rule: 'An acceptor that lost what it had accepted tells nobody that it holds less.',
    section: '6',
    arena: 'memory',
    edits: [{ file: REGISTERS, find: 'if (registers.lostOf(body.key) !== null) {', replace: 'if (false) {' }],
  },
  {
    name: 'rolled-back-segment-takes-appends',
    rule: 'A segment put back to an old image is in quarantine until it holds what it had acknowledged.',
    section: '5',
    arena: 'memory',
    edits: [{ file: DOUBT, find: 'for (const segment of ctx.segments.all()) segment.doubt();', replace: '' }],
  },
  {
    name: 'doubt-forgotten-at-restart',
    rule: 'A node that forgot something remembers that it did until it is made good, over restarts.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: DOUBT,
        find: "return [{ kind: 'guard', key: GUARD.doubt, value: encodeText(why) }];",
        replace: 'return [];',
      },
    ],
  },
  {
    name: 'memory-of-peers-not-durable',
    rule: 'What is remembered of the others outlives the one who remembers.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: MEMORY,
        find: "const ops = [...this.changed].map(([key, value]): DurableOp => ({ kind: 'guard', key, value }));",
        replace: 'const ops: DurableOp[] = [];',
      },
    ],
  },
  {
    name: 'old-image-overwrites-memory',
    rule: 'What is remembered of a node never shrinks by what an old image of it tells.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: EXCHANGE,
        find: 'const news = isSettled ? this.newsFor(ctx, link) : { items: [], through: 0 };',
        replace: 'this.own.refresh(ctx, this.registers); const news = this.newsFor(ctx, link);',
      },
      { file: ITEMS, find: 'if (known === undefined) return told;', replace: 'if (true) return told;' },
    ],
  },
  {
    name: 'told-before-durable',
    rule: 'What a node tells of itself is durable: a crash must not make it look forgetful.',
    section: '5',
    arena: 'memory',
    edits: [{ file: EXCHANGE, find: '{ isBehindDisk: isSettled },', replace: '{ isBehindDisk: false },' }],
  },
  {
    name: 'cut-taken-for-forgotten',
    rule: 'What a committed manifest has cut was not forgotten.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: RECALL,
        find: 'return runs === undefined ? claim : { ...claim, watermark: clampToRuns(runs, pg, claim.watermark) };',
        replace: 'return claim;',
      },
    ],
  },
  {
    name: 'incarnation-used-again',
    rule: 'A node’s incarnation is above every one that it or a peer knows of.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: RECALL,
        find: 'const counter = Math.max(this.lastCounter, this.highestCounter) + 1;',
        replace: 'const counter = this.lastCounter + 1;',
      },
    ],
  },
  {
    name: 'promise-from-the-store-only',
    rule: 'A promise is kept in the guard: a restart before its install does not forget it.',
    section: '5',
    arena: 'memory',
    edits: [
      {
        file: RECOVERY,
        find: 'const promise = read(guards.promise, decodeEpoch) ?? NO_EPOCH;',
        replace: 'const promise = NO_EPOCH;',
      },
      // What the peers remember would make up for it.
      { file: RECALL, find: 'if (lapses.length > 0 || isOldImage) {', replace: 'if (lapses.length < 0) {' },
    ],
  },
];

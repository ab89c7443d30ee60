/** Taking over: fence, compute, re-replicate, commit, install (design section 6). */
import type { Mutant } from '../mutant.ts';
import { FAILOVERS, GROWTH, RESTARTS, ZOMBIES } from './biases.ts';

const COMPUTE = 'compute-node/volume/take-over-compute.ts';
const FENCE = 'compute-node/volume/take-over-fence.ts';
const MANIFEST = 'compute-node/volume/take-over-manifest.ts';
const REPLICATE = 'compute-node/volume/take-over-replicate.ts';
const TAKE_OVER = 'compute-node/volume/take-over.ts';
const DRIVER = 'compute-node/driver/take-over.ts';
const APPEND = 'storage-node/core/append.ts';
const NODE_MEMBERSHIP = 'storage-node/core/membership.ts';
const GOSSIP = 'storage-node/core/gossip.ts';
const HEARTBEATS = 'storage-node/core/heartbeats.ts';
const MANIFESTS = 'storage-node/core/manifests.ts';
const ADMISSION = 'storage-node/core/admission.ts';
const RECOVERY = 'storage-node/core/recovery.ts';
const SEGMENT = 'storage-node/core/segment.ts';
const TRACKER = 'src/quorum/volume-tracker.ts';
const VISIBILITY = 'src/timeline/visibility.ts';

/** A sender of an older epoch is answered as if nothing newer had been promised. */
const OLD_EPOCH_TOLD_IN_HEARTBEATS = [
  { file: HEARTBEATS, find: 'if (newer !== undefined) return refused(stale(newer));', replace: '' },
  {
    file: HEARTBEATS,
    find: 'sameEpoch(segment.promised, epoch) && isInstalledAt(segment.manifest?.value ?? null, epoch)',
    replace: 'compareEpochs(epoch, segment.promised) <= 0',
  },
] as const;

/** `lax` lets records of no run through; who calls with it is said by a further edit. */
const LAX_ADMISSION = [
  {
    file: ADMISSION,
    find: '  held: HeldLog,\n): Admission {',
    replace: '  held: HeldLog,\n  lax = false,\n): Admission {',
  },
  {
    file: ADMISSION,
    find: 'if (run === null || !sameEpoch(run.epoch, boxcar.birthEpoch)) {',
    replace: 'if (!lax && (run === null || !sameEpoch(run.epoch, boxcar.birthEpoch))) {',
  },
  { file: ADMISSION, find: "standing === 'known' || run.id !== openRun", replace: "standing === 'known'" },
  { file: ADMISSION, find: 'openRun = run.id;', replace: '' },
  {
    file: SEGMENT,
    find: 'sift(boxcar: Boxcar): Admission {',
    replace: 'sift(boxcar: Boxcar, lax = false): Admission {',
  },
  {
    file: SEGMENT,
    find: 'return sift(boxcar, this, this.manifest.value, this.held);',
    replace: 'return sift(boxcar, this, this.manifest.value, this.held, lax);',
  },
] as const;

export const TAKE_OVER_MUTANTS: readonly Mutant[] = [
  {
    name: 'recovery-tears-mtr',
    rule: 'A recovered volume ends at a CPL.',
    section: '6',
    arena: 'take-over',
    edits: [{ file: COMPUTE, find: 'if (record.isCpl) vdl = record.lsn;', replace: 'vdl = record.lsn;' }],
  },
  {
    name: 'recovery-takes-maximum-instead-of-chain',
    rule: 'Recovery follows the chain without gaps; the highest LSN found proves nothing.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: COMPUTE,
        find: 'for (let next = owners.get(vcl + 1); next !== undefined; next = owners.get(vcl + 1)) {',
        replace: 'for (const next of [...owners.values()].sort((a, b) => a.record.lsn - b.record.lsn)) {',
      },
      { file: COMPUTE, find: 'if (record.prevLsn !== tailsAtVcl[position]) {', replace: 'if (false) {' },
    ],
  },
  {
    name: 'recovery-by-fourth-highest-scl',
    rule: 'Recovery takes the union of the inventories, not the fourth-highest SCL.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: COMPUTE,
        find: 'for (const entry of segment.entries ?? []) {',
        replace:
          'const fourth = reports.segments.map((each) => each.scl).sort((a, b) => b - a)[3] ?? 0;\n    for (const entry of (segment.entries ?? []).filter((each) => each.lsn <= fourth)) {',
      },
    ],
  },
  {
    name: 'recovery-does-not-mask-by-runs',
    rule: 'The union of inventories is masked by the manifest’s runs: a ghost does not exist. (The gap of LAL between runs keeps ghosts out of it, too.)',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: MANIFEST,
        find: 'firstLsn: toLsn(found.vdl + lal + 1),',
        replace: 'firstLsn: toLsn(found.vdl + 1),',
      },
      {
        file: COMPUTE,
        find: 'if (!admits(manifest.runs, entry.lsn, entry.birthEpoch)) continue;',
        replace: '',
      },
    ],
  },
  {
    name: 'recovery-with-two-inventories',
    rule: 'At least three intact inventories: only three of six meet every write quorum.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: COMPUTE,
        find: 'if (!quorum.isReadQuorum(isIntact))',
        replace: 'if (quorum.least(isIntact) < 2)',
      },
      {
        file: COMPUTE,
        find: 'if (!quorum.isWriteQuorum(hasPromised)) return',
        replace: 'if (quorum.least(hasPromised) < 2) return',
      },
    ],
  },
  {
    name: 'recovery-before-fence',
    rule: 'A promise stops the older writer at once: nothing is added to an inventory that was reported.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: APPEND,
        find: 'if (order < 0) return stale(segment);',
        replace: 'if (order < 0 && segment.isInTerm) return stale(segment);',
      },
    ],
  },
  {
    name: 'old-epoch-served',
    rule: 'A node that has promised a newer epoch serves no older one: no lease, no SCL.',
    section: '4, 6',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      ...OLD_EPOCH_TOLD_IN_HEARTBEATS,
      {
        file: 'storage-node/core/leases.ts',
        find: 'if (known !== undefined && !sameEpoch(known.epoch, epoch) && known.untilMs > nowMs) return false;',
        replace: '',
      },
    ],
  },
  {
    name: 'scl-told-to-older-writer',
    rule: 'Having promised a newer epoch, a segment reports no SCL to older writers; nor does a writer believe an SCL beyond what it sent; a refusal ends its term.',
    section: '1, 6',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      ...OLD_EPOCH_TOLD_IN_HEARTBEATS,
      {
        file: 'compute-node/volume/writer.ts',
        find: 'if (compareEpochs(refusal.promised, this.epoch) <= 0) return false;',
        replace: 'return false;',
      },

      {
        file: TRACKER,
        find: 'if (state === undefined || scl > state.lastSentLsn) return this.point;',
        replace: 'if (state === undefined) return this.point;',
      },
      {
        file: 'compute-node/volume/writer.ts',
        find: 'if (scl > this.tracker.lastSentLsnOf(pg)) return;',
        replace: '',
      },
    ],
  },
  {
    name: 'gossip-admitted-before-install',
    rule: 'Between promise and install nothing is admitted by gossip, and nothing told to the older writer, whose term is over.',
    section: '6',
    arena: 'take-over',
    edits: [
      ...OLD_EPOCH_TOLD_IN_HEARTBEATS,
      { file: GOSSIP, find: 'if (segment.isInTerm) {', replace: 'if (true) {' },
    ],
  },
  {
    name: 'cut-admitted-in-append',
    rule: 'An LSN in no run is never admitted: an append of an older epoch changes nothing.',
    section: '6',
    arena: 'take-over',
    edits: [
      ...LAX_ADMISSION,
      { file: APPEND, find: 'if (order < 0) return stale(segment);', replace: '' },
      {
        file: APPEND,
        find: 'if (!body.recovery && !isInstalledAt(manifest.value, body.epoch)) {',
        replace: 'if (false) {',
      },
      {
        file: APPEND,
        find: 'admission = segment.sift(decodeBoxcar(body.boxcar, ctx.crc32));',
        replace: 'admission = segment.sift(decodeBoxcar(body.boxcar, ctx.crc32), true);',
      },
    ],
  },
  {
    name: 'cut-admitted-in-gossip',
    rule: 'Gossip admits by runs: a ghost that a straggler still holds does not come back.',
    section: '6',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      ...LAX_ADMISSION,
      {
        file: GOSSIP,
        find: 'const admission = segment.sift(decodeBoxcar(bytes, ctx.crc32));',
        replace: 'const admission = segment.sift(decodeBoxcar(bytes, ctx.crc32), true);',
      },
    ],
  },
  {
    name: 'journal-replayed-without-admission',
    rule: 'What the journal or the store still hold at a start goes through the same admission.',
    section: '5',
    arena: 'pages',
    edits: [
      ...LAX_ADMISSION,
      {
        file: RECOVERY,
        find: 'const admission = segment.sift(decodeBoxcar(bytes, ctx.crc32));',
        replace: 'const admission = segment.sift(decodeBoxcar(bytes, ctx.crc32), true);',
      },
    ],
  },
  {
    name: 'cut-not-made',
    rule: 'Installing a manifest cuts what it denies.',
    section: '6',
    arena: 'pages',
    edits: [
      {
        file: SEGMENT,
        find: 'this.held.cut((lsn, birthEpoch) => admits(value.runs, lsn, birthEpoch))',
        replace: 'this.held.cut(() => true)',
      },
    ],
  },
  {
    name: 'lsn-reused',
    rule: 'A new run opens past every LSN the old writer could have used; a record of another birth epoch does not exist.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: MANIFEST,
        find: 'firstLsn: toLsn(found.vdl + lal + 1),',
        replace: 'firstLsn: toLsn(found.vdl + 1),',
      },
      {
        file: VISIBILITY,
        find: 'return run !== null && sameEpoch(run.epoch, birthEpoch);',
        replace: 'return run !== null;',
      },
      {
        file: ADMISSION,
        find: 'if (run === null || !sameEpoch(run.epoch, boxcar.birthEpoch)) {',
        replace: 'if (run === null) {',
      },
    ],
  },
  {
    name: 'birth-epoch-unchecked',
    rule: 'A record whose birth epoch is not its run’s is a ghost, although its LSN lies in a run (here the LSNs that a run may use overlap by one).',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: MANIFEST,
        find: 'firstLsn: toLsn(found.vdl + lal + 1),',
        replace: 'firstLsn: toLsn(found.vdl + 2),',
      },
      {
        file: VISIBILITY,
        find: 'return run !== null && sameEpoch(run.epoch, birthEpoch);',
        replace: 'return run !== null;',
      },
      {
        file: ADMISSION,
        find: 'if (run === null || !sameEpoch(run.epoch, boxcar.birthEpoch)) {',
        replace: 'if (run === null) {',
      },
    ],
  },
  {
    name: 'birth-epoch-refused-as-authority',
    rule: 'A record’s birth epoch is checked against its run only: recovery carries old records to nodes of a new epoch.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: APPEND,
        find: 'admission = segment.sift(decodeBoxcar(body.boxcar, ctx.crc32));',
        replace:
          "const boxcar = decodeBoxcar(body.boxcar, ctx.crc32);\n    if (compareEpochs(boxcar.birthEpoch, segment.promised) < 0) return { because: refusal('STALE_EPOCH', 'an old record'), isOurs: false };\n    admission = segment.sift(boxcar);",
      },
    ],
  },
  {
    name: 'first-lsn-used-twice',
    rule: 'No LSN is ever given out twice: a run in which nothing was found is closed, not opened again at its first LSN.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: MANIFEST,
        find: '  assert(head.lastLsn === null, `the head run of volume ${before.volume} is closed`);',
        replace:
          '  if (found.vdl < head.firstLsn) return { ...before, epoch, runs: [...before.runs.slice(0, -1), { ...head, epoch }] };',
      },
    ],
  },
  {
    name: 'stale-manifest-accepted',
    rule: 'A manifest older than the installed one is never put in force.',
    section: '6',
    arena: 'cluster',
    hint: GROWTH,
    edits: [
      {
        file: NODE_MEMBERSHIP,
        find: 'if (segment.isInForce && compareEpochs(manifest.epoch, segment.promised) < 0) return [];',
        replace: '',
      },
      {
        file: NODE_MEMBERSHIP,
        find: 'if (compareManifests(manifest, known.value) <= 0) return [];',
        replace: '',
      },
      { file: NODE_MEMBERSHIP, find: 'if (fault !== null) {', replace: 'if (false) {' },
      {
        file: NODE_MEMBERSHIP,
        find: 'if (segment.manifest !== null && compareManifests(value, segment.manifest.value) <= 0) return [];',
        replace: '',
      },
    ],
  },
  {
    name: 'cut-installed-before-commit',
    rule: 'Nothing is cut before the manifest that cuts it is committed.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: TAKE_OVER,
        find: 'if (!this.#register.isCommitted) return;',
        replace: 'if (!this.#register.isCommitted && this.#next === null) return;',
      },
    ],
  },
  {
    name: 'fenced-before-the-register-is-won',
    rule: 'Only the winner at the manifest register fences, by the manifest that it learned there.',
    section: '6',
    arena: 'cluster',
    hint: FAILOVERS,
    edits: [
      {
        file: TAKE_OVER,
        find: '    if (learned === null) return;',
        replace:
          '    if (learned === null) {\n      this.#fencing ??= new Fencing(this.#context, this.#options.origin);\n      this.#fencing.decide();\n      return;\n    }',
      },
    ],
  },
  {
    name: 'no-re-replication',
    rule: 'What fewer than four segments hold is re-replicated before the manifest is committed.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: REPLICATE,
        find: 'if (!this.#decidePg(position, records)) isDone = false;',
        replace: 'this.#decidePg(position, records);',
      },
    ],
  },
  {
    name: 'installed-newer-manifest-ignored',
    rule: 'A candidate told of a newer installed manifest than the register showed adopts it.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: FENCE,
        find: 'if (isNewerManifest(installed, this.newerInstalled ?? this.#manifest)) this.newerInstalled = installed;',
        replace: '',
      },
      {
        file: TAKE_OVER,
        find: 'if (!this.#register.isCommitted) return;',
        replace: 'if (!this.#register.isCommitted && this.#next === null) return;',
      },
    ],
  },
  {
    name: 'opened-with-three-installs',
    rule: 'The volume opens only when four segments of every PG have installed the manifest.',
    section: '4, 6',
    arena: 'take-over',
    edits: [
      {
        file: 'compute-node/volume/take-over-install.ts',
        find: 'return QuorumSet.of(config).isWriteQuorum((node) => nodes.has(node));',
        replace: 'return nodes.size > 0;',
      },
    ],
  },
  {
    name: 'static-writer-id',
    rule: 'The writer id of an epoch is fresh and random for every attempt.',
    section: '1, 6',
    arena: 'cluster',
    hint: FAILOVERS,
    edits: [
      {
        file: DRIVER,
        find: 'writerId: random.id(WRITER_ID_CHARS)',
        replace: "writerId: 'w'.repeat(WRITER_ID_CHARS)",
      },
    ],
  },
  {
    name: 'watermarks-not-clamped',
    rule: 'Installing a manifest clamps watermarks to what is admitted, or a quarantine of cut records never ends.',
    section: '5',
    arena: 'take-over',
    edits: [
      {
        file: SEGMENT,
        find: 'this.watermark = clampToRuns(value.runs, this.pg, this.watermark);',
        replace: '',
      },
      {
        file: RECOVERY,
        find: 'segment.watermark = clampToRuns(segment.manifest.value.runs, segment.pg, segment.watermark);',
        replace: '',
      },
    ],
  },
  {
    name: 'durable-cut-accepted',
    rule: 'A segment refuses a manifest that cuts what it knows to be durable or has in page form, and one that rewrites history.',
    section: '6',
    arena: 'take-over',
    edits: [
      {
        file: MANIFESTS,
        find: 'if (run.lastLsn !== null && same.lastLsn !== run.lastLsn) return `its run ${run.id} was closed elsewhere`;',
        replace: '',
      },
      {
        file: TAKE_OVER,
        find: 'if (!this.#register.isCommitted) return;',
        replace: 'if (!this.#register.isCommitted && this.#next === null) return;',
      },
    ],
  },
];

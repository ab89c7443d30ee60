/** Replicated registers (design section 6), read leases and confirmation (section 4). */
import type { Mutant } from '../mutant.ts';
import { FAILOVERS, RESTARTS, ZOMBIES, ZOMBIES_AND_RESTARTS } from './biases.ts';

const ACCEPTOR = 'src/register/acceptor.ts';
const PROPOSER = 'src/register/proposer.ts';
const NODE_REGISTERS = 'storage-node/core/registers.ts';
const LEASES = 'storage-node/core/leases.ts';
const NODE = 'storage-node/core/node.ts';
const LEASE = 'compute-node/volume/lease.ts';
const CONFIRMATION = 'compute-node/driver/read-confirmation.ts';
const HEARTBEATS = 'compute-node/driver/heartbeats.ts';
const NODE_TAKE_OVER = 'storage-node/core/takeover.ts';

export const REGISTERS_AND_LEASES: readonly Mutant[] = [
  {
    name: 'register-not-durable',
    rule: 'An acceptor’s promise and value are durable before its reply: a restart forgets nothing.',
    section: '5, 6',
    arena: 'cluster',
    hint: RESTARTS,
    edits: [
      {
        file: NODE_REGISTERS,
        find: "ops.push({ kind: 'guard', key: `${GUARD.registerPrefix}${key}`, value: encodeAcceptor(state) });",
        replace: '',
      },
    ],
  },
  {
    name: 'accepted-below-promise',
    rule: 'Nothing is accepted below the ballot that was promised.',
    section: '6',
    arena: 'cluster',
    hint: FAILOVERS,
    edits: [
      {
        file: ACCEPTOR,
        find: 'if (compareEpochs(ballot, state.promised) < 0) return { state, reply: nack(state) };',
        replace: '',
      },
    ],
  },
  {
    name: 'learned-value-dropped',
    rule: 'A value is proposed on the highest one that four promises report.',
    section: '6',
    arena: 'cluster',
    hint: FAILOVERS,
    edits: [
      {
        file: PROPOSER,
        find: 'this.content = learned.highest;',
        replace: 'this.content = learned.committed ?? NOTHING;',
      },
    ],
  },
  {
    name: 'register-won-by-three',
    rule: 'A register is won by four promises and committed by four acceptors.',
    section: '6',
    arena: 'cluster',
    hint: FAILOVERS,
    edits: [
      {
        file: PROPOSER,
        find: "if (this.count('yes') < WRITE_QUORUM) return this.failWhenBlocked();",
        replace: "if (this.count('yes') < 2) return this.failWhenBlocked();",
      },
      {
        file: PROPOSER,
        find: "if (this.count('yes') >= WRITE_QUORUM) {",
        replace: "if (this.count('yes') >= 2) {",
      },
    ],
  },
  {
    name: 'two-promises-in-one-epoch',
    rule: 'One (ballot, version) has one value; one epoch is promised to one writer: a lower one, of the same number too, is refused.',
    section: '1, 6',
    arena: 'cluster',
    hint: FAILOVERS,
    edits: [
      {
        file: 'src/log/epoch.ts',
        find: '  if (a.writerId === b.writerId) return 0;\n  return a.writerId < b.writerId ? -1 : 1;',
        replace: '  return 0;',
      },
    ],
  },
  {
    name: 'lease-counted-from-receipt',
    rule: 'A lease counts from the moment its heartbeat was sent.',
    section: '4',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      {
        file: HEARTBEATS,
        find: 'const sent = { sequence: reply.sequence, sentAt };',
        replace: 'const sent = { sequence: reply.sequence, sentAt: this.#options.readClocks() };',
      },
    ],
  },
  {
    name: 'lease-forgotten-over-restart',
    rule: 'After its start a node holds acknowledgements of new epochs for a lease term: it may have forgotten a promise.',
    section: '4',
    arena: 'cluster',
    hint: ZOMBIES_AND_RESTARTS,
    edits: [
      {
        file: LEASES,
        find: 'this.forgottenUntilMs = isFirstStart ? startedAtMs : startedAtMs + termMs;',
        replace: 'this.forgottenUntilMs = isFirstStart ? startedAtMs : startedAtMs;',
      },
    ],
  },
  {
    name: 'install-acknowledged-under-a-lease',
    rule: 'Acknowledgements of a new epoch’s install and appends wait until the last lease promise has run out.',
    section: '4',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      {
        file: NODE,
        find: 'if (this.leases.heldUntilMs(hold.segment.volume, hold.epoch) <= this.now.monotonicMs) {',
        replace: 'if (true) {',
      },
    ],
  },
  {
    name: 'lease-delays-fence',
    rule: 'Leases never delay fencing: a cut-off writer that still heartbeats is deposed all the same.',
    section: '4',
    arena: 'take-over',
    edits: [
      {
        file: NODE_TAKE_OVER,
        find: '  const segment = openSegment(ctx, volume, pg, configVersion, ops);',
        replace:
          "  if (known?.isInTerm && ctx.leases.heldUntilMs(body.volume, body.epoch) > ctx.now.monotonicMs) {\n    refuseWith(refusal('UNAVAILABLE', 'a lease stands'));\n    return;\n  }\n  const segment = openSegment(ctx, volume, pg, configVersion, ops);",
      },
    ],
  },
  {
    name: 'lease-of-one',
    rule: 'A lease is three promises: 3 + 4 > 6.',
    section: '4',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      {
        file: LEASE,
        find: 'return this.quorum().isReadQuorum((node) => (this.members.get(node)?.promisedAt ?? null) !== null);',
        replace: 'return [...this.members.values()].some(({ promisedAt }) => promisedAt !== null);',
      },
    ],
  },
  {
    name: 'lease-outlives-its-term',
    rule: 'A lease ends with its term, shortened by the clocks’ error.',
    section: '4',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      {
        file: LEASE,
        find: 'if (elapsed === null || elapsed >= this.usableMs) member.promisedAt = null;',
        replace: 'if (elapsed === null || elapsed >= this.usableMs * 3) member.promisedAt = null;',
      },
    ],
  },
  {
    name: 'diverging-clocks-trusted',
    rule: 'A lease is void when the process’s clocks diverge.',
    section: '4',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      {
        file: LEASE,
        find: 'return longest - shortest > CLOCK_DIVERGENCE_TOLERANCE_MS ? null : longest;',
        replace: 'return shortest;',
      },
    ],
  },
  {
    name: 'strong-read-unconfirmed',
    rule: 'A strong read needs a lease, or its epoch confirmed by three segments.',
    section: '4',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [{ file: CONFIRMATION, find: 'if (this.#lease.isHeld(now)) return;', replace: 'return;' }],
  },
  {
    name: 'confirmed-by-an-earlier-heartbeat',
    rule: 'A read is confirmed by a request that starts after it arrived.',
    section: '4',
    arena: 'cluster',
    hint: ZOMBIES,
    edits: [
      {
        file: CONFIRMATION,
        find: 'if (waiter.afterSequence < confirmedSequence) waiter.resolve();',
        replace: 'if (confirmedSequence > 0) waiter.resolve();',
      },
    ],
  },
];

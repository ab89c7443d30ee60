/**
 * One node's part of a replicated register: single-value Paxos whose value is proposed again by version, after CASPaxos (Rystsov,
 * "CASPaxos: Replicated State Machines without logs") and the classic acceptor (Lamport, "Paxos Made Simple", section 2.2). Pure: state and
 * request in, state and reply out.
 *
 * A reply may leave only once the returned state is durable, also when it is the state given: the step that made it so may
 * still be on its way to the disk.
 *
 * Invariants
 * 1. `promised` never regresses; nothing is promised or accepted below it; acceptedBallot ≤ promised.
 * 2. (acceptedBallot, acceptedVersion), in this order, never regresses.
 * 3. One (ballot, version) has one value: the same bytes again are accepted again, other bytes never.
 */
import { FieldReader } from '../base/field-reader.ts';
import { packStrict, unpackStrict } from '../base/strict-msgpack.ts';
import { compareEpochs, type Epoch, formatEpoch, NO_EPOCH, sameEpoch } from '../log/epoch.ts';
import type { RegisterAcceptReply, RegisterPrepareReply } from '../messages/messages.ts';
import { sameBytes } from './bytes.ts';

export interface AcceptorState {
  readonly promised: Epoch;
  /** null: nothing accepted yet. */
  readonly acceptedBallot: Epoch | null;
  /** 0 when nothing is accepted, else ≥ 1. */
  readonly acceptedVersion: number;
  readonly value: Uint8Array;
}

export const EMPTY_ACCEPTOR: AcceptorState = {
  promised: NO_EPOCH,
  acceptedBallot: null,
  acceptedVersion: 0,
  value: new Uint8Array(0),
};

/**
 * A ballot of NO_EPOCH is a *peek*: it promises nothing and disturbs nobody, and is answered with what is accepted (the reply tells
 * accepted and promised in any case).
 */
export function prepare(
  state: AcceptorState,
  ballot: Epoch,
): { readonly state: AcceptorState; readonly reply: RegisterPrepareReply } {
  const promised = !sameEpoch(ballot, NO_EPOCH) && compareEpochs(ballot, state.promised) >= 0;
  const after = promised && !sameEpoch(ballot, state.promised) ? { ...state, promised: ballot } : state;
  return {
    state: after,
    reply: {
      promised,
      promisedBallot: sameEpoch(after.promised, NO_EPOCH) ? null : after.promised,
      acceptedBallot: after.acceptedBallot,
      acceptedVersion: after.acceptedVersion,
      acceptedValue: after.value,
      refusal: null,
    },
  };
}

export function accept(
  state: AcceptorState,
  proposal: { readonly ballot: Epoch; readonly version: number; readonly value: Uint8Array },
): { readonly state: AcceptorState; readonly reply: RegisterAcceptReply } {
  const { ballot, version, value } = proposal;
  if (compareEpochs(ballot, NO_EPOCH) <= 0 || !Number.isSafeInteger(version) || version < 1) {
    return refuse(
      state,
      'BAD_REQUEST',
      `no proposal has ballot ${formatEpoch(ballot)} and version ${version}`,
    );
  }
  if (compareEpochs(ballot, state.promised) < 0) return { state, reply: nack(state) };

  const order = compareAccepted(ballot, version, state);
  if (order < 0) return { state, reply: nack(state) };
  if (order === 0) {
    if (sameBytes(value, state.value)) return { state, reply: { ...nack(state), accepted: true } };
    return refuse(state, 'CORRUPT', `ballot ${formatEpoch(ballot)} version ${version} came with two values`);
  }
  const after: AcceptorState = {
    promised: ballot,
    acceptedBallot: ballot,
    acceptedVersion: version,
    value: new Uint8Array(value),
  };
  return { state: after, reply: { ...nack(after), accepted: true } };
}

/** For the node's guard; its journal keeps the checksum. */
export function encodeAcceptor(state: AcceptorState): Uint8Array {
  const { promised, acceptedBallot, acceptedVersion, value } = state;
  return packStrict([
    promised.number,
    promised.writerId,
    acceptedBallot === null ? null : [acceptedBallot.number, acceptedBallot.writerId],
    acceptedVersion,
    value,
  ]);
}

export function decodeAcceptor(bytes: Uint8Array): AcceptorState {
  const fields = new FieldReader('register state', unpackStrict(bytes));
  const state: AcceptorState = {
    promised: readEpoch(fields),
    acceptedBallot: fields.nullable('accepted ballot', (element, what) => {
      const ballot = new FieldReader(what, element);
      const epoch = readEpoch(ballot);
      ballot.end();
      return epoch;
    }),
    acceptedVersion: fields.int('accepted version', 0),
    value: new Uint8Array(fields.bytes('value')),
  };
  fields.end();
  fields.check((state.acceptedBallot === null) === (state.acceptedVersion === 0), 'accepted by half');
  fields.check(
    state.acceptedBallot === null || compareEpochs(state.acceptedBallot, state.promised) <= 0,
    'accepted above its promise',
  );
  return state;
}

function compareAccepted(ballot: Epoch, version: number, state: AcceptorState): number {
  if (state.acceptedBallot === null) return 1;
  const byBallot = compareEpochs(ballot, state.acceptedBallot);
  return byBallot !== 0 ? byBallot : version - state.acceptedVersion;
}

function nack(state: AcceptorState): RegisterAcceptReply {
  return {
    accepted: false,
    promisedBallot: sameEpoch(state.promised, NO_EPOCH) ? null : state.promised,
    refusal: null,
  };
}

function refuse(
  state: AcceptorState,
  code: 'BAD_REQUEST' | 'CORRUPT',
  message: string,
): { readonly state: AcceptorState; readonly reply: RegisterAcceptReply } {
  return { state, reply: { ...nack(state), refusal: { code, message, promised: null } } };
}

function readEpoch(fields: FieldReader): Epoch {
  return { number: fields.int('epoch number', 0), writerId: fields.string('writer id', 64, 0) };
}

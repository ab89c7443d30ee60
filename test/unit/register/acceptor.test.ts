import { describe, expect, it } from 'vitest';
import { NO_EPOCH, type Epoch } from '../../../src/log/epoch.ts';
import {
  accept,
  type AcceptorState,
  decodeAcceptor,
  EMPTY_ACCEPTOR,
  encodeAcceptor,
  prepare,
} from '../../../src/register/acceptor.ts';

const ballot = (number: number, writerId = 'w'): Epoch => ({ number, writerId });
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** An acceptor that promised ballot 3 and accepted (3, version 2). */
const settled: AcceptorState = accept(EMPTY_ACCEPTOR, {
  ballot: ballot(3),
  version: 2,
  value: bytes(1),
}).state;

describe('acceptor: prepare', () => {
  it('promises a higher ballot and tells what it accepted', () => {
    const { state, reply } = prepare(settled, ballot(4));
    expect(state).toEqual({ ...settled, promised: ballot(4) });
    expect(reply).toEqual({
      promised: true,
      promisedBallot: ballot(4),
      acceptedBallot: ballot(3),
      acceptedVersion: 2,
      acceptedValue: bytes(1),
      refusal: null,
    });
  });

  it('orders ballots of one number by their writer', () => {
    expect(prepare(settled, ballot(3, 'x')).reply.promised).toBe(true);
    expect(prepare(settled, ballot(3, 'a')).reply.promised).toBe(false);
  });

  it('promises the same ballot again: the first answer may have been lost', () => {
    const { state, reply } = prepare(settled, ballot(3));
    expect([state, reply.promised]).toEqual([settled, true]);
  });

  it('refuses a lower ballot, names its promise and what it accepted, and keeps its state', () => {
    const { state, reply } = prepare(settled, ballot(2));
    expect(state).toBe(settled);
    expect(reply).toMatchObject({ promised: false, promisedBallot: ballot(3), acceptedVersion: 2 });
  });

  it('answers a peek without promising', () => {
    for (const before of [settled, EMPTY_ACCEPTOR]) {
      const { state, reply } = prepare(before, NO_EPOCH);
      expect(state).toBe(before);
      expect(reply.promised).toBe(false);
      expect(reply.acceptedVersion).toBe(before.acceptedVersion);
    }
    expect(prepare(EMPTY_ACCEPTOR, NO_EPOCH).reply).toMatchObject({
      promisedBallot: null,
      acceptedBallot: null,
    });
  });
});

describe('acceptor: accept', () => {
  const at = (number: number, version: number, value = bytes(9)) =>
    accept(settled, { ballot: ballot(number), version, value });

  it('accepts the next version under its promise, and any higher ballot', () => {
    expect(at(3, 3)).toEqual({
      state: { promised: ballot(3), acceptedBallot: ballot(3), acceptedVersion: 3, value: bytes(9) },
      reply: { accepted: true, promisedBallot: ballot(3), refusal: null },
    });
    // A higher ballot's proposer has learned what four held: its version may be lower than one that never got anywhere.
    expect(at(4, 1).state).toEqual({
      promised: ballot(4),
      acceptedBallot: ballot(4),
      acceptedVersion: 1,
      value: bytes(9),
    });
  });

  it('refuses below its promise', () => {
    const promised = prepare(settled, ballot(8)).state;
    const { state, reply } = accept(promised, { ballot: ballot(7), version: 3, value: bytes(9) });
    expect(state).toBe(promised);
    expect(reply).toEqual({ accepted: false, promisedBallot: ballot(8), refusal: null });
  });

  it('promises what it accepts: a ballot below it is refused afterwards', () => {
    expect(accept(at(6, 3).state, { ballot: ballot(5), version: 9, value: bytes(9) }).reply.accepted).toBe(
      false,
    );
    expect(prepare(at(6, 3).state, ballot(5)).reply.promised).toBe(false);
  });

  it('refuses an older version under the same ballot: a message that came late', () => {
    expect(at(3, 1)).toEqual({
      state: settled,
      reply: { accepted: false, promisedBallot: ballot(3), refusal: null },
    });
  });

  it('accepts the very same again, and never the same ballot and version with other bytes', () => {
    expect(at(3, 2, bytes(1))).toEqual({
      state: settled,
      reply: { accepted: true, promisedBallot: ballot(3), refusal: null },
    });
    const { state, reply } = at(3, 2, bytes(2));
    expect(state).toBe(settled);
    expect(reply).toMatchObject({ accepted: false, refusal: { code: 'CORRUPT' } });
    expect(at(3, 2, bytes(1, 0)).reply.accepted).toBe(false);
  });

  it('refuses what no proposer sends', () => {
    for (const [number, version] of [
      [0, 1],
      [3, 0],
      [3, -1],
      [3, 1.5],
    ] as const) {
      const { state, reply } = accept(EMPTY_ACCEPTOR, {
        ballot: number === 0 ? NO_EPOCH : ballot(number),
        version,
        value: bytes(),
      });
      expect(state).toBe(EMPTY_ACCEPTOR);
      expect(reply).toMatchObject({ accepted: false, refusal: { code: 'BAD_REQUEST' } });
    }
  });

  it('keeps the value, not the memory it came in', () => {
    const value = bytes(5);
    const { state } = at(4, 1, value);
    value[0] = 6;
    expect(state.value).toEqual(bytes(5));
  });
});

describe('acceptor state', () => {
  it('is durable as bytes', () => {
    for (const state of [EMPTY_ACCEPTOR, settled, prepare(settled, ballot(9, 'writer')).state]) {
      expect(decodeAcceptor(encodeAcceptor(state))).toEqual(state);
    }
  });

  it('refuses bytes that no acceptor wrote', () => {
    const corrupt = expect.objectContaining({ code: 'CORRUPT' });
    expect(() => decodeAcceptor(bytes(1, 2, 3))).toThrow(corrupt);
    expect(() => decodeAcceptor(encodeAcceptor({ ...settled, acceptedVersion: 0 }))).toThrow(corrupt);
    expect(() => decodeAcceptor(encodeAcceptor({ ...settled, promised: ballot(2) }))).toThrow(corrupt);
  });
});

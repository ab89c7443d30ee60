/**
 * The quorums: six copies over three AZs, writes on four, reads on three (Aurora paper, section 2.1: V = 6, Vw = 4, Vr = 3). An AZ
 * and one more node may be lost without losing data, an AZ without losing the ability to write. Enumerated, never computed.
 */
import { assert } from '../base/assert.ts';

export const COPIES = 6;
export const WRITE_QUORUM = 4;
export const READ_QUORUM = 3;
export const AZ_COUNT = 3;
export const COPIES_PER_AZ = 2;

// Every read quorum meets every write quorum; two write quorums always share a node; an AZ's loss leaves a write quorum, and an AZ and
// one node more leave a read quorum.
assert(READ_QUORUM + WRITE_QUORUM > COPIES, 'read and write quorums do not overlap');
assert(2 * WRITE_QUORUM > COPIES, 'two write quorums do not overlap');
assert(AZ_COUNT * COPIES_PER_AZ === COPIES, 'copies do not fill the AZs');
assert(COPIES - COPIES_PER_AZ >= WRITE_QUORUM, 'an AZ lost is the write quorum lost');
assert(COPIES - COPIES_PER_AZ - 1 >= READ_QUORUM, 'an AZ and a node lost is the read quorum lost');

/** With this many of six gone or refusing, a write quorum cannot come about any more. */
export const WRITE_BLOCKING = 3;
assert(COPIES - WRITE_BLOCKING < WRITE_QUORUM, 'a write quorum survives WRITE_BLOCKING losses');
assert(COPIES - WRITE_BLOCKING + 1 >= WRITE_QUORUM, 'fewer losses than WRITE_BLOCKING block a write quorum');

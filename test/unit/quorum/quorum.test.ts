import { expect, it } from 'vitest';
import { COPIES, READ_QUORUM, WRITE_BLOCKING, WRITE_QUORUM } from '../../../src/quorum/quorum.ts';

const members = [0, 1, 2, 3, 4, 5];
const azOf = (member: number): number => Math.floor(member / 2);

/** Every set of members, as bit masks. */
const sets = Array.from({ length: 2 ** COPIES }, (_, mask) =>
  members.filter((member) => mask & (1 << member)),
);
const ofSize = (size: number): number[][] => sets.filter((set) => set.length === size);
const meet = (a: readonly number[], b: readonly number[]): boolean => a.some((member) => b.includes(member));

it('keeps the numbers of the design', () => {
  expect([COPIES, WRITE_QUORUM, READ_QUORUM]).toEqual([6, 4, 3]);
});

it('every read quorum meets every write quorum, and every two write quorums meet', () => {
  for (const write of ofSize(WRITE_QUORUM)) {
    for (const read of ofSize(READ_QUORUM)) expect(meet(write, read)).toBe(true);
    for (const other of ofSize(WRITE_QUORUM)) expect(meet(write, other)).toBe(true);
  }
});

it('an AZ lost leaves a write quorum, an AZ and any node lost leave a read quorum', () => {
  for (const az of [0, 1, 2]) {
    const left = members.filter((member) => azOf(member) !== az);
    expect(left.length).toBeGreaterThanOrEqual(WRITE_QUORUM);
    for (const node of left) {
      expect(left.filter((member) => member !== node).length).toBeGreaterThanOrEqual(READ_QUORUM);
    }
  }
});

it('a write quorum is out of reach exactly from WRITE_BLOCKING losses on', () => {
  for (const lost of sets) {
    expect(COPIES - lost.length < WRITE_QUORUM).toBe(lost.length >= WRITE_BLOCKING);
  }
});

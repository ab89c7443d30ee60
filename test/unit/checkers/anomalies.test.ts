/** Each checker against hand-made histories: every phenomenon once, and beside it the nearest history that has none. */
import { describe, expect, it } from 'vitest';
import { judge } from '../../checkers/judge.ts';
import { story } from './story.ts';

function rulesIn(text: string, openingBalances: Readonly<Record<string, number>> = {}): string[] {
  return [...new Set(judge(story(text, openingBalances)).violations.map(({ rule }) => rule))].sort();
}

const BANK = { p: 10, q: 10 };

describe('good histories', () => {
  it.each([
    ['nothing', ''],
    ['one append, looked at', 'a 0..1 append x 1 \n z 9..10 list x 1'],
    [
      'a read that overlaps an append and misses it',
      'a 0..5 append x 1 \n b 1..6 list x \n z 9..10 list x 1',
    ],
    [
      'a read that sees an append before it is acknowledged',
      'a 0..9 append x 1 \n b 1..2 list x 1 \n z 10..11 list x 1',
    ],
    ['an unknown append that nobody finds', 'a 0..5 unknown append x 1 \n z 9..10 list x'],
    [
      'an unknown append that comes late',
      'a 0..1 unknown append x 1 \n b 2..3 list x \n b 4..5 list x 1 \n z 9..10 list x 1',
    ],
    ['a rejected append that nobody finds', 'a 0..1 failed append x 1 \n z 9..10 list x'],
    [
      'a rejected transaction that sees its own append',
      'a 0..1 failed append x 1; list x 1 \n z 9..10 list x',
    ],
    [
      'a transaction of many parts',
      'a 0..1 append x 1; list x 1; append x 2; append y 3 \n b 2..3 append x 4; list x 1 2 4; list y 3 \n z 9..10 list x 1 2 4; list y 3',
    ],
    [
      'a session that knows nothing yet, after a strong read that failed',
      'a 0..1 append x 1 \n b 2..3 failed append x 2 \n b 4..5 level=session list x \n z 9..10 list x 1',
    ],
    ['an old snapshot', 'a 0..1 append x 1 \n b 2..3 level=snapshot list x \n z 9..10 list x 1'],
    [
      'an old snapshot after a new one',
      'a 0..1 append x 1 \n b 2..3 list x 1 \n b 4..5 level=snapshot list x \n z 9..10 list x 1',
    ],
    [
      'another session that is behind',
      'a 0..1 append x 1 \n b 2..3 level=session list x \n z 9..10 list x 1',
    ],
    [
      'concurrent writes read in either order',
      'a 0..9 write r 1 \n b 0..9 write r 2 \n c 1..2 find r 2 \n c 3..4 find r 1 \n z 10..11 find r 1',
    ],
    [
      'a register changed step by step',
      'a 0..5 find r -; write r 1 \n b 0..6 find r 1; write r 2 \n z 9..10 find r 2',
    ],
    [
      'an unknown write that is written over',
      'a 0..1 unknown write r 1 \n b 2..3 write r 2 \n z 9..10 find r 2',
    ],
    [
      'an unknown write that comes after a later one',
      'a 0..1 unknown write r 1 \n b 2..3 write r 2 \n c 4..5 find r 2 \n c 6..7 find r 1 \n z 9..10 find r 1',
    ],
  ])('%s', (_, text) => {
    expect(rulesIn(text)).toEqual([]);
  });

  it.each([
    ['a transfer', 'a 0..1 transfer p q 3 \n z 9..10 balances p=7 q=13'],
    [
      'a transfer half way through a look',
      'a 0..5 transfer p q 3 \n b 1..2 balances p=7 q=13 \n c 1..2 balances p=10 q=10 \n z 9..10 balances p=7 q=13',
    ],
    ['an unknown transfer', 'a 0..1 unknown transfer p q 3 \n z 9..10 balances p=10 q=10'],
    [
      'an unknown transfer that happened',
      'a 0..1 unknown transfer p q 3; append x 1 \n z 9..10 balances p=7 q=13; list x 1',
    ],
    [
      'an old snapshot of the bank',
      'a 0..1 transfer p q 3 \n b 2..3 level=snapshot balances p=10 q=10 \n z 9..10 balances p=7 q=13',
    ],
    ["a look at one's own transfer", 'a 0..1 transfer p q 3; balances p=7 q=13 \n z 9..10 balances p=7 q=13'],
  ])('%s', (_, text) => {
    expect(rulesIn(text, BANK)).toEqual([]);
  });

  it('with LSNs', () => {
    const text = `
      a 0..1 lsn=5 append x 1; transfer p q 1
      b 2..3 lsn=8 list x 1; append x 2; write r 1
      c 2..4 lsn=5 list x 1; balances p=9 q=11
      c 5..6 lsn=9 find r 1; balances p=9 q=11
      d 5..6 level=snapshot lsn=4 list x; find r -
      e 5..7 unknown lsn=12 append x 3
      f 6..8 failed lsn=9 list x 1 2; append x 4; list x 1 2 4
      z 9..10 lsn=20 list x 1 2; balances p=9 q=11`;
    expect(rulesIn(text, BANK)).toEqual([]);
  });

  it('with LSNs of some only', () => {
    const text = `
      a 0..1 unknown append x 1; write r 1
      b 2..3 lsn=8 list x 1; append x 2
      c 4..5 lsn=8 list x 1 2; find r 1
      z 9..10 lsn=20 list x 1 2`;
    expect(rulesIn(text)).toEqual([]);
  });
});

describe('the ledger', () => {
  it.each([
    ['lost', 'a 0..1 append x 1 \n z 9..10 list x'],
    ['lost', 'a 0..1 append x 1 \n b 2..3 list x 1 \n z 9..10 list x'],
    ['rejected', 'a 0..1 failed append x 1 \n z 9..10 list x 1'],
    ['invented', 'a 0..1 append x 1 \n z 9..10 list x 1 2'],
    ['invented', 'a 0..1 append x 1; append y 2 \n z 9..10 list x 1 2; list y 2'],
    ['twice', 'a 0..1 append x 1 \n z 9..10 list x 1 1'],
    ['torn', 'a 0..1 unknown append x 1; append y 2 \n z 9..10 list x 1; list y'],
    ['not-looked-at', 'a 0..1 append x 1'],
    ['not-looked-at', 'a 0..1 append x 1 \n z 9..10 level=snapshot list x 1'],
    ['not-looked-at', 'a 0..1 append x 1 \n b 9..10 list x 1'],
    ['stale', 'a 0..1 append x 1 \n b 2..3 list x \n z 9..10 list x 1'],
    ['stale', 'a 0..9 append x 1 \n b 2..3 list x 1 \n c 4..5 list x \n z 10..11 list x 1'],
    ['stale', 'a 0..9 append x 1 \n b 2..3 failed list x 1 \n c 4..5 unknown list x \n z 10..11 list x 1'],
    [
      'incompatible-order',
      'a 0..1 append x 1 \n b 0..1 append x 2 \n c 0..9 list x 1 2 \n z 10..11 list x 2 1',
    ],
    ['incompatible-order', 'a 0..1 append x 1; append x 2 \n b 0..9 append x 3 \n z 10..11 list x 2 1 3'],
    ['internal', 'a 0..1 append x 1; list x \n z 9..10 list x 1'],
    ['internal', 'a 0..1 append x 1; append x 2; list x 2 1 \n z 9..10 list x 1 2'],
  ])('%s: %s', (rule, text) => {
    expect(rulesIn(text)).toContain(`ledger: ${rule}`);
  });
});

describe('cycles', () => {
  it.each([
    [
      'G0',
      'a 0..9 append x 1; append y 2 \n b 0..9 append x 3; append y 4 \n z 10..11 list x 1 3; list y 4 2',
    ],
    ['G1a', 'a 0..9 failed append x 1 \n b 0..9 list x 1 \n z 10..11 list x'],
    ['G1a', 'a 0..9 failed write r 1 \n b 0..9 find r 1'],
    ['G1b', 'a 0..9 append x 1; append x 2 \n b 0..9 list x 1 \n z 10..11 list x 1 2'],
    ['G1b', 'a 0..9 write r 1; write r 2 \n b 0..9 find r 1'],
    ['G1c', 'a 0..9 append x 1; list y 2 \n b 0..9 append y 2; list x 1 \n z 10..11 list x 1; list y 2'],
    ['G1c', 'a 0..9 write r 1; find s 2 \n b 0..9 write s 2; find r 1'],
    // Read skew, and a lost update.
    ['G-single', 'a 0..9 append x 1; append y 2 \n b 0..9 list x 1; list y \n z 10..11 list x 1; list y 2'],
    ['G-single', 'a 0..9 list x; append x 1 \n b 0..9 list x; append x 2 \n z 10..11 list x 1 2'],
    [
      'G-single',
      'a 0..9 unknown append x 1; append y 2 \n b 0..9 list x 1; list y \n z 10..11 list x 1; list y 2',
    ],
    [
      'long-fork',
      'a 0..9 append x 1 \n b 0..9 append y 2 \n c 0..9 list x 1; list y \n d 0..9 list x; list y 2 \n z 10..11 list x 1; list y 2',
    ],
    ['G2', 'a 0..9 list x; append y 1 \n b 0..9 list y; append x 2 \n z 10..11 list x 2; list y 1'],
    ['G-single-real-time', 'a 0..1 append x 1 \n b 2..3 list x \n z 9..10 list x 1'],
    // Seen before it was asked for.
    ['G1c-real-time', 'a 2..3 append x 1 \n b 0..1 list x 1 \n z 9..10 list x 1'],
    ['G0-real-time', 'a 0..1 append x 1 \n b 2..3 append x 2 \n z 9..10 list x 2 1'],
    [
      'G0-real-time',
      'a 0..1 level=snapshot append x 1 \n b 2..3 level=snapshot append x 2 \n z 9..10 list x 2 1',
    ],
    ['G-single-session', 'a 0..1 append x 1 \n a 2..3 level=session list x \n z 9..10 list x 1'],
    [
      'G-single-session',
      'a 0..1 append x 1 \n b 2..3 list x 1 \n b 4..5 level=snapshot list x \n b 6..7 level=session list x \n z 9..10 list x 1',
    ],
    // No single object is wrong: a stale pair of reads, by each alone in time.
    [
      'long-fork',
      'a 0..9 append x 1 \n b 0..9 append y 2 \n c 0..9 level=snapshot list x 1; list y \n d 0..9 level=snapshot list x; list y 2 \n z 10..11 list x 1; list y 2',
    ],
    ['G2', 'a 0..9 find r -; write r 1 \n b 0..9 find r -; write r 2'],
  ])('%s: %s', (rule, text) => {
    expect(rulesIn(text)).toContain(`cycles: ${rule}`);
  });
});

describe('registers', () => {
  it.each([
    ['not-linearizable', 'a 0..1 write r 1 \n b 2..3 find r -'],
    ['not-linearizable', 'a 0..1 write r 1 \n b 2..3 write r 2 \n c 4..5 find r 1'],
    ['not-linearizable', 'a 0..1 write r 1 \n b 0..9 write r 2 \n c 2..3 find r 2 \n c 4..5 find r 1'],
    [
      'not-linearizable',
      'a 0..9 write r 1 \n b 0..9 write r 2 \n c 1..2 find r 2 \n c 3..4 find r 1 \n d 5..6 find r 2',
    ],
    [
      'not-linearizable',
      'a 0..1 unknown write r 1 \n b 2..3 write r 2 \n c 4..5 find r 1 \n c 6..7 find r 2 \n c 8..9 find r 1',
    ],
    ['not-linearizable', 'a 0..1 find r -; write r 1 \n b 2..3 write r 2 \n c 4..5 find r 1; write r 3'],
    ['future', 'a 2..3 write r 1 \n b 0..1 find r 1'],
    ['future', 'a 2..3 find r -; write r 1 \n b 0..1 find r 1; write r 2'],
    ['invented', 'a 0..1 write r 1 \n b 2..3 find r 7'],
    ['invented', 'a 0..1 failed write r 1 \n b 2..3 failed find r 7'],
    ['lost-update', 'a 0..9 find r -; write r 1 \n b 0..9 find r -; write r 2'],
    ['circular', 'a 0..9 find r 2; write r 1 \n b 0..9 find r 1; write r 2'],
    ['internal', 'a 0..9 write r 1; find r -'],
    ['internal', 'a 0..9 find r -; find r 1 \n b 0..9 write r 1'],
  ])('%s: %s', (rule, text) => {
    expect(rulesIn(text)).toContain(`registers: ${rule}`);
  });
});

describe('the bank', () => {
  it.each([
    ['total', 'a 0..9 transfer p q 3 \n b 0..9 level=snapshot balances p=7 q=10'],
    ['accounts', 'b 0..9 balances p=10 q=10 s=0'],
    ['accounts', 'b 0..9 balances p=20'],
    // An acknowledged transfer is missing; a rejected one is there; one is there before it was asked for.
    ['balance', 'a 0..1 transfer p q 3 \n b 2..3 balances p=10 q=10'],
    ['balance', 'a 0..1 failed transfer p q 3 \n b 2..3 balances p=7 q=13'],
    ['balance', 'a 4..5 transfer p q 3 \n b 2..3 balances p=7 q=13'],
    ['balance', 'a 0..1 unknown transfer p q 3; append x 1 \n z 9..10 balances p=10 q=10; list x 1'],
    ['balance', 'a 0..1 unknown transfer p q 3; append x 1 \n z 9..10 balances p=7 q=13; list x'],
    ['balance', 'a 0..9 transfer p q 3; balances p=10 q=10'],
  ])('%s: %s', (rule, text) => {
    expect(rulesIn(text, BANK)).toContain(`bank: ${rule}`);
  });
});

describe('sessions', () => {
  it.each([
    [
      'reads of one session',
      'a 0..1 append x 1 \n b 2..3 list x 1 \n b 4..5 level=session list x \n z 9..10 list x 1',
    ],
    ['its own append', 'a 0..1 append x 1 \n a 4..5 level=session list x \n z 9..10 list x 1'],
    ['LSNs', 'a 0..1 lsn=5 append x 1 \n a 2..3 level=session lsn=4 find r - \n z 9..10 list x 1'],
    [
      'a session of two processes',
      'a 0..1 session=s append x 1 \n b 2..3 session=s level=session list x \n z 9..10 list x 1',
    ],
  ])('went back: %s', (_, text) => {
    expect(rulesIn(text)).toContain('sessions: went-back');
  });
});

describe('the replay', () => {
  it.each([
    ['not-as-replayed', 'a 0..1 lsn=5 append x 1 \n b 2..3 level=snapshot lsn=5 list x \n z 9..10 list x 1'],
    [
      'not-as-replayed',
      'a 0..1 lsn=5 append x 1 \n b 2..3 level=snapshot lsn=4 list x 1 \n z 9..10 list x 1',
    ],
    ['not-as-replayed', 'a 0..9 lsn=5 append x 1 \n b 0..9 lsn=4 append x 2 \n z 10..11 lsn=20 list x 1 2'],
    ['not-as-replayed', 'a 0..1 lsn=5 write r 1 \n b 2..3 level=snapshot lsn=6 find r -'],
    ['not-as-replayed', 'a 0..9 lsn=5 write r 1 \n b 0..9 lsn=6 write r 2 \n c 0..9 lsn=6 find r 1'],
    ['not-as-replayed', 'a 0..1 lsn=5 transfer p q 3 \n b 2..3 level=snapshot lsn=4 balances p=7 q=13'],
    // Its own MTR is not before it.
    [
      'not-as-replayed',
      'a 0..9 lsn=5 append x 1 \n b 0..9 lsn=8 list x; append y 2 \n z 10..11 list x 1; list y 2',
    ],
    ['shared-lsn', 'a 0..9 lsn=5 append x 1 \n b 0..9 lsn=5 append x 2 \n z 10..11 list x 1 2'],
    ['lsn-against-time', 'a 0..1 lsn=5 append x 1 \n b 2..3 lsn=4 append y 2 \n z 10..11 list x 1; list y 2'],
    ['lsn-against-time', 'a 0..1 lsn=5 append x 1 \n b 2..3 lsn=4 list y'],
  ])('%s: %s', (rule, text) => {
    expect(rulesIn(text, BANK)).toContain(`replay: ${rule}`);
  });
});

it('refuses histories that cannot be judged', () => {
  expect(() => rulesIn('a 0..1 append x 1 \n b 0..1 append y 1')).toThrow('element 1 is appended twice');
  expect(() => rulesIn('a 0..1 write r 1 \n b 0..1 write r 1')).toThrow('1 is written twice to r');
});

it('tells a cycle so that a reader can follow it', () => {
  const [violation] = judge(
    story('a 0..1 append x 1 \n b 2..3 list x \n z 9..10 list x 1'),
  ).violations.filter(({ rule }) => rule === 'cycles: G-single-real-time');
  expect(violation).toEqual({
    rule: 'cycles: G-single-real-time',
    message: 'transaction 1 did not see transaction 0 ended before the start of transaction 1',
    transactions: [1, 0],
  });
});

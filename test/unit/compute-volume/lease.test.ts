import { describe, expect, it } from 'vitest';
import { type ClockReading, ReadLease } from '../../../compute-node/volume/lease.ts';
import type { NodeId, PgIndex } from '../../../src/log/lsn.ts';
import type { HeartbeatGrant } from '../../../src/messages/messages.ts';
import { QuorumSet } from '../../../src/quorum/quorum-set.ts';
import { EPOCH, NODES, OLD_EPOCH, refusalOf, VOLUME } from '../../support/writer-net.ts';

const SIX = QuorumSet.of({ members: NODES, proposed: null });
const TERM_MS = 500;
/** What of a term is used: less the allowed difference of clock rates. */
const USABLE_MS = 475;

/** All clocks in step. */
const at = (ms: number): ClockReading => ({ monotonicMs: ms, wallMs: 5_000 + ms, uptimeMs: 90_000 + ms });

/** What a node in good standing answers. */
const grant = (granted = true, scl = 0): HeartbeatGrant => ({
  volume: VOLUME,
  epoch: EPOCH,
  granted,
  pgs: [{ pg: 0 as PgIndex, scl: scl as HeartbeatGrant['pgs'][0]['scl'], verified: true, configVersion: 1 }],
  refusal: null,
});

function leaseOf(...grants: readonly { node: number; sentAt: ClockReading; granted?: boolean }[]): ReadLease {
  const lease = new ReadLease(EPOCH, () => SIX, TERM_MS);
  for (const [i, { node, sentAt, granted = true }] of grants.entries()) {
    lease.onGrant(NODES[node]!, { sequence: i + 1, sentAt }, grant(granted));
  }
  return lease;
}

describe('a read lease', () => {
  it('stands on three promises, not on two', () => {
    expect(leaseOf({ node: 0, sentAt: at(0) }, { node: 1, sentAt: at(0) }).isHeld(at(10))).toBe(false);
    const three = [0, 2, 4].map((node) => ({ node, sentAt: at(0) }));
    expect(leaseOf(...three).isHeld(at(10))).toBe(true);
  });

  it('does not count one node three times, nor a node that is none of the six', () => {
    const lease = leaseOf({ node: 0, sentAt: at(0) }, { node: 0, sentAt: at(1) }, { node: 1, sentAt: at(1) });
    lease.onGrant('stranger' as NodeId, { sequence: 9, sentAt: at(1) }, grant(true));
    expect(lease.isHeld(at(10))).toBe(false);
  });

  it('does not count a node that stands by another epoch, refuses, or has no verified segment of PG 0', () => {
    const poor: HeartbeatGrant[] = [
      { ...grant(), epoch: OLD_EPOCH },
      { ...grant(), refusal: refusalOf('BEHIND') },
      { ...grant(), pgs: [{ ...grant().pgs[0]!, verified: false }] },
      { ...grant(), pgs: [{ ...grant().pgs[0]!, pg: 1 as PgIndex }] },
    ];
    for (const answer of poor) {
      const lease = leaseOf({ node: 0, sentAt: at(0) }, { node: 1, sentAt: at(0) });
      lease.onGrant(NODES[2]!, { sequence: 9, sentAt: at(0) }, answer);
      expect(lease.isHeld(at(10))).toBe(false);
      expect(lease.confirmedSequence).toBe(0);
    }
  });

  it('counts each promise from the sending of its heartbeat, for the term less the clock-rate error', () => {
    const lease = leaseOf(
      { node: 0, sentAt: at(0) },
      { node: 1, sentAt: at(50) },
      { node: 2, sentAt: at(100) },
    );
    expect(lease.isHeld(at(USABLE_MS - 1))).toBe(true);
    expect(lease.isHeld(at(USABLE_MS))).toBe(false);
  });

  it('is not prolonged by an answer without a promise, nor shortened by a late one', () => {
    const lease = leaseOf(...[0, 1, 2].map((node) => ({ node, sentAt: at(0) })));
    lease.onGrant(NODES[0]!, { sequence: 10, sentAt: at(400) }, grant(false));
    expect(lease.isHeld(at(470))).toBe(true);
    expect(lease.isHeld(at(480))).toBe(false);
    for (const node of [0, 1, 2]) lease.onGrant(NODES[node]!, { sequence: 20, sentAt: at(400) }, grant(true));
    lease.onGrant(NODES[0]!, { sequence: 15, sentAt: at(0) }, grant(true));
    expect(lease.isHeld(at(800))).toBe(true);
  });

  it('is void when any clock says that more time has passed', () => {
    const promises = [0, 1, 2].map((node) => ({ node, sentAt: at(0) }));
    const now = at(100);
    // A suspended machine: the monotone clock stood still.
    expect(leaseOf(...promises).isHeld({ ...now, uptimeMs: now.uptimeMs + 10_000 })).toBe(false);
    expect(leaseOf(...promises).isHeld({ ...now, wallMs: now.wallMs + 10_000 })).toBe(false);
    // A wall clock set back tells as little.
    expect(leaseOf(...promises).isHeld({ ...now, wallMs: now.wallMs - 10_000 })).toBe(false);
    // The granularity of uptime is no jump.
    expect(leaseOf(...promises).isHeld({ ...now, uptimeMs: now.uptimeMs - 10 })).toBe(true);
  });

  it('takes the longest of the times that the clocks show', () => {
    const lease = leaseOf(...[0, 1, 2].map((node) => ({ node, sentAt: at(0) })));
    const now = at(USABLE_MS - 20);
    expect(lease.isHeld({ ...now, uptimeMs: now.uptimeMs + 30 })).toBe(false);
  });

  it('that a jump made void does not come back when the clocks agree again', () => {
    const lease = leaseOf(...[0, 1, 2].map((node) => ({ node, sentAt: at(0) })));
    const now = at(100);
    expect(lease.isHeld({ ...now, wallMs: now.wallMs + 10_000 })).toBe(false);
    expect(lease.isHeld(at(110))).toBe(false);
  });

  it('never comes back once it was ended', () => {
    const lease = leaseOf(...[0, 1, 2].map((node) => ({ node, sentAt: at(0) })));
    lease.end();
    expect(lease.isHeld(at(1))).toBe(false);
    for (const node of [0, 1, 2]) lease.onGrant(NODES[node]!, { sequence: 20, sentAt: at(2) }, grant(true));
    expect(lease.isHeld(at(3))).toBe(false);
    expect(lease.confirmedSequence).toBe(0);
  });
});

describe('a confirmation', () => {
  it('is the greatest sequence that three of the six have answered', () => {
    const lease = new ReadLease(EPOCH, () => SIX, TERM_MS);
    const answer = (node: number, sequence: number) =>
      lease.onGrant(NODES[node]!, { sequence, sentAt: at(0) }, grant(false));
    answer(0, 11);
    answer(1, 12);
    expect(lease.confirmedSequence).toBe(0);
    answer(2, 5);
    expect(lease.confirmedSequence).toBe(5);
    answer(3, 30);
    expect(lease.confirmedSequence).toBe(11);
  });
});

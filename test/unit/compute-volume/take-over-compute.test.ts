/** Step 3 of a take-over, case by case; each safety clause has a case that fails without it. */
import { describe, expect, it } from 'vitest';
import {
  type DurableLog,
  type Verdict,
  computeDurable,
} from '../../../compute-node/volume/take-over-compute.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import { epoch, entry, manifestOf, report, reportsOf, run } from '../../support/takeover-fixtures.ts';

const oneRun = manifestOf([run(0, 1, null)]);
const chain = (through: number) => Array.from({ length: through }, (_, i) => entry(i + 1, i));

function durable(verdict: Verdict): DurableLog {
  if (verdict.kind !== 'durable') throw new Error(`shortage: ${JSON.stringify(verdict.shortages)}`);
  return verdict;
}
function shortages(verdict: Verdict): readonly string[] {
  return verdict.kind === 'durable' ? [] : verdict.shortages.map((shortage) => shortage.kind);
}

describe('quorums', () => {
  const full = [0, 1, 2, 3].map((node) => report(node, chain(3)));

  it('needs four promises', () => {
    expect(shortages(computeDurable(oneRun, reportsOf(full.slice(0, 3))))).toEqual(['promises']);
    expect(durable(computeDurable(oneRun, reportsOf(full))).vdl).toBe(3);
  });

  it('needs three intact inventories, complete ones', () => {
    const quarantined = [0, 1, 2, 3].map((node) => report(node, chain(3), { intact: node < 2 }));
    expect(shortages(computeDurable(oneRun, reportsOf(quarantined)))).toEqual(['inventories']);
    const listing = [report(0, chain(3)), report(1, chain(3)), report(2, null), report(3, null)];
    expect(shortages(computeDurable(oneRun, reportsOf(listing)))).toEqual(['inventories']);
  });

  it('needs them in every PG', () => {
    const two = manifestOf([run(0, 1, null)], 2);
    expect(shortages(computeDurable(two, reportsOf(full, full.slice(0, 2))))).toEqual(['promises']);
  });
});

describe('the end of the log', () => {
  it('is in the union: one holder is enough to keep a record', () => {
    const reports = [report(0, chain(2)), report(1, chain(5)), report(2, []), report(3, chain(1))];
    expect(durable(computeDurable(oneRun, reportsOf(reports)))).toMatchObject({
      provenLsn: 0,
      vcl: 5,
      vdl: 5,
      tails: [5],
    });
  });

  it('counts what a segment in quarantine holds', () => {
    const reports = [
      report(0, chain(2)),
      report(1, chain(2)),
      report(2, chain(2)),
      report(3, chain(4), { intact: false }),
    ];
    expect(durable(computeDurable(oneRun, reportsOf(reports))).vdl).toBe(4);
  });

  it('stops at the first gap, and goes back to the last CPL', () => {
    const held = [entry(1, 0), entry(2, 1, { cpl: false }), entry(3, 2, { cpl: false }), entry(5, 4)];
    const reports = [0, 1, 2, 3].map((node) => report(node, held, { scl: 3 }));
    const log = durable(computeDurable(oneRun, reportsOf(reports)));
    expect(log).toMatchObject({ vcl: 3, vdl: 1, tails: [1], lastCommitTimeMicros: 1_000 });
    expect(log.records.map((records) => records.map(({ lsn }) => lsn))).toEqual([[1]]);
  });

  it('is one sequence over all PGs: a gap in one ends all', () => {
    const two = manifestOf([run(0, 1, null)], 2);
    const first = [0, 1, 2, 3].map((node) => report(node, [entry(1, 0), entry(4, 1)]));
    const second = (...held: ReturnType<typeof entry>[]) => [0, 1, 2, 3].map((node) => report(node, held));
    expect(durable(computeDurable(two, reportsOf(first, second(entry(2, 0), entry(3, 2)))))).toMatchObject({
      vdl: 4,
      tails: [4, 3],
    });
    expect(durable(computeDurable(two, reportsOf(first, second(entry(2, 0)))))).toMatchObject({
      vdl: 2,
      tails: [1, 2],
    });
    expect(durable(computeDurable(two, reportsOf(first, second())))).toMatchObject({ vdl: 1, tails: [1, 0] });
  });

  it("is the head run's first − 1 when nothing was written in it", () => {
    const reopened = manifestOf([run(0, 1, 10, [9]), run(1, 111, null)]);
    const reports = [0, 1, 2, 3].map((node) => report(node, [], { scl: 9 }));
    expect(durable(computeDurable(reopened, reportsOf(reports)))).toMatchObject({ vdl: 110, tails: [9] });
  });
});

describe('ghosts', () => {
  const reopened = manifestOf([run(0, 1, 2, [2]), run(1, 103, null)]);

  it('of a cut do not exist, however many segments hold them', () => {
    const held = [...chain(5), entry(103, 2, { birth: epoch(2) })];
    const reports = [0, 1, 2, 3, 4, 5].map((node) => report(node, held));
    expect(durable(computeDurable(reopened, reportsOf(reports)))).toMatchObject({ vdl: 103, tails: [103] });
  });

  it('of another birth epoch do not exist, although their LSN lies in a run', () => {
    const held = [entry(103, 2, { birth: epoch(2) }), entry(104, 103, { birth: epoch(1) })];
    const reports = [0, 1, 2, 3].map((node) => report(node, held));
    expect(durable(computeDurable(reopened, reportsOf(reports))).vdl).toBe(103);
  });
});

describe('what was reported durable is never cut', () => {
  it('starts from the highest VDL that any segment was told, in quarantine or not', () => {
    const reports = [
      report(0, chain(5), { vdl: 2 }),
      report(1, chain(5), { vdl: 5, intact: false }),
      report(2, chain(5)),
      report(3, chain(5)),
    ];
    expect(durable(computeDurable(oneRun, reportsOf(reports)))).toMatchObject({
      provenLsn: 5,
      vdl: 5,
      tails: [5],
    });
  });

  it('waits when the record at that VDL is in no inventory', () => {
    const two = manifestOf([run(0, 1, null)], 2);
    const told = [0, 1, 2, 3].map((node) => report(node, chain(3), { vdl: 5, tail: 3, scl: 3 }));
    const empty = [0, 1, 2, 3].map((node) => report(node, []));
    expect(shortages(computeDurable(two, reportsOf(told, empty)))).toEqual(['missing']);
    const found = [report(0, []), report(1, []), report(2, []), report(3, [entry(4, 0), entry(5, 4)])];
    expect(durable(computeDurable(two, reportsOf(told, found)))).toMatchObject({ vdl: 5, tails: [3, 5] });
  });

  it('waits when a PG has a gap below a VDL that another PG was told', () => {
    const two = manifestOf([run(0, 1, null)], 2);
    const told = [0, 1, 2, 3].map((node) => report(node, [entry(1, 0), entry(6, 1)], { vdl: 6 }));
    const gap = [0, 1, 2, 3].map((node) => report(node, [entry(2, 0), entry(5, 4)], { scl: 2 }));
    expect(shortages(computeDurable(two, reportsOf(told, gap)))).toEqual(['missing']);
  });

  it('waits when no segment that answered holds the tail of a committed closing', () => {
    const reopened = manifestOf([run(0, 1, 10, [9]), run(1, 111, null)]);
    const rolledBack = [0, 1, 2, 3].map((node) => report(node, [], { scl: 4 }));
    expect(shortages(computeDurable(reopened, reportsOf(rolledBack)))).toEqual(['missing']);
    const oneHolds = [...rolledBack.slice(0, 3), report(3, [], { scl: 9 })];
    expect(durable(computeDurable(reopened, reportsOf(oneHolds))).vdl).toBe(110);
    // Told of a VDL beyond it, a segment may hold it beyond a gap that it does not list.
    const mayHold = [...rolledBack.slice(0, 3), report(3, [], { scl: 4, vdl: 110, tail: 9 })];
    expect(durable(computeDurable(reopened, reportsOf(mayHold))).vdl).toBe(110);
  });

  it("waits when the chain above does not begin at the PG's tail", () => {
    const reports = [0, 1, 2, 3].map((node) => report(node, [entry(1, 0), entry(2, 0)], { scl: 1 }));
    expect(shortages(computeDurable(oneRun, reportsOf(reports)))).toEqual(['missing']);
  });

  it('does not choose between two records of one LSN', () => {
    const other = [entry(1, 0, { checksum: 77 })];
    const reports = [report(0, chain(1)), report(1, other), report(2, chain(1)), report(3, chain(1))];
    expect(shortages(computeDurable(oneRun, reportsOf(reports)))).toEqual(['conflict']);
    const two = manifestOf([run(0, 1, null)], 2);
    const same = [0, 1, 2, 3].map((node) => report(node, chain(1)));
    expect(shortages(computeDurable(two, reportsOf(same, same)))).toEqual(['conflict']);
  });

  it('does not choose between two tails of one VDL', () => {
    const reports = [0, 1, 2, 3].map((node) => report(node, chain(5), { vdl: 5, tail: node === 0 ? 4 : 5 }));
    expect(shortages(computeDurable(oneRun, reportsOf(reports)))).toContain('conflict');
  });
});

describe('commit stamps', () => {
  it('come from the last commit listed', () => {
    const reports = [0, 1, 2, 3].map((node) => report(node, chain(3)));
    expect(durable(computeDurable(oneRun, reportsOf(reports)))).toMatchObject({
      lastCommitTimeMicros: 3_000,
      isLastCommitListed: true,
    });
  });

  it('are not in the inventories when the last commit was reported durable before', () => {
    const reports = [0, 1, 2, 3].map((node) => report(node, chain(3), { vdl: 3 }));
    expect(durable(computeDurable(oneRun, reportsOf(reports)))).toMatchObject({
      vdl: 3,
      isLastCommitListed: false,
    });
  });
});

describe('while a PG changes its members', () => {
  /** az3-c is to follow az3-b (node 5). */
  const NEWCOMER = 'az3-c' as NodeId;
  const changing = {
    ...oneRun,
    pgs: oneRun.pgs.map((config) => ({
      ...config,
      configVersion: 2,
      proposed: [...config.members.slice(0, 5), NEWCOMER],
    })),
  };
  const newcomer = (held: ReturnType<typeof entry>[], intact = true) => ({
    ...report(0, held, { intact }),
    nodeId: NEWCOMER,
  });
  const of = (...nodes: number[]) => nodes.map((node) => report(node, chain(3)));

  it('needs four promises of each member set', () => {
    expect(shortages(computeDurable(changing, reportsOf(of(0, 1, 2, 5))))).toEqual(['promises']);
    expect(shortages(computeDurable(changing, reportsOf([...of(0, 1, 2), newcomer(chain(3))])))).toEqual([
      'promises',
    ]);
    expect(durable(computeDurable(changing, reportsOf([...of(0, 1, 2, 5), newcomer(chain(3))]))).vdl).toBe(3);
    expect(durable(computeDurable(changing, reportsOf(of(0, 1, 2, 3)))).vdl).toBe(3);
  });

  it('needs three intact inventories of each: what three of one set deny was never durable, two of each prove nothing', () => {
    const weak = (nodes: number[]) => nodes.map((node) => report(node, chain(3), { intact: false }));
    // Intact are two that stay and the one that leaves: three of the old six, two of the new.
    const old = [...of(0, 1, 5), ...weak([2, 3]), newcomer([], false)];
    expect(shortages(computeDurable(changing, reportsOf(old)))).toEqual(['inventories']);
    const young = [...of(0, 1), ...weak([2, 3, 5]), newcomer(chain(3))];
    expect(shortages(computeDurable(changing, reportsOf(young)))).toEqual(['inventories']);
    expect(durable(computeDurable(changing, reportsOf([...of(0, 1, 2), ...weak([3, 5])]))).vdl).toBe(3);
  });
});

/**
 * The load of chaos trials against one compute node's SQL over a volume in memory: where nothing is wrong it finds nothing, and it finds what is
 * tampered with.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { openEngine } from '../../compute-node/engine/engine.ts';
import { type Judgement, Load } from '../chaos/load.ts';
import { connect } from '../chaos/workload/connection.ts';
import { testLimits } from '../support/core-harness.ts';
import { engineWorkerUrl } from '../support/engine-worker.ts';
import { startTestServer } from '../support/hrana-server.ts';
import { MemoryVolume } from '../support/memory-volume.ts';

/** Transactions to judge. */
const ENOUGH = { acknowledged: 60, answered: 30 };

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** What the judgement is when clients have worked for a while and then `tamper` was performed. */
async function judged(tamper: string | null): Promise<{ judgement: Judgement; violations: string[] }> {
  const volume = new MemoryVolume({ durabilityDelayMs: 2 });
  const engine = await openEngine({ volume, workerUrl: engineWorkerUrl, limits: testLimits });
  closing.push(() => engine.close());
  const server = await startTestServer({ volumes: [], engine });
  closing.push(() => server.close());
  const violations: string[] = [];
  const load = await Load.start({
    urls: [server.url],
    seed: 1,
    tell: () => undefined,
    report: (violation) => violations.push(violation),
  });
  while (
    load.acknowledged().reduce((sum, count) => sum + count, 0) < ENOUGH.acknowledged ||
    load.answered() < ENOUGH.answered
  )
    await sleep(20);
  await load.abandon();
  if (tamper !== null) {
    const db = connect(server.url);
    await db.execute(tamper);
    db.close();
  }
  return { judgement: await load.judge(), violations };
}

it('finds nothing wrong where nothing is', async () => {
  const { judgement, violations } = await judged(null);
  expect(violations).toEqual([]);
  expect(judgement).toMatchObject({ lost: 0, duplicated: 0, invented: 0, unknown: 0 });
  // Constraints that are broken on purpose, and transactions rolled back.
  expect(judgement.refused).toBeGreaterThan(0);
});

it.each([
  ['an element that is lost', 'ledger: lost', 'DELETE FROM entry WHERE rowid = 3'],
  ['a text that is cut short', 'ledger: lost', "UPDATE text_list SET elements = ''"],
  [
    'an element that is there twice',
    'ledger: twice',
    'INSERT INTO entry SELECT * FROM entry WHERE rowid = 3',
  ],
  [
    'an element nobody appended',
    'ledger: invented',
    "INSERT INTO entry SELECT key, 1000, 1000000, x'' FROM entry",
  ],
  ['a register of another time', 'registers: invented', 'UPDATE register SET value = 1000000'],
  ['money that vanished', 'bank: total', 'UPDATE account SET balance = balance - 1 WHERE id = 1'],
  ['money that moved by itself', 'bank: balance', 'UPDATE account SET balance = balance + id * 4 - 22'],
  ['a body of other bytes', '1 rows have another body', "UPDATE entry SET body = x'fcfdfe' WHERE rowid = 3"],
])('finds %s', async (_, rule, tamper) => {
  const { violations } = await judged(tamper);
  expect(violations.join('\n')).toContain(rule);
});

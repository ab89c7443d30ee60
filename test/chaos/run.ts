/**
 * One chaos round: a real cluster of six storage nodes and two compute nodes, clients that write and read, faults drawn from a seed, and at
 * the end a look at everything. What the clients are promised is checked during and after (ledger.ts, clients.ts).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@libsql/client';
import { RealCluster, STORAGE_NODES } from '../support/real-cluster.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import {
  ACCOUNTS,
  balanceIn,
  connect,
  LEDGER_PARTS,
  OPENING_BALANCE,
  Reader,
  SCHEMA,
  Writer,
} from './clients.ts';
import { Ledger } from './ledger.ts';
import { Mayhem } from './mayhem.ts';

const WRITERS = 6;
const READERS = 3;
/** From the last repair until writes must be acknowledged again. */
const RECOVERY_LIMIT_MS = 40_000;

export interface ChaosResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly story: readonly string[];
  readonly codes: ReadonlyMap<string, number>;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly refused: number;
  readonly reads: number;
  readonly faults: number;
  readonly recoveryMs: number;
  /** What processes logged as errors, counted. */
  readonly complaints: ReadonlyMap<string, number>;
  /** Where the data and logs are, when something was broken; removed otherwise. */
  readonly directory: string;
}

export async function runChaos({ seed, seconds }: { seed: number; seconds: number }): Promise<ChaosResult> {
  const random = new SeededRandom(seed);
  const cluster = await RealCluster.start({
    pgPages: random.pick([16, 64, 2_621_440]),
    commitTimeoutMs: 3_000,
    environment: {
      // A cache that holds next to nothing has pages read from storage all the time; a short window has history collected.
      TIDEMARK_PAGE_CACHE_BYTES: random.pick(['128KiB', '1MiB', '256MiB']),
      TIDEMARK_WINDOW_MS: random.pick(['500', '86400000']),
    },
  });
  const violations: string[] = [];
  const report = (violation: string): void => {
    if (violations.length < 100) violations.push(violation);
  };
  const ledger = new Ledger();
  const urls = [cluster.url('compute-1'), cluster.url('compute-2')];
  let isOver = false;
  try {
    await cluster.startCompute('compute-2');
    const setup = connect(cluster.url());
    await setup.batch([...SCHEMA], 'write');
    setup.close();

    const endMs = performance.now() + seconds * 1_000;
    const mayhem = new Mayhem({ cluster, random, report, isOver: () => performance.now() >= endMs });
    const options = (id: number) => ({
      id,
      urls,
      random: new SeededRandom(seed * 1_000 + id),
      ledger,
      report,
      tell: (event: string) => mayhem.tell(event),
      isOver: () => isOver,
    });
    const writers = Array.from({ length: WRITERS }, (_, id) => new Writer(options(id)));
    const readers = Array.from({ length: READERS }, (_, i) => new Reader(options(WRITERS + i)));
    const clients = [...writers, ...readers].map((client) => client.run());
    await mayhem.run();

    mayhem.tell('all runs again');
    const recoveryMs = await recovered(ledger, report);
    mayhem.tell('all are served again');
    isOver = true;
    await Promise.all(clients);
    await checkAll(urls, ledger, report);
    for (const crash of cluster.crashes) report(`a process ended by itself: ${crash}`);
    return {
      seed,
      violations,
      story: mayhem.story,
      codes: ledger.codes,
      acknowledged: ledger.count('acknowledged'),
      unknown: ledger.count('unknown'),
      refused: ledger.count('refused'),
      reads: readers.reduce((sum, reader) => sum + reader.looks, 0),
      faults: mayhem.faults,
      recoveryMs,
      complaints: await complaintsIn(cluster),
      directory: cluster.directory,
    };
  } finally {
    isOver = true;
    if (violations.length === 0) await cluster.destroy();
    else await cluster.stop();
  }
}

async function complaintsIn(cluster: RealCluster): Promise<Map<string, number>> {
  const complaints = new Map<string, number>();
  for (const name of [...STORAGE_NODES, 'compute-1', 'compute-2']) {
    for (const line of (await cluster.log(name)).split('\n')) {
      if (line === '' || /"level":"(debug|info|warn)"/.test(line)) continue;
      const message = `${name}: ${line.slice(0, 400).replace(/"time":"[^"]*",/, '')}`;
      complaints.set(message, (complaints.get(message) ?? 0) + 1);
    }
  }
  return complaints;
}

/** Everything runs again: soon every client must be served again. */
async function recovered(ledger: Ledger, report: (violation: string) => void): Promise<number> {
  const startMs = performance.now();
  const before = ledger.clients.map((_, client) => ledger.bounds(client).least);
  for (;;) {
    const waiting = before.filter((least, client) => ledger.bounds(client).least <= least + 2).length;
    const tookMs = performance.now() - startMs;
    if (waiting === 0) return Math.round(tookMs);
    if (tookMs > RECOVERY_LIMIT_MS) {
      report(`${waiting} clients could not write ${RECOVERY_LIMIT_MS} ms after everything was repaired`);
      return Math.round(tookMs);
    }
    await sleep(50);
  }
}

async function checkAll(
  urls: readonly string[],
  ledger: Ledger,
  report: (violation: string) => void,
): Promise<void> {
  const db = await whoeverServes(urls);
  const { rows } = await db.execute(
    'SELECT client, number, count(*) AS parts, count(DISTINCT part) AS different FROM ledger GROUP BY client, number',
  );
  const found = new Map(rows.map((row) => [`${row.client}/${row.number}`, Number(row.parts)]));
  for (const [client, outcomes] of ledger.clients.entries()) {
    for (const [number, outcome] of outcomes.entries()) {
      const name = `${client}/${number}`;
      const parts = found.get(name) ?? 0;
      found.delete(name);
      if (outcome === 'pending') report(`transaction ${name} never ended`);
      if (outcome === 'acknowledged' && parts === 0)
        report(`transaction ${name} was acknowledged and is lost`);
      if (outcome === 'refused' && parts > 0) report(`transaction ${name} was refused and is there`);
      if (parts !== 0 && parts !== LEDGER_PARTS)
        report(`transaction ${name} has ${parts} of ${LEDGER_PARTS} rows`);
    }
  }
  for (const name of found.keys()) report(`transaction ${name} is there and nobody made it`);
  const { rows: totals } = await db.execute('SELECT sum(balance) AS total FROM account');
  if (balanceIn(totals[0]) !== ACCOUNTS * OPENING_BALANCE)
    report(`the balance is ${balanceIn(totals[0])} at the end`);
  const { rows: integrity } = await db.execute('PRAGMA integrity_check');
  for (const row of integrity) if (row.integrity_check !== 'ok') report(`integrity: ${row.integrity_check}`);
  db.close();
}

async function whoeverServes(urls: readonly string[]): Promise<Client> {
  for (let attempt = 0; ; attempt += 1) {
    const db = connect(urls[attempt % urls.length] as string, 30_000);
    try {
      await db.execute('SELECT 1 FROM account');
      return db;
    } catch (error) {
      db.close();
      if (attempt === 20) throw error;
      await sleep(250);
    }
  }
}

export function summaryLine(results: readonly ChaosResult[]): string {
  const sum = (of: (result: ChaosResult) => number): number => results.reduce((total, r) => total + of(r), 0);
  const slowest = Math.max(...results.map(({ recoveryMs }) => recoveryMs));
  return (
    `chaos: ${results.length} rounds, seeds ${results.map(({ seed }) => seed).join(',')}, ${sum((r) => r.faults)} faults; ` +
    `${sum((r) => r.acknowledged)} acknowledged, ${sum((r) => r.refused)} refused, ${sum((r) => r.unknown)} unknown, ` +
    `${sum((r) => r.reads)} reads; slowest recovery ${slowest} ms; ${sum((r) => r.violations.length)} violations`
  );
}

/**
 * Real processes, real kills. Rows are inserted one batch (one transaction) after another; every acknowledged batch must be there whole after
 * whatever happened, and no batch may be there in part.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, createClient, LibsqlError } from '@libsql/client';
import { afterEach, describe, expect, it } from 'vitest';
import { RealCluster, type RealClusterOptions, STORAGE_NODES } from '../support/real-cluster.ts';

const BATCH_ROWS = 20;
let cluster: RealCluster | null = null;

async function start(options: RealClusterOptions = {}): Promise<RealCluster> {
  cluster = await RealCluster.start(options);
  const db = createClient({ url: cluster.url() });
  await db.execute('CREATE TABLE entry(id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, text TEXT NOT NULL)');
  await db.execute('CREATE INDEX entry_batch ON entry(batch)');
  db.close();
  return cluster;
}

afterEach(async () => {
  await cluster?.destroy();
  cluster = null;
}, 60_000);

/** One batch, one transaction. */
async function insertBatch(db: Client, batch: number): Promise<void> {
  await db.batch(
    Array.from({ length: BATCH_ROWS }, (_, i) => ({
      sql: 'INSERT INTO entry(id, batch, text) VALUES (?, ?, ?)',
      args: [batch * BATCH_ROWS + i, batch, `entry ${i} of batch ${batch}`],
    })),
    'write',
  );
}

/** Inserts batches until told to stop; remembers which were acknowledged and which failed (outcome unknown). */
class Load {
  readonly acknowledged = new Set<number>();
  readonly unknown = new Set<number>();
  readonly errors: unknown[] = [];
  #stopping = false;
  readonly #running: Promise<void>;

  constructor(url: string, first = 0) {
    this.#running = this.#run(url, first);
  }

  async #run(url: string, first: number): Promise<void> {
    const db = createClient({ url });
    for (let batch = first; !this.#stopping; batch += 1) {
      try {
        await insertBatch(db, batch);
        this.acknowledged.add(batch);
      } catch (error) {
        this.unknown.add(batch);
        this.errors.push(error);
        await sleep(50);
      }
    }
    db.close();
  }

  async reach(count: number, timeoutMs = 60_000): Promise<void> {
    const end = Date.now() + timeoutMs;
    while (this.acknowledged.size < count) {
      if (Date.now() > end) {
        throw new Error(`only ${this.acknowledged.size} of ${count} batches acknowledged`, {
          cause: this.errors.at(-1),
        });
      }
      await sleep(20);
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }
}

async function batchSizes(url: string): Promise<Map<number, number>> {
  const db = createClient({ url });
  const { rows } = await db.execute('SELECT batch, count(*) AS n FROM entry GROUP BY batch');
  db.close();
  return new Map(rows.map((row) => [Number(row.batch), Number(row.n)]));
}

async function expectWhole(url: string, load: Pick<Load, 'acknowledged' | 'unknown'>): Promise<void> {
  const sizes = await batchSizes(url);
  const lost = [...load.acknowledged].filter((batch) => !sizes.has(batch));
  const torn = [...sizes].filter(([, size]) => size !== BATCH_ROWS);
  const invented = [...sizes.keys()].filter(
    (batch) => !load.acknowledged.has(batch) && !load.unknown.has(batch),
  );
  expect({ lost, torn, invented }).toEqual({ lost: [], torn: [], invented: [] });
  const db = createClient({ url });
  expect((await db.execute('PRAGMA integrity_check')).rows[0]?.integrity_check).toBe('ok');
  db.close();
}

describe('storage nodes lost', () => {
  it('goes on without an error when any two are killed in the middle of a load, and they catch up', async () => {
    const { url, signal, startStorage } = bind(await start());
    const load = new Load(url());
    await load.reach(50);
    await signal('az1-a', 'SIGKILL');
    await load.reach(load.acknowledged.size + 50);
    await signal('az3-b', 'SIGKILL');
    await load.reach(load.acknowledged.size + 50);
    await startStorage('az1-a');
    await startStorage('az3-b');
    await load.reach(load.acknowledged.size + 50);
    await load.stop();
    expect(load.errors).toEqual([]);
    await expectWhole(url(), load);
    await caughtUp(url());
    // The two that were away now carry the quorum themselves.
    await signal('az2-a', 'SIGKILL');
    await signal('az2-b', 'SIGKILL');
    const again = new Load(url(), 1_000_000);
    await again.reach(20);
    await again.stop();
    expect(again.errors).toEqual([]);
    await expectWhole(url(), {
      acknowledged: new Set([...load.acknowledged, ...again.acknowledged]),
      unknown: new Set(),
    });
  });

  it('fails commits with a clear code when a third is lost, still reads, and goes on when one returns', async () => {
    const { url, signal, startStorage } = bind(await start({ commitTimeoutMs: 2_000 }));
    const load = new Load(url());
    await load.reach(20);
    await load.stop();
    for (const node of ['az1-a', 'az1-b', 'az2-a'] as const) await signal(node, 'SIGKILL');
    const db = createClient({ url: url() });
    const first = await insertBatch(db, 500_000).then(
      () => null,
      (error: unknown) => error,
    );
    expect(first).toBeInstanceOf(LibsqlError);
    expect((first as LibsqlError).code).toMatch(/OUTCOME_UNKNOWN|NO_QUORUM/);
    load.unknown.add(500_000);
    expect((await db.execute('SELECT count(*) AS n FROM entry WHERE batch < 500000')).rows[0]?.n).toBe(
      load.acknowledged.size * BATCH_ROWS,
    );
    await startStorage('az1-b');
    const again = new Load(url(), 600_000);
    await again.reach(10);
    await again.stop();
    for (const batch of again.unknown) load.unknown.add(batch);
    for (const batch of again.acknowledged) load.acknowledged.add(batch);
    await expectWhole(url(), load);
    db.close();
  });
});

describe('the compute node lost', () => {
  it('has every acknowledged row and nothing in part after a kill in the middle of a load', async () => {
    const { url, signal, startCompute } = bind(await start());
    const load = new Load(url());
    for (let round = 0; round < 3; round += 1) {
      await load.reach(load.acknowledged.size + 40);
      await signal('compute-1', 'SIGKILL');
      await startCompute();
    }
    await load.reach(load.acknowledged.size + 10);
    await load.stop();
    await expectWhole(url(), load);
  });

  it('leaves an old writer that wakes up unable to write or to answer from the past', async () => {
    const { url, signal, startCompute } = bind(await start());
    const load = new Load(url());
    await load.reach(20);
    await load.stop();
    const old = createClient({ url: url('compute-1') });
    await old.execute('SELECT 1');
    await signal('compute-1', 'SIGSTOP');
    await sleep(2_000);
    await startCompute('compute-2');
    const next = createClient({ url: url('compute-2') });
    await next.execute("INSERT INTO entry(id, batch, text) VALUES (-1, -1, 'of the new writer')");
    await signal('compute-1', 'SIGCONT');
    const write = await old
      .execute("INSERT INTO entry(id, batch, text) VALUES (-2, -2, 'of the old writer')")
      .then(
        () => 'acknowledged',
        (error: LibsqlError) => error.code,
      );
    expect(write).not.toBe('acknowledged');
    const read = await old.execute('SELECT count(*) AS n FROM entry WHERE batch = -1').then(
      ({ rows }) => Number(rows[0]?.n),
      () => 'refused',
    );
    expect(['refused', 1]).toContain(read);
    const { rows } = await next.execute('SELECT batch FROM entry WHERE batch < 0');
    expect(rows.map((row) => row.batch)).toEqual([-1]);
    await next.execute('DELETE FROM entry WHERE batch < 0');
    await expectWhole(url('compute-2'), load);
    old.close();
    next.close();
  });
});

describe('everything lost at once', () => {
  it('comes back from a kill of all seven with every acknowledged row and nothing in part', async () => {
    const real = await start();
    const load = new Load(real.url());
    for (let round = 0; round < 2; round += 1) {
      await load.reach(load.acknowledged.size + 40);
      await real.killAll();
      await real.startAll();
    }
    await load.reach(load.acknowledged.size + 10);
    await load.stop();
    await expectWhole(real.url(), load);
  });
});

describe('a volume of many small protection groups', () => {
  it('grows under load, loses a zone, loses its writer, and is whole', async () => {
    const { url, signal, startCompute } = bind(await start({ pgPages: 16 }));
    const load = new Load(url());
    await load.reach(100);
    for (const node of ['az2-a', 'az2-b'] as const) await signal(node, 'SIGKILL');
    await load.reach(load.acknowledged.size + 100);
    await signal('compute-1', 'SIGKILL');
    await startCompute();
    await load.reach(load.acknowledged.size + 20);
    await load.stop();
    await expectWhole(url(), load);
    const status = (await (await fetch(`${url()}/-/status`)).json()) as {
      volumes: { name: string; status: { pgCount: number } }[];
    };
    expect(status.volumes.find(({ name }) => name === 'main')?.status.pgCount).toBeGreaterThan(3);
  });
});

async function caughtUp(url: string): Promise<void> {
  const end = Date.now() + 30_000;
  let lags: number[] = [];
  while (Date.now() < end) {
    const status = (await (await fetch(`${url}/-/status`)).json()) as {
      volumes: { name: string; status: { nodes: { lagRecords: number }[] } }[];
    };
    lags =
      status.volumes.find(({ name }) => name === 'main')?.status.nodes.map((node) => node.lagRecords) ?? [];
    if (lags.length === STORAGE_NODES.length && lags.every((lag) => lag === 0)) return;
    await sleep(100);
  }
  throw new Error(`storage nodes did not catch up: lags ${lags.join(', ')}`);
}

function bind(real: RealCluster) {
  return {
    url: real.url.bind(real),
    signal: real.signal.bind(real),
    startStorage: real.startStorage.bind(real),
    startCompute: real.startCompute.bind(real),
  };
}

/**
 * What the parts of the suite `timeline` work on: one cluster, and the same table in three volumes, of sizes 1×, 10× and 100×; at full length the largest
 * is above a gigabyte.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TidemarkError } from '../../src/base/errors.ts';
import type { OpenVolumeStatus } from '../../compute-node/volume/open-volume.ts';
import { AdminDriver } from '../drivers/admin.ts';
import { WsConnection, type WsTarget } from '../drivers/ws.ts';
import type { OwnCluster, SuiteContext } from '../suite.ts';
import { WsClient } from '../ways/ws.ts';
import { writeDatabaseFile } from '../workloads/database-file.ts';
import { anyId, payload } from '../workloads/rows.ts';

export const TABLE = 'bench_timeline';
export const SELECT = `SELECT v FROM ${TABLE} WHERE id = ?`;
const UPDATE = `UPDATE ${TABLE} SET v = ? WHERE id = ?`;
const MEGABYTE = 1_000_000;
/** Pages of rows at 1×. */
const QUICK_LEAVES = 65;
const FULL_LEAVES = 2_620;
const UPDATES_PER_TRANSACTION = 100;

export interface Setting {
  readonly context: SuiteContext;
  readonly own: OwnCluster;
  readonly admin: AdminDriver;
  /** Smallest first. */
  readonly sizes: readonly SizedVolume[];
  /** Volume by name. */
  target(volume: string): WsTarget;
}

export interface SizedVolume {
  /** 1, 10, 100. */
  readonly factor: number;
  readonly volume: string;
  readonly rows: number;
  readonly sizeBytes: number;
  readonly importSeconds: number;
}

export async function prepareSetting(context: SuiteContext): Promise<Setting> {
  const { target, own } = await context.cluster();
  if (own === null || target === null) {
    throw new TidemarkError(
      'UNSUPPORTED',
      'timelines are measured at storage nodes that can be looked into',
      {
        nextStep: 'Leave out --url: the benchmark then starts a cluster of its own.',
      },
    );
  }
  const admin = new AdminDriver(target);
  context.closeLater(() => admin.close());
  const sizes: SizedVolume[] = [];
  for (const factor of [1, 10, 100]) {
    sizes.push(await load(context, admin, factor));
  }
  return { context, own, admin, sizes, target: (volume) => ({ ...target, volume }) };
}

async function load(context: SuiteContext, admin: AdminDriver, factor: number): Promise<SizedVolume> {
  const directory = join(context.scratch, 'files');
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${factor}.sqlite`);
  const leaves = factor * (context.isQuick ? QUICK_LEAVES : FULL_LEAVES);
  const { rows, sizeBytes } = await writeDatabaseFile(file, TABLE, leaves);
  context.say(`importing ${Math.round(sizeBytes / MEGABYTE)} MB…`);
  const volume = `x${factor}`;
  const startedMs = performance.now();
  await admin.importFile(volume, file);
  const importSeconds = (performance.now() - startedMs) / 1_000;
  rmSync(file);
  return { factor, volume, rows, sizeBytes, importSeconds };
}

/** A new connection, and one row by its key. */
export async function firstAnswer(setting: Setting, volume: string): Promise<void> {
  const client = await connect(setting, volume);
  try {
    if ((await client.run(SELECT, [1])) !== 1) {
      throw new TidemarkError('CORRUPT', `volume ${volume} has lost a row`);
    }
  } finally {
    client.close();
  }
}

export async function connect(setting: Setting, volume: string): Promise<WsClient> {
  return new WsClient(await WsConnection.open(setting.target(volume)));
}

/** One after another, each a commit. */
export async function commitUpdates(client: WsClient, rows: number, count: number): Promise<void> {
  for (let done = 0; done < count; done++) await client.run(UPDATE, [payload(), anyId(rows)]);
}

/** In few commits. */
export async function updateRows(client: WsClient, rows: number, count: number): Promise<void> {
  for (let done = 0; done < count; done += UPDATES_PER_TRANSACTION) {
    const updates = Math.min(UPDATES_PER_TRANSACTION, count - done);
    await client.batch(
      Array.from({ length: updates }, () => ({ sql: UPDATE, args: [payload(), anyId(rows)] })),
      'write',
    );
  }
}

export async function dropVolume({ admin }: Setting, volume: string): Promise<void> {
  await admin.json('DELETE', `/-/volumes/${volume}?force=true`);
}

export async function cloneOf({ admin }: Setting, source: string, name: string): Promise<void> {
  await admin.json('POST', '/-/clones', { source, name });
}

/** Of a volume that is open. */
export async function statusOf({ admin }: Setting, volume: string): Promise<OpenVolumeStatus> {
  const { volumes } = await admin.json<{
    readonly volumes: readonly { readonly name: string; readonly status: OpenVolumeStatus | null }[];
  }>('GET', '/-/status');
  const status = volumes.find(({ name }) => name === volume)?.status;
  if (status == null) throw new TidemarkError('INTERNAL', `volume ${volume} is not open`);
  return status;
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

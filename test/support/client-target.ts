/**
 * What outside clients are tried against: a real cluster, or, with TIDEMARK_CLIENTS_OVER=memory, the protocol server over an in-memory
 * engine, which shows in a second whether the protocol or the cluster is to blame. And the in-process client over the same.
 */
import { fileURLToPath } from 'node:url';
import { type ClientNode, InProcessClient } from '../../client/client.ts';
import type { Client } from '../../client/types.ts';
import { DEFAULT_SESSION_LIMITS } from '../../compute-node/session/limits.ts';
import { nodeScheduler } from '../../compute-node/session/scheduler.ts';
import { Sessions } from '../../compute-node/session/sessions.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { startTestServer } from './hrana-server.ts';
import { MemoryEngine } from './memory-engine.ts';
import { RealCluster, STORAGE_NODES } from './real-cluster.ts';

export interface ClientTarget {
  readonly httpUrl: string;
  readonly wsUrl: string;
  /** A compute node in this process beside the one behind the URLs, with an empty volume `main` of its own. Closed by whoever asked. */
  inProcess(): Promise<Client>;
  close(): Promise<void>;
}

/** Volumes `main` and `dev` exist and are empty. */
export async function startClientTarget(): Promise<ClientTarget> {
  if (process.env.TIDEMARK_CLIENTS_OVER === 'memory') {
    const server = await startTestServer({ volumes: ['main', 'dev'] });
    return { httpUrl: server.url, wsUrl: server.wsUrl, inProcess: clientOverMemory, close: server.close };
  }
  const cluster = await RealCluster.start();
  const created = await fetch(`${cluster.url()}/-/volumes`, {
    method: 'POST',
    body: JSON.stringify({ name: 'dev' }),
  });
  if (created.status !== 201)
    throw new Error(`creating the volume dev: ${created.status} ${await created.text()}`);
  return {
    httpUrl: cluster.url(),
    wsUrl: cluster.url().replace('http', 'ws'),
    inProcess: async () => {
      const { open } = await builtPackage();
      // The URLs' compute node holds `main` and `dev`.
      return open({
        nodes: STORAGE_NODES.map((node) => cluster.listEntry(node)).join(','),
        volume: 'mine',
        create: true,
      });
    },
    close: () => cluster.destroy(),
  };
}

/** As users import it: `npm run build` puts it there (npm test does so first). */
export function builtPackage(): Promise<typeof import('../../client/open.ts')> {
  return import(fileURLToPath(new URL('../../dist/client/open.js', import.meta.url)));
}

/** Over engines in memory; volumes appear when they are made. */
export async function clientOverMemory(): Promise<Client> {
  const engines = new Map([['mine', new MemoryEngine()]]);
  const node = (): ClientNode => ({
    sessions: new Sessions(DEFAULT_SESSION_LIMITS, nodeScheduler),
    resolveVolume: async (name) => {
      const engine = engines.get(name);
      if (engine === undefined) throw new TidemarkError('VOLUME_NOT_FOUND', `there is no volume ${name}`);
      return { name, connect: () => engine.connect({ readonly: false }) };
    },
    createVolume: async (name) => {
      engines.set(name, new MemoryEngine());
    },
    close: async () => {},
  });
  const settings = { volume: 'mine', intMode: 'number', concurrency: 256, level: 'strong' } as const;
  const client = new InProcessClient({
    settings,
    node: Promise.resolve(node()),
    reopen: async () => node(),
  });
  return client.opened();
}

/**
 * What outside clients are tried against: a real cluster, or, with TIDEMARK_CLIENTS_OVER=memory, the protocol server over an in-memory
 * engine, which shows in a second whether the protocol or the cluster is to blame.
 */
import { startTestServer } from './hrana-server.ts';
import { RealCluster } from './real-cluster.ts';

export interface ClientTarget {
  readonly httpUrl: string;
  readonly wsUrl: string;
  close(): Promise<void>;
}

/** Volumes `main` and `dev` exist and are empty. */
export async function startClientTarget(): Promise<ClientTarget> {
  if (process.env.TIDEMARK_CLIENTS_OVER === 'memory') {
    const server = await startTestServer({ volumes: ['main', 'dev'] });
    return { httpUrl: server.url, wsUrl: server.wsUrl, close: server.close };
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
    close: () => cluster.destroy(),
  };
}

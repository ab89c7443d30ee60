/** etcd with six members on this machine: a put is acknowledged when four of them, its quorum, have it on disk. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Contender } from '../contest.ts';
import { EtcdConnection } from '../drivers/etcd.ts';
import type { SuiteContext } from '../suite.ts';
import { anyId, payload } from '../workloads/rows.ts';
import { findProgram, freePort, install } from './system.ts';

const MEMBERS = 6;
const KEYS = 10_000;
const READY_TIMEOUT_MS = 60_000;

/** Puts of the updates' payload. Null: it is not installed, and may not be. */
export async function etcdContender(context: SuiteContext): Promise<Contender | null> {
  if (context.peers === 'install' && findProgram('etcd') === null)
    await install(['etcd-server'], context.say);
  const program = findProgram('etcd');
  if (program === null) {
    context.say('etcd is not installed (--peers install does it): left out');
    return null;
  }
  context.say(`starting etcd with ${MEMBERS} members…`);
  const port = await startMembers(program, context);
  const connection = new EtcdConnection(port);
  context.closeLater(() => connection.close());
  return {
    name: 'etcd',
    crew: async (clients) => ({
      operations: Array.from(
        { length: clients },
        () => () => connection.put(`key-${anyId(KEYS)}`, payload()),
      ),
      close: () => {},
    }),
  };
}

/** The leader's port: the others would only pass requests on to it. */
async function startMembers(program: string, context: SuiteContext): Promise<number> {
  const members: {
    readonly name: string;
    readonly peer: string;
    readonly client: string;
    readonly port: number;
  }[] = [];
  for (let i = 0; i < MEMBERS; i++) {
    const [port, peerPort] = [await freePort(), await freePort()];
    members.push({
      name: `m${i}`,
      peer: `http://127.0.0.1:${peerPort}`,
      client: `http://127.0.0.1:${port}`,
      port,
    });
  }
  const cluster = members.map(({ name, peer }) => `${name}=${peer}`).join(',');
  for (const { name, peer, client } of members) {
    const child = spawn(
      program,
      [
        `--name=${name}`,
        `--data-dir=${join(context.scratch, `etcd-${name}`)}`,
        `--listen-peer-urls=${peer}`,
        `--initial-advertise-peer-urls=${peer}`,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--initial-cluster=${cluster}`,
        '--log-level=error',
      ],
      { stdio: 'ignore' },
    );
    context.closeLater(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    });
  }
  return leaderPort(members);
}

async function leaderPort(
  members: readonly { readonly client: string; readonly port: number }[],
): Promise<number> {
  const deadlineMs = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    for (const { client, port } of members) {
      if (await isLeader(client)) return port;
    }
    if (performance.now() > deadlineMs) throw new Error('etcd elected no leader');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function isLeader(client: string): Promise<boolean> {
  try {
    const response = await fetch(`${client}/v3/maintenance/status`, { method: 'POST', body: '{}' });
    const { leader, header } = (await response.json()) as {
      leader?: string;
      header?: { member_id?: string };
    };
    return response.ok && leader !== undefined && leader !== '0' && leader === header?.member_id;
  } catch {
    // Not up yet.
    return false;
  }
}

/**
 * What one commit costs beside time: bytes and messages from the compute node to the six storage nodes, bytes on their disks. Counted by the kernel
 * (`/proc`) over a steady load; the replies to clients are subtracted.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { measure } from '../contest.ts';
import type { WsTarget } from '../drivers/ws.ts';
import { processIo } from '../process-io.ts';
import { figure } from '../report.ts';
import type { OwnCluster, Suite } from '../suite.ts';
import { WsConnection } from '../drivers/ws.ts';
import { WsClient } from '../ways/ws.ts';
import { updates } from '../workloads/update.ts';

const COPIES = 6;
const TABLE = 'bench_wire';
const ROWS = 10_000;

interface Spent {
  readonly clients: number;
  readonly commits: number;
  readonly networkBytes: number;
  readonly messages: number;
  readonly diskBytes: number;
}

export const wire: Suite = {
  name: 'wire',
  about: 'bytes and messages on the network, bytes on disk, for each one-row update',
  run: async (context) => {
    const { own, target } = await context.cluster();
    if (own === null || target === null) {
      throw new TidemarkError('UNSUPPORTED', 'bytes are counted on processes of this machine', {
        nextStep: 'Leave out --url: the benchmark then starts a cluster of its own.',
      });
    }
    const workload = updates(TABLE, ROWS);
    const setup = new WsClient(await WsConnection.open(target));
    await workload.prepare(setup);
    setup.close();
    const spent: Spent[] = [];
    for (const clients of context.load.clients ?? [1, 8, 64]) {
      context.say(`${clients} clients…`);
      spent.push(await countPhase(own, target, clients, context.load.warmUpMs, context.load.durationMs * 2));
    }
    const per = ({ commits }: Spent, amount: number): number => amount / commits;
    const at64 = spent.find(({ clients }) => clients === 64);
    return {
      tables: [
        {
          title: 'For each one-row update of 100 bytes',
          head: ['clients', 'bytes to six nodes', 'messages to six nodes', 'bytes on six disks'],
          rows: spent.map((one) => [
            String(one.clients),
            figure(per(one, one.networkBytes)),
            per(one, one.messages).toFixed(2),
            figure(per(one, one.diskBytes)),
          ]),
          note: 'Heartbeats and framing included; disks: journal, store and what is made of the log in the background.',
        },
      ],
      targets: [
        {
          name: 'bytes to all six nodes for each update at 64 clients',
          wanted: 1_000,
          is: 'at-most',
          unit: 'B',
          found: at64 === undefined ? null : per(at64, at64.networkBytes),
        },
        {
          name: 'messages to all six nodes for each update at 64 clients',
          wanted: 0.5,
          is: 'at-most',
          unit: '',
          found: at64 === undefined ? null : per(at64, at64.messages),
        },
      ],
      results: spent,
    };
  },
};

async function countPhase(
  own: OwnCluster,
  target: WsTarget,
  clients: number,
  warmUpMs: number,
  durationMs: number,
): Promise<Spent> {
  const workload = updates(TABLE, ROWS);
  const connections = await Promise.all(
    Array.from({ length: clients }, async () => new WsClient(await WsConnection.open(target))),
  );
  const replied = (): number =>
    connections.reduce((sum, { connection }) => sum + connection.bytesReceived, 0);
  const operations = connections.map((client, index) => workload.operation(client, index));
  const crew = { operations, close: () => {} };
  await measure({ name: '', crew: async () => crew }, clients, { warmUpMs: 0, durationMs: warmUpMs });
  const before = { ...(await counters(own, target)), replied: replied() };
  const { allOperations: commits } = await measure({ name: '', crew: async () => crew }, clients, {
    warmUpMs: 0,
    durationMs,
  });
  const after = { ...(await counters(own, target)), replied: replied() };
  for (const client of connections) client.close();
  return {
    clients,
    commits,
    networkBytes: after.writtenBytes - before.writtenBytes - (after.replied - before.replied),
    messages: after.messages - before.messages,
    diskBytes: after.diskBytes - before.diskBytes,
  };
}

async function counters(own: OwnCluster, target: WsTarget) {
  const compute = processIo(own.pid('compute'));
  const storage = own.nodes.slice(0, COPIES).map(({ nodeId }) => processIo(own.pid(nodeId)));
  if (compute === null || storage.includes(null)) {
    throw new TidemarkError('UNSUPPORTED', 'this system does not count what a process writes (/proc/PID/io)');
  }
  const headers: Record<string, string> =
    target.authToken === null ? {} : { authorization: `Bearer ${target.authToken}` };
  const metrics = await (await fetch(`${target.httpOrigin}/metrics`, { headers })).text();
  return {
    writtenBytes: compute.writtenBytes,
    diskBytes: storage.reduce((sum, one) => sum + one!.diskBytes, 0),
    messages: Number(/^tidemark_append_messages_total (\d+)$/m.exec(metrics)?.[1]),
  };
}

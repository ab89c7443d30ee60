/** A storage node behind its real gRPC server, over disks in memory: mutated messages over real connections, unary calls and streams. */
import { Client, credentials } from '@grpc/grpc-js';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { StorageNodeServer } from '../../../src/adapters/grpc/server.ts';
import { isStreamMethod, methodDefinition } from '../../../src/adapters/grpc/wire.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import type { Logger } from '../../../src/adapters/logger.ts';
import type { KvStore } from '../../../src/env/env.ts';
import { assembleNode, type FlushableStore } from '../../../storage-node/driver/assemble.ts';
import { emptyImage, MemoryJournalDisk } from '../../support/memory-journal-disk.ts';
import { MemoryKv } from '../../support/memory-kv.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { TEST_NODES } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';
import { type WireRequest, wireRequest } from '../requests.ts';
import type { Target } from '../target.ts';

const RING_BYTES = 4 * 1024 * 1024;
const CALL_TIMEOUT_MS = 5_000;
/** After so many the client makes another connection, and the volume another history. */
const INPUTS_PER_CONNECTION = 1_000;

const quiet: Logger = { log: () => {}, with: () => quiet };
const asIs = (bytes: Buffer): Buffer => bytes;

export const grpc: Target = {
  name: 'grpc',
  weight: 2,
  concurrency: 32,
  open: async () => {
    const node = await startNode();
    let volume = new TestVolume('vol00000', { pgPages: 6 });
    let client = connect(node.server.address);
    let inputs = 0;
    return {
      input: async (random) => {
        inputs += 1;
        if (inputs % INPUTS_PER_CONNECTION === 0) {
          const old = client;
          setTimeout(() => old.close(), CALL_TIMEOUT_MS).unref();
          client = connect(node.server.address);
          volume = new TestVolume(`vol${random.id(5)}`, { pgPages: 6 });
        }
        await exchange(client, wireRequest(random, volume), random);
      },
      check: async () => {
        if (node.failure() !== null) throw node.failure();
        await answersStatus(client);
      },
      close: async () => {
        client.close();
        await node.close();
      },
    };
  },
};

async function startNode() {
  let failure: Error | null = null;
  const parts = await assembleNode({
    node: {
      nodeId: 'az1-a' as never,
      az: 'az1',
      peers: TEST_NODES.slice(0, 1),
      leaseTermMs: 500,
      crc32: nodeCrc32,
      buildVersion: 'fuzz',
      limits: { roundRecords: 50, roundAgeMs: 100 },
    },
    store: flushable(new MemoryKv()),
    journalDisk: new MemoryJournalDisk(emptyImage(RING_BYTES), true),
    gauges: { diskBytes: 0, memoryBytes: 0, diskRoom: 'enough', noteWritten: () => undefined },
    peer: () => null,
    crc32: nodeCrc32,
    clock: nodeClock,
    timers: nodeTimers,
    logger: quiet,
    onFatal: (error) => {
      failure ??= error;
    },
  });
  const server = await StorageNodeServer.listen('127.0.0.1:0', parts.driver);
  parts.driver.serve(server);
  parts.driver.start(parts.recovery, 'fuzzfuzzfuzz');
  return {
    server,
    failure: (): Error | null => failure,
    close: async () => {
      parts.driver.stop();
      await server.close();
      parts.journal.abandon();
    },
  };
}

function flushable(store: KvStore): FlushableStore {
  return Object.assign(store, { flush: async () => {}, reclaim: async () => {} });
}

function connect(address: string): Client {
  return new Client(address, credentials.createInsecure());
}

/** Ends with an answer, a refusal, or an error of the exchange; only silence is wrong. */
function exchange(client: Client, { method, bytes }: WireRequest, random: SeededRandom): Promise<void> {
  const { path } = methodDefinition(method);
  const message = Buffer.from(bytes);
  const deadline = Date.now() + CALL_TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    const silent = (code: number | undefined): boolean => code === 4;
    if (!isStreamMethod(method)) {
      client.makeUnaryRequest(path, asIs, asIs, message, { deadline }, (error) => {
        if (error !== null && silent(error.code)) reject(new Error(`${method}: no answer`));
        else resolve();
      });
      return;
    }
    const stream = client.makeBidiStreamRequest(path, asIs, asIs, { deadline });
    // An append's answer may be held for a lease; a client that goes away is a case of its own.
    const leave = random.chance(0.2);
    stream.on('data', () => stream.end());
    stream.on('error', () => resolve());
    stream.on('end', () => resolve());
    stream.write(message);
    if (leave) stream.cancel();
    else setTimeout(() => stream.end(), 5).unref();
  });
}

function answersStatus(client: Client): Promise<void> {
  const { path, requestSerialize } = methodDefinition('status');
  const deadline = Date.now() + CALL_TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      asIs,
      asIs,
      Buffer.from(requestSerialize({ clusterId: '' })),
      { deadline },
      (error) => (error === null ? resolve() : reject(error)),
    );
  });
}

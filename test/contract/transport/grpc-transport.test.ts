import { Client, credentials } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { GrpcStorageNodeClient } from '../../../src/adapters/grpc/client.ts';
import { type OutgoingReply, StorageNodeServer } from '../../../src/adapters/grpc/server.ts';
import { isTidemarkError } from '../../../src/base/errors.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import {
  type Answer,
  appendReply,
  appendRequest,
  EPOCH,
  PG,
  StreamLog,
  type TransportUnderTest,
  transportSuite,
  VOLUME,
} from './transport-suite.ts';

interface GrpcUnderTest extends TransportUnderTest {
  readonly address: string;
  server(): StorageNodeServer;
}

async function startGrpc(answer: Answer): Promise<GrpcUnderTest> {
  let abandoned = 0;
  const listen = async (address: string): Promise<StorageNodeServer> => {
    const server = await StorageNodeServer.listen(address, {
      onRequest: (id, request) => {
        const body = answer(request.method, request.body);
        if (body !== undefined) server.reply(id, { method: request.method, body } as OutgoingReply);
      },
      onAbandoned: () => abandoned++,
    });
    return server;
  };
  let server = await listen('127.0.0.1:0');
  const { address } = server;
  const client = new GrpcStorageNodeClient({ nodeId: 'az1-a' as NodeId, address });
  return {
    client,
    address,
    server: () => server,
    abandoned: () => abandoned,
    stopNode: () => server.close(),
    restartNode: async () => {
      server = await listen(address);
    },
    close: async () => {
      client.close();
      await server.close();
    },
  };
}

transportSuite('gRPC', startGrpc);

/** Sends raw bytes as a message of `method`; gives the status the server ends the call with. */
function sendRaw(address: string, method: string, isStream: boolean, bytes: Uint8Array): Promise<number> {
  const client = new Client(address, credentials.createInsecure());
  const raw = (value: Buffer): Buffer => value;
  const path = `/tidemark.v1.StorageNode/${method}`;
  return new Promise<number>((resolve) => {
    if (isStream) {
      const call = client.makeBidiStreamRequest<Buffer, Buffer>(path, raw, raw);
      call.on('error', (error: Error & { code?: number }) => resolve(error.code ?? -1));
      call.on('data', () => resolve(0));
      call.write(Buffer.from(bytes));
    } else {
      client.makeUnaryRequest<Buffer, Buffer>(path, raw, raw, Buffer.from(bytes), {}, (error) =>
        resolve(error?.code ?? 0),
      );
    }
  }).finally(() => client.close());
}

describe('gRPC adapter', () => {
  const INVALID_ARGUMENT = 3;
  const RESOURCE_EXHAUSTED = 8;

  it('refuses what is not protobuf, and goes on serving others', async () => {
    const node = await startGrpc((_, request) => appendReply((request as { vdl?: number }).vdl ?? 0));
    try {
      const log = new StreamLog<'append'>();
      const stream = node.client.openStream('append', log);
      await log.until(log.has('up'));
      const garbage = Uint8Array.from({ length: 64 }, (_, index) => (index * 37 + 255) & 0xff);
      expect(await sendRaw(node.address, 'Append', true, garbage)).toBe(INVALID_ARGUMENT);
      expect(await sendRaw(node.address, 'Fence', false, garbage)).toBe(INVALID_ARGUMENT);
      // Well-formed protobuf, but the epoch that every append must carry is missing.
      expect(await sendRaw(node.address, 'Append', true, new Uint8Array([0x12, 1, 0x61]))).toBe(
        INVALID_ARGUMENT,
      );
      expect(await sendRaw(node.address, 'Fence', false, new Uint8Array(0))).toBe(INVALID_ARGUMENT);
      stream.send(appendRequest(5));
      await log.until(() => log.replies.length === 1);
      expect(log.events).toEqual(['up']);
    } finally {
      await node.close();
    }
  });

  it('refuses numbers JavaScript cannot hold, page 0 and wild volume ids', async () => {
    const node = await startGrpc(() => appendReply(1));
    const call = (over: object): Promise<unknown> =>
      node.client.call(
        'fence',
        { clusterId: '', volume: VOLUME, pg: PG, epoch: EPOCH, configVersion: 1, ...over },
        { timeoutMs: 5_000 },
      );
    try {
      const isBadRequest = (error: unknown): boolean => isTidemarkError(error, 'BAD_REQUEST');
      await expect(call({ epoch: { number: 2 ** 60, writerId: 'a' } })).rejects.toSatisfy(isBadRequest);
      await expect(call({ volume: '../../etc' })).rejects.toSatisfy(isBadRequest);
      await expect(call({ volume: '' })).rejects.toSatisfy(isBadRequest);
      await expect(call({ clusterId: 'x'.repeat(5_000) })).rejects.toSatisfy(isBadRequest);
    } finally {
      await node.close();
    }
  });

  it('refuses a message past the limit on either side without harm to the connection', async () => {
    const node = await startGrpc((_, request) => appendReply((request as { vdl?: number }).vdl ?? 0));
    try {
      const tooLarge = node.client.call(
        'registerAccept',
        { clusterId: '', key: 'k', ballot: EPOCH, version: 1, value: new Uint8Array(8 * 1024 * 1024) },
        { timeoutMs: 5_000 },
      );
      await expect(tooLarge).rejects.toSatisfy((error) => isTidemarkError(error, 'TOO_LARGE'));
      const bytes = new Uint8Array(6 * 1024 * 1024);
      expect(await sendRaw(node.address, 'Append', true, bytes)).toBe(RESOURCE_EXHAUSTED);
      const log = new StreamLog<'append'>();
      const stream = node.client.openStream('append', log);
      await log.until(log.has('up'));
      stream.send(appendRequest(5));
      await log.until(() => log.replies.length === 1);
    } finally {
      await node.close();
    }
  });

  it('does not hand on a malformed reply', async () => {
    const node = await startGrpc((method) =>
      method === 'append'
        ? { ...appendReply(1), epoch: null as never }
        : { ...appendReply(1), scl: (2 ** 60) as never },
    );
    try {
      await expect(
        node.client.call(
          'install',
          {
            clusterId: '',
            volume: VOLUME,
            epoch: EPOCH,
            manifest: new Uint8Array(),
            retention: new Uint8Array(),
            pg: PG,
          },
          { timeoutMs: 5_000 },
        ),
      ).rejects.toSatisfy((error) => isTidemarkError(error, 'CORRUPT'));
      const log = new StreamLog<'append'>();
      const stream = node.client.openStream('append', log);
      await log.until(log.has('up'));
      stream.send(appendRequest(1));
      await log.until(log.has('down'));
      expect(log.replies).toEqual([]);
      stream.close();
    } finally {
      await node.close();
    }
  });

  it('holds appends back while paused, and nothing else', async () => {
    const node = await startGrpc((method, request) =>
      method === 'append' ? appendReply((request as { vdl: number }).vdl) : { keys: ['k'], refusal: null },
    );
    try {
      const log = new StreamLog<'append'>();
      const stream = node.client.openStream('append', log);
      await log.until(log.has('up'));
      node.server().pauseAppends();
      for (let lsn = 1; lsn <= 200; lsn++) stream.send(appendRequest(lsn));
      const list = await node.client.call(
        'registerList',
        { clusterId: '', prefix: '' },
        { timeoutMs: 5_000 },
      );
      expect(list.keys).toEqual(['k']);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(log.replies.length).toBeLessThan(200);
      node.server().resumeAppends();
      await log.until(() => log.replies.length === 200);
    } finally {
      await node.close();
    }
  });

  it('says that a port is taken', async () => {
    const node = await startGrpc(() => undefined);
    try {
      const second = StorageNodeServer.listen(node.address, { onRequest: () => {}, onAbandoned: () => {} });
      await expect(second).rejects.toSatisfy(
        (error) => isTidemarkError(error, 'IN_USE') && error.nextStep !== undefined,
      );
    } finally {
      await node.close();
    }
  });
});

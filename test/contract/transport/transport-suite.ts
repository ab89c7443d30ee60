/**
 * What every transport (src/env/transport.ts) must do, as tests. An adapter's own test file says how to make one; see
 * grpc-transport.test.ts.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { isTidemarkError } from '../../../src/base/errors.ts';
import type { StorageNodeClient, StreamHandlers } from '../../../src/env/transport.ts';
import type { Lsn, NodeId, PageNumber, PgIndex, RunId, VolumeId } from '../../../src/log/lsn.ts';
import type {
  AppendReply,
  AppendRequest,
  HeartbeatRequest,
  ReadPagesReply,
  StorageNodeMethod,
  StorageNodeMethods,
  StreamMethod,
} from '../../../src/messages/messages.ts';

/** Answers a request; undefined: never answers it. */
export type Answer = <M extends StorageNodeMethod>(
  method: M,
  request: StorageNodeMethods[M]['request'],
) => StorageNodeMethods[StorageNodeMethod]['reply'] | undefined;

export interface TransportUnderTest {
  readonly client: StorageNodeClient;
  /** Number of requests whose client or stream went away before they were answered. */
  abandoned(): number;
  stopNode(): Promise<void>;
  /** After stopNode: the same node, at the same address. */
  restartNode(): Promise<void>;
  close(): Promise<void>;
}

export const VOLUME = '0123456789abcdef' as VolumeId;
export const PG = 0 as PgIndex;
export const EPOCH = { number: 3, writerId: 'w'.repeat(16) };

export function appendRequest(lsn: number, boxcar = new Uint8Array([1, 2, 3])): AppendRequest {
  return {
    clusterId: 'c',
    volume: VOLUME,
    pg: PG,
    epoch: EPOCH,
    configVersion: 1,
    vdl: lsn as Lsn,
    tail: (lsn - 1) as Lsn,
    boxcar,
    recovery: false,
  };
}

export function appendReply(scl: number): AppendReply {
  return {
    volume: VOLUME,
    pg: PG,
    epoch: EPOCH,
    scl: scl as Lsn,
    incarnation: 'i',
    refusal: null,
    hydrated: true,
    configVersion: 3,
  };
}

/** Collects what a stream reports, and lets a test wait for it. */
export class StreamLog<M extends StreamMethod> implements StreamHandlers<M> {
  readonly events: string[] = [];
  readonly replies: StorageNodeMethods[M]['reply'][] = [];
  readonly onUp = (): void => this.#note('up');
  readonly onReply = (reply: StorageNodeMethods[M]['reply']): void => {
    this.replies.push(reply);
    this.#wake();
  };
  readonly onDown = (reason: Error): void => {
    expect(reason).toBeInstanceOf(Error);
    this.#note('down');
  };
  readonly onDrain = (): void => this.#note('drain');
  #waiters: (() => void)[] = [];

  async until(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw new Error(`waited too long; events: ${this.events.slice(-20).join(' ')}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  has(event: string, times = 1): () => boolean {
    return () => this.events.filter((seen) => seen === event).length >= times;
  }

  #note(event: string): void {
    this.events.push(event);
    this.#wake();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

export function transportSuite(name: string, start: (answer: Answer) => Promise<TransportUnderTest>): void {
  describe(`transport: ${name}`, () => {
    let transport: TransportUnderTest | null = null;
    const open = async (answer: Answer): Promise<TransportUnderTest> => {
      transport = await start(answer);
      return transport;
    };
    afterEach(async () => {
      await transport?.close();
      transport = null;
    });

    it('carries every field of a unary exchange, absent messages as null', async () => {
      const reply = {
        promised: false,
        promisedBallot: { number: 2 ** 40 + 1, writerId: 'x' },
        acceptedBallot: null,
        acceptedVersion: 0,
        acceptedValue: new Uint8Array([0, 255]),
        refusal: { code: 'STALE_EPOCH', message: 'newer', promised: EPOCH },
      } as const;
      const seen: unknown[] = [];
      const { client } = await open((method, request) => {
        seen.push(method, request);
        return reply;
      });
      const request = { clusterId: 'c', key: 'name/main', ballot: EPOCH };
      const got = await client.call('registerPrepare', request, { timeoutMs: 5_000 });
      expect(seen).toEqual(['registerPrepare', request]);
      expect({ ...got, acceptedValue: new Uint8Array(got.acceptedValue) }).toEqual(reply);
    });

    it('rejects TIMEOUT when no answer comes in time, and the node hears of it', async () => {
      const node = await open(() => undefined);
      const call = node.client.call('status', { clusterId: '' }, { timeoutMs: 100 });
      await expect(call).rejects.toSatisfy((error) => isTidemarkError(error, 'TIMEOUT'));
      for (let waited = 0; node.abandoned() === 0 && waited < 100; waited++) await sleep(20);
      expect(node.abandoned()).toBe(1);
    });

    it('rejects UNAVAILABLE when the node is not there', async () => {
      const node = await open(() => undefined);
      await node.stopNode();
      const call = node.client.call('status', { clusterId: '' }, { timeoutMs: 5_000 });
      await expect(call).rejects.toSatisfy((error) => isTidemarkError(error, 'UNAVAILABLE'));
    });

    it('keeps the order of a stream, in both directions', async () => {
      const { client } = await open((_, request) => appendReply((request as AppendRequest).vdl));
      const log = new StreamLog<'append'>();
      const stream = client.openStream('append', log);
      expect(stream.isUp).toBe(false);
      expect(() => stream.send(appendRequest(1))).toThrow(/down/);
      await log.until(log.has('up'));
      expect(stream.isUp).toBe(true);
      for (let lsn = 1; lsn <= 500; lsn++) stream.send(appendRequest(lsn));
      await log.until(() => log.replies.length === 500);
      expect(log.replies.map((reply) => reply.scl)).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
      expect(log.replies[0]).toEqual(appendReply(1));
    });

    it('says when to hold back and when to go on', async () => {
      const { client } = await open((_, request) => appendReply((request as AppendRequest).vdl));
      const log = new StreamLog<'append'>();
      const stream = client.openStream('append', log);
      await log.until(log.has('up'));
      const body = new Uint8Array(256 * 1024);
      let sent = 0;
      while (stream.send(appendRequest(++sent, body))) expect(sent).toBeLessThan(1_000);
      await log.until(log.has('drain'));
      await log.until(() => log.replies.length === sent);
    });

    it('carries pages and heartbeats on streams of their own', async () => {
      const page = { page: 7 as PageNumber, lsn: 9 as Lsn, data: new Uint8Array(4096).fill(5) };
      const { client } = await open((method) => {
        if (method === 'heartbeat') return { sequence: 4, incarnation: 'i', grants: [] };
        return { requestId: 11, pages: [page], scl: 9 as Lsn, refusal: null } satisfies ReadPagesReply;
      });
      const pages = new StreamLog<'readPages'>();
      const beats = new StreamLog<'heartbeat'>();
      const pageStream = client.openStream('readPages', pages);
      const beatStream = client.openStream('heartbeat', beats);
      await Promise.all([pages.until(pages.has('up')), beats.until(beats.has('up'))]);
      pageStream.send({
        requestId: 11,
        clusterId: 'c',
        volume: VOLUME,
        pg: PG,
        run: 0 as RunId,
        lsn: 9 as Lsn,
        requiredScl: 9 as Lsn,
        pages: [7 as PageNumber],
      });
      const beat: HeartbeatRequest = {
        clusterId: 'c',
        sequence: 4,
        computeId: 'm',
        computeUrl: 'u',
        volumes: [],
      };
      beatStream.send(beat);
      await Promise.all([
        pages.until(() => pages.replies.length === 1),
        beats.until(() => beats.replies.length === 1),
      ]);
      expect(new Uint8Array(pages.replies[0]!.pages[0]!.data)).toEqual(page.data);
      expect(beats.replies[0]).toEqual({ sequence: 4, incarnation: 'i', grants: [] });
    });

    it('opens a stream again after the node was away', async () => {
      const node = await open((_, request) => appendReply((request as AppendRequest).vdl));
      const log = new StreamLog<'append'>();
      const stream = node.client.openStream('append', log);
      await log.until(log.has('up'));
      await node.stopNode();
      await log.until(log.has('down'));
      expect(stream.isUp).toBe(false);
      await node.restartNode();
      await log.until(log.has('up', 2));
      stream.send(appendRequest(42));
      await log.until(() => log.replies.length === 1);
      expect(log.events.filter((event) => event !== 'drain')).toEqual(['up', 'down', 'up']);
      expect(node.client.nodeId).toBe('az1-a' as NodeId);
    });

    it('lets the node know what it need not answer any more', async () => {
      const node = await open((method) =>
        method === 'append' ? undefined : { sequence: 1, incarnation: 'i', grants: [] },
      );
      const log = new StreamLog<'append'>();
      const stream = node.client.openStream('append', log);
      await log.until(log.has('up'));
      for (let lsn = 1; lsn <= 3; lsn++) stream.send(appendRequest(lsn));
      await sleep(50);
      expect(node.abandoned()).toBe(0);
      stream.close();
      for (let waited = 0; node.abandoned() < 3 && waited < 100; waited++) await sleep(20);
      expect(node.abandoned()).toBe(3);
    });

    it('calls no handler after close', async () => {
      const node = await open(() => undefined);
      const log = new StreamLog<'append'>();
      const stream = node.client.openStream('append', log);
      await log.until(log.has('up'));
      stream.send(appendRequest(1));
      stream.close();
      expect(stream.isUp).toBe(false);
      await node.stopNode();
      await sleep(100);
      expect(log.events).toEqual(['up']);
      expect(log.replies).toEqual([]);
    });
  });
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

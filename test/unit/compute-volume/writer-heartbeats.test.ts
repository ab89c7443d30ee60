import { afterEach, describe, expect, it } from 'vitest';
import { Heartbeats, type HeartbeatMember } from '../../../compute-node/driver/heartbeats.ts';
import { KIB, MIB } from '../../../src/base/limits.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import type { StorageNodeClient, StreamHandlers } from '../../../src/env/transport.ts';
import type { NodeId, VolumeId } from '../../../src/log/lsn.ts';
import type { HeartbeatGrant, HeartbeatRequest, HeartbeatVolume } from '../../../src/messages/messages.ts';
import { EPOCH, NODES, VOLUME } from '../../support/writer-net.ts';

class PretendedStream {
  readonly sent: HeartbeatRequest[] = [];
  handlers: StreamHandlers<'heartbeat'> | null = null;
  isUp = false;
  takesMore = true;

  up(): void {
    this.isUp = true;
    this.handlers?.onUp();
  }

  down(): void {
    this.isUp = false;
    this.handlers?.onDown(new Error('gone'));
  }

  answer(sequence: number, volume = VOLUME): void {
    const grant: HeartbeatGrant = { volume, epoch: EPOCH, granted: true, pgs: [], refusal: null };
    this.handlers?.onReply({ sequence, incarnation: '1', grants: [grant] });
  }
}

const heartbeatOf = (volume: VolumeId): HeartbeatVolume => ({
  volume,
  epoch: EPOCH,
  release: false,
  pgs: [],
  retention: new Uint8Array(),
  keep: false,
});

let nowMs = 0;
const streams = new Map<NodeId, PretendedStream>();
const opened: Heartbeats[] = [];

function start(): Heartbeats {
  nowMs = 1_000;
  streams.clear();
  const clients = new Map<NodeId, StorageNodeClient>();
  for (const nodeId of NODES) {
    const stream = new PretendedStream();
    streams.set(nodeId, stream);
    const openStream = (_: 'heartbeat', handlers: StreamHandlers<'heartbeat'>) => {
      stream.handlers = handlers;
      return {
        get isUp() {
          return stream.isUp;
        },
        send: (request: HeartbeatRequest) => {
          stream.sent.push(request);
          return stream.takesMore;
        },
        close: () => {},
      };
    };
    clients.set(nodeId, { nodeId, call: null as never, openStream: openStream as never, close: () => {} });
  }
  const heartbeats = Heartbeats.open({
    clients,
    clusterId: 'cluster',
    computeId: 'c1',
    computeUrl: 'http://c1',
    timers: nodeTimers,
    readClocks: () => ({ monotonicMs: nowMs, wallMs: nowMs, uptimeMs: nowMs }),
    intervalMs: 1_000_000,
  });
  opened.push(heartbeats);
  return heartbeats;
}

function memberOf(volume = VOLUME): HeartbeatMember & { readonly heard: [NodeId, number, number][] } {
  const heard: [NodeId, number, number][] = [];
  return {
    volume,
    heard,
    heartbeatFor: () => heartbeatOf(volume),
    onGrant: (node, { sequence, sentAt }) => heard.push([node, sequence, sentAt.monotonicMs]),
  };
}

afterEach(() => {
  for (const heartbeats of opened.splice(0)) heartbeats.close();
});

describe('heartbeats', () => {
  const [a, b] = NODES as [NodeId, NodeId];

  it('hand on an answer with the moment at which its question was sent', () => {
    const heartbeats = start();
    const member = memberOf();
    heartbeats.join(member);
    streams.get(a)!.up();
    const [request] = streams.get(a)!.sent;
    nowMs += 400;
    streams.get(a)!.answer(request!.sequence);
    expect(member.heard).toEqual([[a, request!.sequence, 1_000]]);
  });

  it('of many volumes with many pins go into more messages than one, each of a size that is taken', () => {
    const heartbeats = start();
    for (let index = 0; index < 8; index += 1) {
      const volume = `volume${index}` as VolumeId;
      const retention = new Uint8Array(800 * KIB);
      heartbeats.join({ ...memberOf(volume), heartbeatFor: () => ({ ...heartbeatOf(volume), retention }) });
    }
    streams.get(a)!.up();
    const { sent } = streams.get(a)!;
    expect(sent.flatMap(({ volumes }) => volumes).length).toBe(8);
    expect(new Set(sent.map(({ sequence }) => sequence)).size).toBe(sent.length);
    for (const { volumes } of sent)
      expect(volumes.reduce((sum, { retention }) => sum + retention.length, 0)).toBeLessThan(2 * MIB);
  });

  it('number their messages over all nodes, so that later ones have greater numbers', () => {
    const heartbeats = start();
    heartbeats.join(memberOf());
    for (const stream of streams.values()) stream.up();
    const before = heartbeats.lastSequence;
    nowMs += 10;
    heartbeats.requestRound();
    const last = [...streams.values()].map((stream) => stream.sent.at(-1)!.sequence);
    expect(new Set(last).size).toBe(6);
    expect(Math.min(...last)).toBeGreaterThan(before);
  });

  it('hear no answer twice, and none to a question of an earlier connection', () => {
    const heartbeats = start();
    const member = memberOf();
    heartbeats.join(member);
    streams.get(a)!.up();
    const { sequence } = streams.get(a)!.sent[0]!;
    streams.get(a)!.answer(sequence);
    streams.get(a)!.answer(sequence);
    expect(member.heard.length).toBe(1);
    nowMs += 10;
    heartbeats.requestRound();
    streams.get(a)!.down();
    streams.get(a)!.up();
    streams.get(a)!.answer(sequence + 1);
    expect(member.heard.length).toBe(1);
  });

  it('take no answer from one node to what was asked of another', () => {
    const heartbeats = start();
    const member = memberOf();
    heartbeats.join(member);
    for (const node of [a, b]) streams.get(node)!.up();
    streams.get(a)!.answer(streams.get(b)!.sent[0]!.sequence);
    expect(member.heard).toEqual([]);
  });

  it('carry all volumes in one message and hand each its own', () => {
    const heartbeats = start();
    const [one, other] = [memberOf(), memberOf('vol0000000000002' as VolumeId)];
    heartbeats.join(one);
    heartbeats.join(other);
    streams.get(a)!.up();
    expect(streams.get(a)!.sent.map(({ volumes }) => volumes.length)).toEqual([2]);
    streams.get(a)!.answer(streams.get(a)!.sent[0]!.sequence, other.volume);
    expect([one.heard.length, other.heard.length]).toEqual([0, 1]);
  });

  it('hold while the transport is full', () => {
    const heartbeats = start();
    heartbeats.join(memberOf());
    streams.get(a)!.takesMore = false;
    streams.get(a)!.up();
    nowMs += 10;
    heartbeats.requestRound();
    expect(streams.get(a)!.sent.length).toBe(1);
    streams.get(a)!.handlers!.onDrain();
    nowMs += 10;
    heartbeats.requestRound();
    expect(streams.get(a)!.sent.length).toBe(2);
  });
});

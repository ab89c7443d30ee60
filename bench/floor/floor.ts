/**
 * The floor: the least that four durable copies of six can cost from Node on this machine. Each operation goes to six bare processes (node.ts) over TCP
 * and is done when four have synced it; operations of one turn of the event loop share a write. No log, no pages, no SQL: a commit cannot be faster.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { startChild } from '../children/child.ts';
import type { Contender } from '../contest.ts';
import type { SuiteContext } from '../suite.ts';

const NODES = 6;
const QUORUM = 4;
/** What our own one-row update sends to each storage node, about. */
const PAYLOAD_BYTES = 256;
const HEAD_BYTES = 8;

export async function floorContender(context: SuiteContext): Promise<Contender> {
  const sockets: Socket[] = [];
  for (let i = 0; i < NODES; i++) {
    const directory = join(context.scratch, `floor-${i}`);
    mkdirSync(directory, { recursive: true });
    const child = await startChild<{ port: number }>('floor/node', [directory]);
    context.closeLater(() => child.stop());
    const socket = connect(child.ready.port, '127.0.0.1');
    socket.setNoDelay(true);
    context.closeLater(() => void socket.destroy());
    sockets.push(socket);
  }
  const floor = new Floor(sockets);
  return {
    name: 'floor',
    crew: async (clients) => ({
      operations: Array.from({ length: clients }, () => () => floor.append()),
      close: () => {},
    }),
  };
}

class Floor {
  private readonly sockets: readonly Socket[];
  private readonly payload = randomBytes(PAYLOAD_BYTES);
  /** By node: the highest number it has synced. */
  private readonly synced: number[];
  /** Numbers are given in order, so those waiting are in order too. */
  private readonly waiting: { readonly number: number; readonly resolve: () => void }[] = [];
  private frames: Buffer[] = [];
  private lastNumber = 0;

  constructor(sockets: readonly Socket[]) {
    this.sockets = sockets;
    this.synced = sockets.map(() => 0);
    for (const [node, socket] of sockets.entries()) this.listen(node, socket);
  }

  append(): Promise<void> {
    const number = ++this.lastNumber;
    const frame = Buffer.allocUnsafe(HEAD_BYTES + PAYLOAD_BYTES);
    frame.writeUInt32LE(PAYLOAD_BYTES, 0);
    frame.writeUInt32LE(number, 4);
    this.payload.copy(frame, HEAD_BYTES);
    this.frames.push(frame);
    if (this.frames.length === 1) setImmediate(() => this.flush());
    return new Promise((resolve) => {
      this.waiting.push({ number, resolve });
    });
  }

  private flush(): void {
    const bytes = Buffer.concat(this.frames);
    this.frames = [];
    for (const socket of this.sockets) socket.write(bytes);
  }

  private listen(node: number, socket: Socket): void {
    let rest: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const whole = rest.length - (rest.length % 4);
      if (whole === 0) return;
      this.synced[node] = rest.readUInt32LE(whole - 4);
      rest = rest.subarray(whole);
      this.advance();
    });
  }

  private advance(): void {
    const reached = this.synced.toSorted((a, b) => b - a)[QUORUM - 1]!;
    let done = 0;
    while (done < this.waiting.length && this.waiting[done]!.number <= reached)
      this.waiting[done++]!.resolve();
    this.waiting.splice(0, done);
  }
}

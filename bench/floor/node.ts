/**
 * One of the floor's six processes: what it takes over TCP it appends to a file, syncs, and acknowledges by number; what comes while a sync is under
 * way is synced together next. Nothing else: no checks, no order, no store. Run as a child: `node floor/node.js DIRECTORY`.
 */
import { open } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';

/** Length of what follows, sequence number; then the payload. */
const HEAD_BYTES = 8;

const directory = process.argv[2];
if (directory === undefined) throw new Error('a directory is missing');
const file = await open(join(directory, 'log'), 'a');

const server = createServer((socket) => {
  socket.setNoDelay(true);
  serve(socket);
});
server.listen(0, '127.0.0.1', () => {
  process.send?.({ port: (server.address() as { port: number }).port });
});
// It ends when whoever started it does.
process.on('disconnect', () => process.exit());

function serve(socket: Socket): void {
  let rest: Buffer = Buffer.alloc(0);
  let waiting: Buffer[] = [];
  let highest = 0;
  let isSyncing = false;
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let end = 0;
    while (rest.length - end >= HEAD_BYTES) {
      const next = end + HEAD_BYTES + rest.readUInt32LE(end);
      if (rest.length < next) break;
      highest = rest.readUInt32LE(end + 4);
      end = next;
    }
    if (end === 0) return;
    waiting.push(rest.subarray(0, end));
    rest = rest.subarray(end);
    if (!isSyncing) void sync();
  });

  async function sync(): Promise<void> {
    isSyncing = true;
    while (waiting.length > 0) {
      const [batch, upTo] = [waiting, highest];
      waiting = [];
      await file.writev(batch);
      await file.datasync();
      const ack = Buffer.allocUnsafe(4);
      ack.writeUInt32LE(upTo);
      socket.write(ack);
    }
    isSyncing = false;
  }
}

/**
 * Stands between two processes and holds back what they say, each way, for the same time: a network between zones, on one machine. Run as a child:
 * `delay-proxy.js PORT…` listens on one port for each PORT of this machine, and tells which; it is told the delay.
 *
 * Delays are shorter than what timers can do, so it looks at the clock over and over while anything is held back; it takes up to a core.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

let delayMs = 0;
process.on('message', (told: { readonly delayMs: number }) => {
  ({ delayMs } = told);
});

interface Held {
  readonly dueMs: number;
  readonly deliver: () => void;
}

const held: Held[] = [];
let next = 0;

/** All are held for the same time: what came first is due first. */
function hold(deliver: () => void): void {
  held.push({ dueMs: performance.now() + delayMs, deliver });
  if (held.length - next === 1) setImmediate(look);
}

function look(): void {
  const nowMs = performance.now();
  while (next < held.length && held[next]!.dueMs <= nowMs) held[next++]!.deliver();
  if (next === held.length) {
    held.length = 0;
    next = 0;
    return;
  }
  if (next > 1_024) {
    held.splice(0, next);
    next = 0;
  }
  setImmediate(look);
}

function join(from: Socket, to: Socket): void {
  from.setNoDelay(true);
  from.on('data', (chunk: Buffer) => hold(() => void (to.destroyed || to.write(chunk))));
  from.on('end', () => hold(() => to.end()));
  from.on('error', () => to.destroy());
  from.on('close', () => hold(() => to.destroy()));
}

const ports: number[] = [];
for (const text of process.argv.slice(2)) {
  const server = createServer((client) => {
    const upstream = connect(Number(text), '127.0.0.1');
    join(client, upstream);
    join(upstream, client);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  ports.push((server.address() as { port: number }).port);
}
process.on('disconnect', () => process.exit());
process.send?.({ ports });

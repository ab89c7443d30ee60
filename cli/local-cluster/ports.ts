/** TCP ports of the machine: is one free, and which ones are. */
import { createServer } from 'node:net';

export async function isPortFree(host: string, port: number): Promise<boolean> {
  try {
    await probe(host, port);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE' || code === 'EACCES') return false;
    throw error;
  }
}

/** `count` different free ports, none of `taken`. */
export async function freePorts(host: string, count: number, taken: ReadonlySet<number>): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = await probe(host, 0);
    if (!taken.has(port)) found.add(port);
  }
  return [...found];
}

/** Listens for a moment; the port that it got. */
function probe(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : port));
    });
  });
}

/** WebSockets of one server: the upgrade, the choice of the subprotocol, pings, and the end. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { type Consistency, parseConsistency } from '../session/consistency.ts';
import { reportError, SessionError } from '../session/errors.ts';
import { encodeError } from './encode-result.ts';
import { JSON_TYPE, statusOf } from './http-reply.ts';
import { parseRoute } from './routes.ts';
import type { ServerContext } from './server-context.ts';
import { type HranaVersion, versionOfProtocol, WEB_SOCKET_PROTOCOLS } from './version.ts';
import { WsConnection } from './ws-connection.ts';

export class WsServer {
  readonly #context: ServerContext;
  readonly #server: WebSocketServer;
  readonly #connections = new Set<WsConnection>();
  readonly #pings: NodeJS.Timeout;

  constructor(context: ServerContext) {
    this.#context = context;
    this.#server = new WebSocketServer({
      noServer: true,
      // Compression costs a point select more than its bytes are worth.
      perMessageDeflate: false,
      maxPayload: context.limits.maxRequestBytes,
      clientTracking: false,
      handleProtocols: (offered) => choose(offered) ?? false,
    });
    this.#pings = setInterval(() => {
      for (const connection of this.#connections) connection.ping();
    }, context.limits.pingIntervalMs);
    this.#pings.unref();
  }

  get count(): number {
    return this.#connections.size;
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    let target: { volume: string; consistency: Consistency; version: HranaVersion };
    try {
      target = upgradeTarget(request);
    } catch (error) {
      refuseUpgrade(socket, error);
      return;
    }
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      const connection: WsConnection = new WsConnection({
        ...target,
        context: this.#context,
        webSocket,
        socket,
        onClosed: () => this.#connections.delete(connection),
      });
      this.#connections.add(connection);
    });
  }

  async close(late: AbortSignal, handshakeMs: number): Promise<void> {
    clearInterval(this.#pings);
    await Promise.all([...this.#connections].map((connection) => connection.goAway(late, handshakeMs)));
    this.#server.close();
  }
}

export function refuseUpgrade(socket: Duplex, error: unknown): void {
  const report = reportError(error);
  const body = encodeError(report);
  // The socket may be gone already; there is nobody left to tell.
  socket.on('error', () => undefined);
  socket.end(
    `HTTP/1.1 ${statusOf(report)} Refused\r\nconnection: close\r\ncontent-type: ${JSON_TYPE}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function upgradeTarget(request: IncomingMessage): {
  volume: string;
  consistency: Consistency;
  version: HranaVersion;
} {
  const url = request.url ?? '/';
  const route = parseRoute(url);
  if (route.kind !== 'volume' || route.path !== '') {
    throw new SessionError('BAD_REQUEST', 'there is no WebSocket here', 'connect to /, or to /VOLUME');
  }
  const query = new URLSearchParams(url.includes('?') ? url.slice(url.indexOf('?')) : '');
  const consistency = parseConsistency(query.get('tidemark-consistency'), query.get('tidemark-min-lsn'));
  const header = request.headers['sec-websocket-protocol'];
  // As libSQL's server does: a client that names no subprotocol speaks the first version.
  if (header === undefined) return { volume: route.volume, consistency, version: 1 };
  const chosen = choose(new Set(header.split(',').map((protocol) => protocol.trim())));
  if (chosen === null) {
    throw new SessionError(
      'UNSUPPORTED',
      'none of the offered WebSocket subprotocols is spoken here',
      `offer one of ${WEB_SOCKET_PROTOCOLS.join(', ')}`,
    );
  }
  return { volume: route.volume, consistency, version: versionOfProtocol(chosen.toLowerCase()) };
}

/** In the client's own spelling, since it must find it in its offer. */
function choose(offered: ReadonlySet<string>): string | null {
  for (const ours of WEB_SOCKET_PROTOCOLS) {
    for (const theirs of offered) if (theirs.toLowerCase() === ours) return theirs;
  }
  return null;
}

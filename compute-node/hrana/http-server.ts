/**
 * The server that clients speak to: Hrana over HTTP and WebSocket for every volume of the compute node, pages for those who watch it, and
 * a door to its administration.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { TidemarkError } from '../../src/base/errors.ts';
import { SessionError } from '../session/errors.ts';
import type { Sessions } from '../session/sessions.ts';
import type { ResolveVolume } from '../session/volume-sessions.ts';
import { Auth } from './auth.ts';
import { handleVolumeRequest, NoSuchEndpoint } from './http-endpoints.ts';
import { allowAnyOrigin, replyError, replyJson, replyPreflight, replyText } from './http-reply.ts';
import { HttpStreams } from './http-streams.ts';
import type { HranaLimits } from './limits.ts';
import type { Logger } from '../../src/adapters/logger.ts';
import { ResponseBudget } from './response-budget.ts';
import { parseRoute, type ServerPage } from './routes.ts';
import { noteIfBug, type ServerContext } from './server-context.ts';
import { refuseUpgrade, WsServer } from './ws-server.ts';

export interface HttpServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly sessions: Sessions;
  readonly resolveVolume: ResolveVolume;
  /** Requests under `/-/`. Null: there are none. */
  readonly admin: ((request: IncomingMessage, response: ServerResponse) => void | Promise<void>) | null;
  /** Prometheus text. */
  readonly metrics: () => string;
  readonly ready: () => { readonly ready: boolean; readonly reason: string | null };
  readonly version: string;
  /** The bearer token that clients must show; null: none. */
  readonly auth: { readonly token: string } | null;
  readonly limits: HranaLimits;
  readonly logger: Logger;
}

export interface HttpServer {
  readonly url: string;
  readonly port: number;
  readonly webSockets: number;
  readonly httpStreams: number;
  /** Lets requests under way finish (bounded), closes every stream. Idempotent. */
  close(): Promise<void>;
}

export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const running = new RunningServer(options);
  await running.listen();
  return running;
}

/** How long a WebSocket client may take to answer the closing handshake. */
const CLOSE_HANDSHAKE_MS = 1_000;

class RunningServer implements HttpServer {
  readonly #options: HttpServerOptions;
  readonly #context: ServerContext;
  readonly #server: Server;
  readonly #wsServer: WsServer;
  #isClosing = false;
  #closed: Promise<void> | null = null;

  constructor(options: HttpServerOptions) {
    const { sessions, resolveVolume, auth, limits, logger } = options;
    this.#options = options;
    this.#context = {
      sessions,
      resolveVolume,
      limits,
      logger,
      httpStreams: new HttpStreams(sessions),
      auth: new Auth(auth?.token ?? null),
      budget: new ResponseBudget(limits.maxBufferedResponseBytes),
    };
    this.#wsServer = new WsServer(this.#context);
    this.#server = createServer(
      { keepAliveTimeout: limits.keepAliveMs, noDelay: true },
      (request, response) => {
        void this.#answer(request, response);
      },
    );
    this.#server.on('upgrade', (request, socket, head) => {
      if (this.#isClosing) refuseUpgrade(socket, closing());
      else this.#wsServer.upgrade(request, socket, head);
    });
    this.#server.on('clientError', (_error, socket) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
      else socket.destroy();
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    const { host } = this.#options;
    const shown = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host;
    return `http://${shown}:${this.port}`;
  }

  get webSockets(): number {
    return this.#wsServer.count;
  }

  get httpStreams(): number {
    return this.#context.httpStreams.count;
  }

  listen(): Promise<void> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        reject(error.code === 'EADDRINUSE' ? portInUse(host, port, error) : error);
      });
      this.#server.listen(port, host, () => {
        this.#server.removeAllListeners('error');
        this.#server.on('error', (error) =>
          this.#options.logger.log('error', 'the HTTP server failed', { error }),
        );
        resolve();
      });
    });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#handle(request, response);
    } catch (error) {
      noteIfBug(this.#context, error, `${request.method} ${request.url}`);
      // An unread body cannot be skipped safely: the connection ends with the answer.
      if (!request.complete && !response.headersSent) response.setHeader('connection', 'close');
      replyError(response, error, error instanceof NoSuchEndpoint ? error.status : undefined);
    }
    // Kept alive, it would hold up the end of the server.
    if (this.#isClosing) {
      if (response.closed) this.#server.closeIdleConnections();
      else response.once('close', () => setImmediate(() => this.#server.closeIdleConnections()));
    }
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const route = parseRouteOf(request, response);
    if (route.kind === 'page') return this.#page(route.page, request, response);
    if (this.#isClosing) {
      response.setHeader('connection', 'close');
      throw closing();
    }
    if (route.kind === 'admin') {
      this.#context.auth.checkHeader(request.headers.authorization);
      const { admin } = this.#options;
      if (admin === null) throw new NoSuchEndpoint(request.method ?? 'GET', '-/', false);
      return admin(request, response);
    }
    if (request.method === 'OPTIONS') return replyPreflight(request, response);
    // Which versions are spoken is asked without a token.
    if (request.method !== 'GET') this.#context.auth.checkHeader(request.headers.authorization);
    return handleVolumeRequest(this.#context, route.volume, route.path, request, response);
  }

  #page(page: ServerPage, request: IncomingMessage, response: ServerResponse): void {
    if (request.method === 'OPTIONS') {
      replyPreflight(request, response);
      return;
    }
    switch (page) {
      case 'health':
      case 'livez':
        replyText(response, 200, 'ok\n');
        break;
      case 'version':
        replyText(response, 200, `${this.#options.version}\n`);
        break;
      case 'readyz': {
        const { ready, reason } = this.#isClosing
          ? { ready: false, reason: 'closing' }
          : this.#options.ready();
        replyJson(response, ready ? 200 : 503, JSON.stringify({ ready, reason }));
        break;
      }
      case 'metrics':
        this.#context.auth.checkHeader(request.headers.authorization);
        replyText(response, 200, this.#options.metrics());
        break;
    }
  }

  async #close(): Promise<void> {
    this.#isClosing = true;
    const httpClosed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const late = lateAfter(this.#options.limits.closeTimeoutMs);
    await this.#wsServer.close(late.signal, CLOSE_HANDSHAKE_MS);
    await Promise.race([httpClosed, late.reached]);
    late.cancel();
    this.#server.closeAllConnections();
    await httpClosed;
    this.#context.httpStreams.close();
    await this.#context.sessions.closeAll();
  }
}

function lateAfter(timeoutMs: number): { signal: AbortSignal; reached: Promise<void>; cancel: () => void } {
  const controller = new AbortController();
  let cancel = () => {};
  const reached = new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      controller.abort();
      resolve();
    }, timeoutMs);
    cancel = () => clearTimeout(timer);
  });
  return { signal: controller.signal, reached, cancel };
}

function parseRouteOf(request: IncomingMessage, response: ServerResponse): ReturnType<typeof parseRoute> {
  const url = request.url ?? '/';
  if (!url.startsWith('/-')) allowAnyOrigin(response);
  return parseRoute(url);
}

function closing(): SessionError {
  return new SessionError(
    'UNAVAILABLE',
    'the compute node is stopping',
    'try again, or another compute node',
  );
}

function portInUse(host: string, port: number, cause: Error): TidemarkError {
  return new TidemarkError('IN_USE', `port ${port} on ${host} is in use by another process`, {
    cause,
    nextStep: 'choose another with --port, or stop that process',
  });
}

/** A Hrana server over in-memory engines, for tests; and the two ways to speak to it without a client library. */
import { WebSocket } from 'ws';
import type { Engine, EngineConnection } from '../../compute-node/engine/api.ts';
import {
  type HttpServer,
  type HttpServerOptions,
  startHttpServer,
} from '../../compute-node/hrana/http-server.ts';
import { DEFAULT_HRANA_LIMITS, type HranaLimits } from '../../compute-node/hrana/limits.ts';
import { DEFAULT_SESSION_LIMITS, type SessionLimits } from '../../compute-node/session/limits.ts';
import { nodeScheduler, type Scheduler } from '../../compute-node/session/scheduler.ts';
import { Sessions } from '../../compute-node/session/sessions.ts';
import type { Timelines } from '../../compute-node/timelines/api.ts';
import { TimelineConnection } from '../../compute-node/timelines/sql/connection.ts';
import type { Logger } from '../../src/adapters/logger.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { MemoryEngine } from './memory-engine.ts';

export interface TestServer {
  readonly server: HttpServer;
  readonly url: string;
  readonly wsUrl: string;
  readonly sessions: Sessions;
  readonly engines: Map<string, MemoryEngine>;
  readonly logged: string[];
  close(): Promise<void>;
}

export interface TestServerOptions {
  readonly volumes?: readonly string[];
  /** Serves every volume, instead of engines in memory. */
  readonly engine?: Engine;
  readonly sessionLimits?: Partial<SessionLimits>;
  readonly hranaLimits?: Partial<HranaLimits>;
  readonly scheduler?: Scheduler;
  /** Statements about them are understood. */
  readonly timelines?: Timelines;
  readonly token?: string;
  readonly admin?: HttpServerOptions['admin'];
  readonly ready?: HttpServerOptions['ready'];
}

export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const engines = new Map((options.volumes ?? ['main']).map((name) => [name, new MemoryEngine()]));
  const limits = { ...DEFAULT_SESSION_LIMITS, ...options.sessionLimits };
  const sessions = new Sessions(limits, options.scheduler ?? nodeScheduler);
  const logged: string[] = [];
  const logger: Logger = { log: (_level, message) => logged.push(message), with: () => logger };
  const server = await startHttpServer({
    host: '127.0.0.1',
    port: 0,
    sessions,
    resolveVolume: async (name) => {
      const engine = options.engine ?? engines.get(name);
      if (engine === undefined) {
        throw new TidemarkError('VOLUME_NOT_FOUND', `there is no volume ${name}`, { nextStep: 'create it' });
      }
      const connect = (): Promise<EngineConnection> => engine.connect({ readonly: false });
      const { timelines } = options;
      if (timelines === undefined) return { name, connect };
      const context = { timelines, volume: name, moment: null };
      return { name, connect: () => TimelineConnection.open(connect, context) };
    },
    admin: options.admin ?? null,
    metrics: () => 'tidemark_up 1\n',
    ready: options.ready ?? (() => ({ ready: true, reason: null })),
    version: 'tidemark 0.0.0-test',
    auth: options.token === undefined ? null : { token: options.token },
    limits: { ...DEFAULT_HRANA_LIMITS, ...options.hranaLimits },
    logger,
  });
  return {
    server,
    url: server.url,
    wsUrl: server.url.replace('http', 'ws'),
    sessions,
    engines,
    logged,
    close: async () => {
      await server.close();
      for (const engine of engines.values()) await engine.close();
    },
  };
}

export interface JsonAnswer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly body: any;
}

export async function postJson(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<JsonAnswer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
}

/** A raw Hrana client over WebSocket: sends what it is told, hands out what comes. */
export class RawWs {
  readonly webSocket: WebSocket;
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #messages: unknown[] = [];
  readonly #waiting: ((message: unknown) => void)[] = [];
  #nextId = 1;

  private constructor(webSocket: WebSocket) {
    this.webSocket = webSocket;
    this.closed = new Promise((resolve) => {
      webSocket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    webSocket.on('message', (data) => {
      const message: unknown = JSON.parse(data.toString());
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#messages.push(message);
      else waiting(message);
    });
  }

  static async open(
    url: string,
    protocols: string[] = ['hrana3'],
    hello: object | null = {},
  ): Promise<RawWs> {
    const webSocket = new WebSocket(url, protocols);
    const raw = new RawWs(webSocket);
    await new Promise((resolve, reject) => {
      webSocket.on('open', resolve);
      webSocket.on('error', reject);
    });
    if (hello !== null) {
      raw.send({ type: 'hello', jwt: null, ...hello });
      await raw.next();
    }
    return raw;
  }

  send(message: unknown): void {
    this.webSocket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  // biome-ignore lint/suspicious/noExplicitAny: as above
  next(): Promise<any> {
    if (this.#messages.length > 0) return Promise.resolve(this.#messages.shift());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Sends one request; its answer comes from `next`. */
  post(request: object): number {
    const id = this.#nextId++;
    this.send({ type: 'request', request_id: id, request });
    return id;
  }

  /** For requests made one at a time. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  async ask(request: object): Promise<any> {
    this.post(request);
    return this.next();
  }

  execute(streamId: number, sql: string, args: unknown[] = []) {
    return this.ask({ type: 'execute', stream_id: streamId, stmt: { sql, args } });
  }

  close(): void {
    this.webSocket.close();
  }
}

/** Waits until `read` gives the same number twice, some time apart, and returns it. */
export async function settled(read: () => number, pauseMs = 150): Promise<number> {
  for (;;) {
    const before = read();
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    if (read() === before) return before;
  }
}

/**
 * The client protocol's server, over HTTP and WebSocket, under requests that were sound before something in them was changed: JSON, bytes, paths,
 * headers. Every request has an answer, and the server goes on serving.
 */
import { createConnection } from 'node:net';
import { WebSocket } from 'ws';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { type HttpServer, startHttpServer } from '../../../compute-node/hrana/http-server.ts';
import { DEFAULT_HRANA_LIMITS } from '../../../compute-node/hrana/limits.ts';
import type { Engine } from '../../../compute-node/engine/api.ts';
import { openEngine } from '../../../compute-node/engine/engine.ts';
import { DEFAULT_SESSION_LIMITS } from '../../../compute-node/session/limits.ts';
import { nodeScheduler } from '../../../compute-node/session/scheduler.ts';
import { Sessions } from '../../../compute-node/session/sessions.ts';
import type { Logger } from '../../../src/adapters/logger.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { testLimits } from '../../support/core-harness.ts';
import { engineWorkerUrl } from '../../support/engine-worker.ts';
import { MemoryVolume } from '../../support/memory-volume.ts';
import { mutateBytes, mutateJson, noise } from '../mutate.ts';
import type { OpenTarget, Target } from '../target.ts';

const ANSWER_TIMEOUT_MS = 10_000;
const SQLS = [
  'SELECT 1',
  'SELECT ?, :a',
  'CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v)',
  'INSERT INTO t (v) VALUES (?)',
  'SELECT count(*) FROM t',
  'DELETE FROM t',
  'BEGIN',
  'COMMIT',
  'ROLLBACK',
  'SELECT',
  '',
] as const;
const PATHS = [
  '/v2/pipeline',
  '/v3/pipeline',
  '/v3/cursor',
  '/v1/execute',
  '/v1/batch',
  '/',
  '/health',
  '/version',
  '/main/v2/pipeline',
  '/nowhere/v2/pipeline',
  '/main@lsn:1/v2/pipeline',
  '/%00',
  '/../..',
] as const;

/** A volume in memory keeps all its history: after so many inputs another takes its place. */
const INPUTS_PER_VOLUME = 2_000;
/** Beside this file where all is compiled, else the built one. */
const workerUrl = import.meta.url.endsWith('.ts')
  ? engineWorkerUrl
  : new URL('../../../compute-node/engine/worker/main.js', import.meta.url);

export const hranaHttp: Target = {
  name: 'hrana-http',
  weight: 2,
  concurrency: 16,
  open: () =>
    openServer((server, random) =>
      random.chance(0.1) ? rawExchange(server, random) : httpExchange(server, random),
    ),
};

export const hranaWs: Target = {
  name: 'hrana-ws',
  weight: 2,
  concurrency: 8,
  open: () => openServer(wsExchange),
};

async function openServer(
  exchange: (server: FuzzedServer, random: SeededRandom) => Promise<void>,
): Promise<OpenTarget> {
  const server = await FuzzedServer.start();
  let inputs = 0;
  return {
    input: async (random) => {
      inputs += 1;
      if (inputs % INPUTS_PER_VOLUME === 0) await server.renewVolume();
      await exchange(server, random);
    },
    check: () => serves(server),
    close: () => server.close(),
  };
}

/** The real server, sessions and SQL engine; the volume beneath is in memory. */
class FuzzedServer {
  readonly errors: readonly string[];
  private engine: Engine;
  private readonly server: HttpServer;

  static async start(): Promise<FuzzedServer> {
    const errors: string[] = [];
    const logger: Logger = {
      log: (level, message, fields) => {
        if (level === 'error')
          errors.push(`${message} ${String((fields?.error as Error | undefined)?.stack)}`);
      },
      with: () => logger,
    };
    let made: FuzzedServer | null = null;
    const server = await startHttpServer({
      host: '127.0.0.1',
      port: 0,
      sessions: new Sessions(DEFAULT_SESSION_LIMITS, nodeScheduler),
      resolveVolume: async (name) => {
        if (name !== 'main' || made === null) throw new TidemarkError('VOLUME_NOT_FOUND', 'no such volume');
        const { engine } = made;
        return { name, connect: () => engine.connect({ readonly: false }) };
      },
      admin: null,
      metrics: () => '',
      ready: () => ({ ready: true, reason: null }),
      version: 'fuzz',
      auth: null,
      limits: DEFAULT_HRANA_LIMITS,
      logger,
    });
    made = new FuzzedServer(server, await newEngine(), errors);
    return made;
  }

  private constructor(server: HttpServer, engine: Engine, errors: string[]) {
    this.server = server;
    this.engine = engine;
    this.errors = errors;
  }

  get url(): string {
    return this.server.url;
  }

  get wsUrl(): string {
    return this.url.replace('http', 'ws');
  }

  async renewVolume(): Promise<void> {
    const old = this.engine;
    this.engine = await newEngine();
    await old.close();
  }

  async close(): Promise<void> {
    await this.server.close();
    await this.engine.close();
  }
}

function newEngine(): Promise<Engine> {
  return openEngine({ volume: new MemoryVolume(), workerUrl, limits: testLimits });
}

async function httpExchange({ url, errors }: FuzzedServer, random: SeededRandom): Promise<void> {
  const path = random.pick(PATHS);
  const text = JSON.stringify(mutateJson(random, soundBody(random, path)));
  const body = random.chance(0.2) ? mutateBytes(random, Buffer.from(text)) : Buffer.from(text);
  const method = random.chance(0.9) ? 'POST' : random.pick(['GET', 'PUT', 'OPTIONS', 'DELETE']);
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { 'content-type': random.chance(0.9) ? 'application/json' : 'text/plain' },
    ...(method === 'GET' ? {} : { body: new Uint8Array(body) }),
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  });
  const answer = await response.text();
  if (response.status >= 500 && response.status !== 503) {
    throw new Error(
      `${method} ${path} gave ${response.status}: ${errors.at(-1) ?? answer.slice(0, 200)}; ${text.slice(0, 500)}`,
    );
  }
}

/** Not even HTTP, or hardly. The server answers or hangs up. */
function rawExchange({ url }: FuzzedServer, random: SeededRandom): Promise<void> {
  const { hostname, port } = new URL(url);
  const body = JSON.stringify(soundBody(random, '/v2/pipeline'));
  const head = `POST /v2/pipeline HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  const bytes = mutateBytes(random, Buffer.from(head + body));
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: hostname, port: Number(port) });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error('neither an answer nor an end'));
    }, ANSWER_TIMEOUT_MS);
    socket.on('connect', () => socket.end(bytes));
    socket.on('data', () => {});
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** A conversation of a few messages on a connection of its own. */
function wsExchange({ wsUrl }: FuzzedServer, random: SeededRandom): Promise<void> {
  const protocol = random.pick(['hrana1', 'hrana2', 'hrana3']);
  const messages = conversation(random);
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(wsUrl, [protocol]);
    const timer = setTimeout(() => {
      socket.terminate();
      reject(new Error('the connection did not end'));
    }, ANSWER_TIMEOUT_MS);
    socket.on('open', () => {
      for (const message of messages) socket.send(message);
      if (random.chance(0.2)) socket.terminate();
      else socket.close();
    });
    socket.on('message', () => {});
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function conversation(random: SeededRandom): (string | Uint8Array)[] {
  const messages: unknown[] = [
    { type: 'hello', jwt: null },
    { type: 'request', request_id: 1, request: { type: 'open_stream', stream_id: 1 } },
  ];
  for (let id = 2; id < 2 + random.below(5); id += 1) {
    const request = { ...(streamRequest(random) as object), stream_id: 1 };
    messages.push({ type: 'request', request_id: id, request });
  }
  return messages.map((message) => {
    const text = JSON.stringify(random.chance(0.5) ? mutateJson(random, message) : message);
    if (random.chance(0.05)) return noise(random, random.below(40));
    return random.chance(0.1) ? Buffer.from(mutateBytes(random, Buffer.from(text))).toString() : text;
  });
}

function soundBody(random: SeededRandom, path: string): unknown {
  if (path.endsWith('/pipeline')) {
    return { baton: null, requests: Array.from({ length: random.below(4) }, () => streamRequest(random)) };
  }
  if (path.endsWith('/cursor')) return { baton: null, batch: batch(random) };
  if (path.endsWith('/execute')) return { stmt: statement(random) };
  if (path.endsWith('/batch')) return { batch: batch(random) };
  return { statements: [random.pick(SQLS), { q: 'SELECT ?', params: [1] }] };
}

function streamRequest(random: SeededRandom): unknown {
  switch (random.below(7)) {
    case 0:
      return { type: 'batch', batch: batch(random) };
    case 1:
      return { type: 'sequence', sql: 'SELECT 1; SELECT 2' };
    case 2:
      return { type: 'describe', sql: random.pick(SQLS) };
    case 3:
      return { type: 'store_sql', sql_id: random.below(3), sql: random.pick(SQLS) };
    case 4:
      return random.chance(0.5) ? { type: 'close' } : { type: 'get_autocommit' };
    default:
      return { type: 'execute', stmt: statement(random) };
  }
}

function batch(random: SeededRandom): unknown {
  return {
    steps: [
      { stmt: statement(random) },
      {
        stmt: statement(random),
        condition: {
          type: 'and',
          conds: [
            { type: 'ok', step: 0 },
            { type: 'not', cond: { type: 'error', step: 0 } },
          ],
        },
      },
    ],
  };
}

function statement(random: SeededRandom): unknown {
  return {
    sql: random.pick(SQLS),
    args: [
      { type: 'integer', value: String(random.below(99)) },
      { type: 'text', value: 'x' },
      { type: 'blob', base64: 'AAEC' },
    ].slice(random.below(4)),
    named_args: random.chance(0.2) ? [{ name: 'a', value: { type: 'float', value: 1.5 } }] : [],
    want_rows: random.chance(0.8),
  };
}

async function serves({ url, errors }: FuzzedServer): Promise<void> {
  const response = await fetch(`${url}/v2/pipeline`, {
    method: 'POST',
    body: JSON.stringify({ requests: [{ type: 'execute', stmt: { sql: 'SELECT 7' } }, { type: 'close' }] }),
  });
  if (!(await response.text()).includes('"7"')) throw new Error('the server does not serve any more');
  // What is logged as an error was nobody's plan.
  if (errors.length > 0) throw new Error(errors[0]);
}

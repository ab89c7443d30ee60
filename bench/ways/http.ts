/** Hrana over HTTP, `POST /v3/pipeline`, a kept connection for each client, bodies written as ready-made JSON text. */
import { Agent, request as httpRequest } from 'node:http';
import type { WsTarget } from '../drivers/ws.ts';
import { type Arg, beginSql, type Mode, type SqlClient, type SqlStatement, type SqlWay } from './way.ts';
import { argJson, countRows } from './ws.ts';

export function httpWay(target: WsTarget): SqlWay {
  return {
    name: 'HTTP',
    connect: async () => new HttpClient(target),
    close: async () => {},
  };
}

class HttpClient implements SqlClient {
  private readonly target: WsTarget;
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(target: WsTarget) {
    this.target = target;
  }

  async run(sql: string, args: readonly Arg[]): Promise<number> {
    const response = await this.pipeline(
      null,
      `{"type":"execute","stmt":${stmtJson(sql, args)}},{"type":"close"}`,
    );
    return countRows(response);
  }

  async batch(statements: readonly SqlStatement[], mode: Mode): Promise<void> {
    const steps = [`{"stmt":{"sql":"${beginSql(mode)}"}}`];
    const ok = (step: number): string => `{"type":"ok","step":${step}}`;
    for (const { sql, args } of statements) {
      steps.push(`{"condition":${ok(steps.length - 1)},"stmt":${stmtJson(sql, args)}}`);
    }
    steps.push(`{"condition":${ok(steps.length - 1)},"stmt":{"sql":"COMMIT"}}`);
    steps.push(`{"condition":{"type":"not","cond":${ok(steps.length - 1)}},"stmt":{"sql":"ROLLBACK"}}`);
    const response = await this.pipeline(
      null,
      `{"type":"batch","batch":{"steps":[${steps.join(',')}]}},{"type":"close"}`,
    );
    const noErrors = `"step_errors":[${new Array<string>(steps.length).fill('null').join(',')}]`;
    if (!response.includes(noErrors)) throw new Error(`a batch failed: ${response.slice(0, 2_000)}`);
  }

  async transaction(work: (run: SqlClient['run']) => Promise<void>, mode: Mode): Promise<void> {
    let baton: string | null = null;
    const run = async (sql: string, args: readonly Arg[], last = ''): Promise<number> => {
      const response = await this.pipeline(baton, `{"type":"execute","stmt":${stmtJson(sql, args)}}${last}`);
      baton = /"baton":"([^"]+)"/.exec(response)?.[1] ?? null;
      return countRows(response);
    };
    await run(beginSql(mode), []);
    try {
      await work(run);
    } catch (error) {
      await run('ROLLBACK', [], ',{"type":"close"}').catch(() => undefined);
      throw error;
    }
    await run('COMMIT', [], ',{"type":"close"}');
  }

  close(): void {
    this.agent.destroy();
  }

  private pipeline(baton: string | null, requests: string): Promise<string> {
    const { httpOrigin, volume, authToken } = this.target;
    const path = volume === 'main' ? '' : `/${encodeURIComponent(volume)}`;
    const body = `{"baton":${JSON.stringify(baton)},"requests":[${requests}]}`;
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        `${httpOrigin}${path}/v3/pipeline`,
        {
          method: 'POST',
          agent: this.agent,
          headers: {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
            ...(authToken === null ? {} : { authorization: `Bearer ${authToken}` }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString('utf8');
            if (response.statusCode !== 200 || text.includes('"type":"error"')) {
              reject(new Error(`the server answered ${response.statusCode}: ${text.slice(0, 2_000)}`));
            } else resolve(text);
          });
        },
      );
      request.on('error', reject);
      request.end(body);
    });
  }
}

function stmtJson(sql: string, args: readonly Arg[]): string {
  return `{"sql":${JSON.stringify(sql)},"args":[${args.map(argJson).join(',')}]}`;
}

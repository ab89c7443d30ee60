/** The compute node's administration over HTTP, as far as benchmarks use it: JSON, answers of a line per event, and a database file sent. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Agent, type IncomingMessage, request as httpRequest } from 'node:http';
import { TidemarkError } from '../../src/base/errors.ts';
import type { WsTarget } from './ws.ts';

export class AdminDriver {
  private readonly target: WsTarget;
  private readonly agent = new Agent({ keepAlive: true });

  constructor(target: WsTarget) {
    this.target = target;
  }

  async json<T>(method: string, path: string, body?: object): Promise<T> {
    return JSON.parse(await this.text(method, path, body)) as T;
  }

  /** Of an answer with a line per event, all of them. */
  async events<T>(path: string, body: object): Promise<readonly T[]> {
    return parseLines<T>(await this.text('POST', path, body));
  }

  /** Into an empty volume. */
  async importFile(volume: string, filePath: string): Promise<void> {
    const { size } = await stat(filePath);
    const text = await new Promise<string>((resolve, reject) => {
      const request = this.open('PUT', `/-/volumes/${encodeURIComponent(volume)}/database`, {
        'content-type': 'application/vnd.sqlite3',
        'content-length': String(size),
      });
      request.on('response', (response) => answerText(response).then(resolve, reject));
      request.on('error', reject);
      createReadStream(filePath, { highWaterMark: 1 << 20 })
        .on('error', reject)
        .pipe(request);
    });
    const last = parseLines<{ readonly done?: boolean }>(text).at(-1);
    if (last?.done !== true) throw new TidemarkError('UNAVAILABLE', `importing into ${volume} ended early`);
  }

  close(): void {
    this.agent.destroy();
  }

  private text(method: string, path: string, body?: object): Promise<string> {
    return new Promise((resolve, reject) => {
      const request = this.open(
        method,
        path,
        body === undefined ? {} : { 'content-type': 'application/json' },
      );
      request.on('response', (response) => answerText(response).then(resolve, reject));
      request.on('error', reject);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  private open(method: string, path: string, headers: Readonly<Record<string, string>>) {
    const { httpOrigin, authToken } = this.target;
    return httpRequest(`${httpOrigin}${path}`, {
      method,
      agent: this.agent,
      headers: { ...headers, ...(authToken === null ? {} : { authorization: `Bearer ${authToken}` }) },
    });
  }
}

async function answerText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  const status = response.statusCode ?? 0;
  if (status < 200 || status >= 300) {
    throw new TidemarkError('UNAVAILABLE', `the compute node answered ${status}: ${text.slice(0, 2_000)}`);
  }
  return text;
}

/** One that tells an error is thrown. */
function parseLines<T>(text: string): readonly T[] {
  const events = text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as T & { readonly error?: { readonly message?: string } | null });
  for (const { error } of events) {
    if (error != null)
      throw new TidemarkError('UNAVAILABLE', `the compute node failed: ${error.message ?? ''}`);
  }
  return events;
}

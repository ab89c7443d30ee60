/** The compute node's admin interface under /-/ : plain HTTP, so that `status` works when SQL does not. */
import { createReadStream } from 'node:fs';
import { type IncomingMessage, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { EngineStatus } from '../../compute-node/engine/api.ts';
import type { NodeSummary, OperationProgress } from '../../compute-node/node-operations.ts';
import type { HistoryWindow } from '../../compute-node/timelines/api.ts';
import type { OpenVolumeStatus } from '../../compute-node/volume/open-volume.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { ScrubProgress } from '../../compute-node/scrub-operation.ts';
import type { StatusReply } from '../../src/messages/messages.ts';
import { refusalFromHttp } from './hrana-socket.ts';
import type { Target } from './target.ts';

export interface NodeReport {
  readonly nodeId: string;
  readonly az: string;
  readonly address: string;
  readonly reachable: boolean;
  readonly error?: string | null;
  readonly status: StatusReply | null;
}

export interface VolumeReport {
  readonly name: string;
  readonly open: boolean;
  readonly status: OpenVolumeStatus | null;
  readonly engine: EngineStatus | null;
}

export interface ClusterReport {
  readonly computeId: string;
  readonly version: string;
  readonly url: string;
  readonly uptimeMs: number;
  readonly clusterId: string;
  readonly nodes: readonly NodeReport[];
  readonly volumes: readonly VolumeReport[];
  /** Of volumes open there, as far as they could be learnt. */
  readonly windows: Readonly<Record<string, HistoryWindow>>;
}

export interface VolumeEntry {
  readonly name: string;
  readonly volume: string | null;
}

export interface ImportOutcome {
  readonly pages: number;
  readonly lsn: number;
}

export type OperationEnd = Extract<OperationProgress, { kind: 'end' }>;

const ANSWER_TIMEOUT_MS = 15_000;

export class AdminClient {
  private readonly target: Target;

  constructor(target: Target) {
    this.target = target;
  }

  async status(): Promise<ClusterReport> {
    return (await this.json('GET', '/-/status')) as ClusterReport;
  }

  async volumes(): Promise<readonly VolumeEntry[]> {
    return ((await this.json('GET', '/-/volumes')) as { volumes: readonly VolumeEntry[] }).volumes;
  }

  async createVolume(name: string): Promise<VolumeEntry> {
    return (await this.json('POST', '/-/volumes', JSON.stringify({ name }))) as VolumeEntry;
  }

  async nodes(): Promise<readonly NodeSummary[]> {
    return ((await this.json('GET', '/-/nodes')) as { nodes: readonly NodeSummary[] }).nodes;
  }

  /** `node`: NODE=AZ@HOST:PORT. */
  async addNode(node: string): Promise<void> {
    await this.json('POST', '/-/nodes', JSON.stringify({ node }));
  }

  /** Empties a node, or takes that back; the outcome once it is over. */
  async changeNode(
    nodeId: string,
    how: 'drain' | 'replace',
    body: object,
    onProgress: (progress: OperationProgress) => void,
  ): Promise<OperationEnd> {
    const path = `/-/nodes/${encodeURIComponent(nodeId)}/${how}`;
    const response = await this.send('POST', path, null, JSON.stringify(body));
    await this.refuseUnlessOk(response);
    for await (const message of this.messagesOf(response)) {
      const progress = message as unknown as OperationProgress;
      if (progress.kind === 'end') return progress;
      onProgress(progress);
    }
    throw new TidemarkError('UNAVAILABLE', 'the compute node ended before it told how it went', {
      nextStep: `Ask again: what was begun goes on, and \`tidemark node ${how}\` finds what is left to do.`,
    });
  }

  /** A full scrub: the last word of every node. */
  async scrub(
    wishes: { readonly volume?: string; readonly node?: string },
    onProgress: (progress: ScrubProgress) => void,
  ): Promise<ScrubProgress> {
    const response = await this.send('POST', '/-/scrub', null, JSON.stringify(wishes));
    await this.refuseUnlessOk(response);
    for await (const message of this.messagesOf(response)) {
      const progress = message as unknown as ScrubProgress;
      if (progress.done) return progress;
      onProgress(progress);
    }
    throw new TidemarkError('UNAVAILABLE', 'the compute node ended before it told how the scrub went', {
      nextStep: 'Ask again: the storage nodes go on with it.',
    });
  }

  /** 2xx of `path`, for health checks. Never throws for an answer. */
  async answers(
    path: string,
  ): Promise<{ readonly ok: boolean; readonly status: number; readonly body: string }> {
    const response = await this.send('GET', path, ANSWER_TIMEOUT_MS);
    const status = response.statusCode ?? 0;
    return { ok: status >= 200 && status < 300, status, body: await readText(response) };
  }

  /** Uploads a SQLite database file; progress is the server's own. */
  async importDatabase(
    volume: string,
    filePath: string,
    sizeBytes: number,
    onProgress: (doneBytes: number, totalBytes: number | null) => void,
  ): Promise<ImportOutcome> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = this.open('PUT', `/-/volumes/${encodeURIComponent(volume)}/database`, {
        'content-type': 'application/vnd.sqlite3',
        'content-length': String(sizeBytes),
      });
      const file = createReadStream(filePath);
      // A refusal may come, and the connection end, while the file is still on its way.
      let answered = false;
      request.on('response', (reply) => {
        answered = true;
        resolve(reply);
      });
      request.on('error', (error) => {
        file.destroy();
        if (!answered) reject(this.unreachable(error));
      });
      file.on('error', (error) => {
        request.destroy();
        reject(new TidemarkError('IO_ERROR', `cannot read ${filePath}: ${error.message}`, { cause: error }));
      });
      file.pipe(request);
    });
    await this.refuseUnlessOk(response);
    let outcome: ImportOutcome | null = null;
    for await (const message of this.messagesOf(response)) {
      if (message.done === true) outcome = { pages: Number(message.pages), lsn: Number(message.lsn) };
      else
        onProgress(Number(message.doneBytes), message.totalBytes == null ? null : Number(message.totalBytes));
    }
    if (outcome === null) {
      throw new TidemarkError(
        'OUTCOME_UNKNOWN',
        'the compute node ended before it told how the import went',
        {
          nextStep: `Look into volume ${volume} before importing again.`,
        },
      );
    }
    return outcome;
  }

  /** The file's bytes, in order, with what is known of them beforehand. */
  async exportDatabase(volume: string): Promise<{
    readonly body: AsyncIterable<Buffer>;
    readonly sizeBytes: number | null;
    readonly lsn: number | null;
  }> {
    const path = `/-/volumes/${encodeURIComponent(volume)}/database`;
    const response = await this.send('GET', path, null);
    await this.refuseUnlessOk(response);
    const { 'content-length': length, 'tidemark-lsn': lsn } = response.headers;
    return {
      body: response as AsyncIterable<Buffer>,
      sizeBytes: length === undefined ? null : Number(length),
      lsn: lsn === undefined ? null : Number(lsn),
    };
  }

  /** The lines of an answer that comes bit by bit; one that tells an error is thrown. */
  private async *messagesOf(response: IncomingMessage): AsyncGenerator<Record<string, unknown>> {
    for await (const line of linesOf(response)) {
      const message = JSON.parse(line) as Record<string, unknown>;
      if (typeof message.error === 'object' && message.error !== null) {
        throw refusalFromHttp(0, JSON.stringify(message.error), this.target.httpOrigin);
      }
      yield message;
    }
  }

  /** Answered by one JSON object per line. */
  async *lines(path: string, body: object): AsyncGenerator<Record<string, unknown>> {
    const response = await this.send('POST', path, null, JSON.stringify(body));
    await this.refuseUnlessOk(response);
    yield* this.messagesOf(response);
  }

  /** Answered by bytes. */
  async bytes(
    path: string,
    body: object,
  ): Promise<{ readonly bytes: Buffer; readonly headers: IncomingMessage['headers'] }> {
    const response = await this.send('POST', path, null, JSON.stringify(body));
    await this.refuseUnlessOk(response);
    const parts: Buffer[] = [];
    for await (const part of response as AsyncIterable<Buffer>) parts.push(part);
    return { bytes: Buffer.concat(parts), headers: response.headers };
  }

  /** One question of the administration interface, answered in JSON. */
  async json(method: string, path: string, body?: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<unknown> {
    const response = await this.send(method, path, timeoutMs, body);
    await this.refuseUnlessOk(response);
    const text = await readText(response);
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new TidemarkError('UNAVAILABLE', `${this.target.httpOrigin} did not answer in JSON`, {
        cause,
        nextStep: 'Is that URL a Tidemark compute node?',
      });
    }
  }

  private send(
    method: string,
    path: string,
    timeoutMs: number | null,
    body?: string,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const request = this.open(
        method,
        path,
        body === undefined ? {} : { 'content-type': 'application/json' },
      );
      if (timeoutMs !== null) {
        request.setTimeout(timeoutMs, () =>
          request.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)),
        );
      }
      request.on('response', resolve);
      request.on('error', (error) => reject(this.unreachable(error)));
      request.end(body);
    });
  }

  private open(method: string, path: string, headers: Readonly<Record<string, string>>) {
    const { httpOrigin, authToken } = this.target;
    const send = httpOrigin.startsWith('https:') ? httpsRequest : httpRequest;
    return send(`${httpOrigin}${path}`, {
      method,
      headers: { ...headers, ...(authToken === null ? {} : { authorization: `Bearer ${authToken}` }) },
    });
  }

  private async refuseUnlessOk(response: IncomingMessage): Promise<void> {
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return;
    throw refusalFromHttp(status, await readText(response), this.target.httpOrigin);
  }

  private unreachable(cause: Error): TidemarkError {
    const why = 'code' in cause && cause.message === '' ? String(cause.code) : cause.message;
    return new TidemarkError('UNAVAILABLE', `no compute node answers at ${this.target.httpOrigin} (${why})`, {
      cause,
      nextStep: 'Start a cluster with `tidemark up`, or name the URL of a running one.',
    });
  }
}

async function readText(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) text += String(chunk);
  return text;
}

async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let rest = '';
  for await (const chunk of response) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') yield line;
  }
  if (rest.trim() !== '') yield rest;
}

/**
 * One WebSocket that speaks Hrana 3: numbered requests and their responses. Knows messages, not SQL. Once closed it stays closed;
 * whoever wants to go on opens another.
 */
import { WebSocket, type RawData } from 'ws';
import { TidemarkError } from '../../src/base/errors.ts';
import type { Target } from './target.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** A response holds one fetch of rows, which the server bounds; this only guards against nonsense. */
const MAX_RESPONSE_BYTES = 256 * 1024 * 1024;

export interface HranaError {
  readonly message: string;
  readonly code?: string | null;
  /** Tidemark's own extras; other servers leave them out. */
  readonly extended_code?: string | null;
  readonly offset?: number | null;
  readonly next_step?: string | null;
}

/** The server's answer to a request was an error. */
export class HranaResponseError extends Error {
  override readonly name = 'HranaResponseError';
  readonly error: HranaError;
  constructor(error: HranaError) {
    super(error.message);
    this.error = error;
  }
}

interface Waiting {
  readonly resolve: (response: Record<string, unknown>) => void;
  readonly reject: (error: Error) => void;
}

type ServerMessage =
  | { readonly type: 'hello_ok' }
  | { readonly type: 'hello_error'; readonly error: HranaError }
  | { readonly type: 'response_ok'; readonly request_id: number; readonly response: Record<string, unknown> }
  | { readonly type: 'response_error'; readonly request_id: number; readonly error: HranaError };

export class HranaSocket {
  private readonly socket: WebSocket;
  private readonly where: string;
  private readonly waiting = new Map<number, Waiting>();
  private nextRequestId = 1;
  private closedBy: Error | null = null;
  private ready: { readonly resolve: () => void; readonly reject: (error: Error) => void } | null = null;

  private constructor(socket: WebSocket, where: string) {
    this.socket = socket;
    this.where = where;
  }

  static async open(target: Target, params: Readonly<Record<string, string>> = {}): Promise<HranaSocket> {
    const query = new URLSearchParams(params).toString();
    const path = target.volume === 'main' ? '/' : `/${encodeURIComponent(target.volume)}`;
    const socket = new WebSocket(`${target.wsOrigin}${path}${query === '' ? '' : `?${query}`}`, ['hrana3'], {
      perMessageDeflate: false,
      maxPayload: MAX_RESPONSE_BYTES,
      handshakeTimeout: CONNECT_TIMEOUT_MS,
      ...(target.authToken === null ? {} : { headers: { authorization: `Bearer ${target.authToken}` } }),
    });
    const opened = new HranaSocket(socket, target.httpOrigin);
    await opened.handshake(target.authToken);
    return opened;
  }

  get isOpen(): boolean {
    return this.closedBy === null;
  }

  /** Sends at once; several requests may be on their way. Rejects with HranaResponseError, or why the connection ended. */
  request(request: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
    if (this.closedBy !== null) return Promise.reject(this.closedBy);
    const requestId = this.nextRequestId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(requestId, { resolve, reject });
      this.socket.send(JSON.stringify({ type: 'request', request_id: requestId, request }));
    });
  }

  close(): void {
    this.end(new TidemarkError('UNAVAILABLE', 'the connection is closed'));
    this.socket.close(1000);
  }

  /** Breaks the connection off: the server stops what runs on it and rolls back. */
  abort(reason: Error): void {
    this.end(reason);
    this.socket.terminate();
  }

  private async handshake(authToken: string | null): Promise<void> {
    const { socket } = this;
    const timer = setTimeout(
      () => this.abort(this.unreachable(`no answer within ${CONNECT_TIMEOUT_MS / 1000} s`)),
      CONNECT_TIMEOUT_MS,
    );
    try {
      await new Promise<void>((resolve, reject) => {
        this.ready = { resolve, reject };
        socket.on('open', () => socket.send(JSON.stringify({ type: 'hello', jwt: authToken })));
        socket.on('message', (data) => this.onMessage(data));
        socket.on('error', (error) => this.end(this.unreachable(error.message, error)));
        socket.on('unexpected-response', (_request, response) => void this.onRefused(response));
        socket.on('close', (code, reason) => this.end(this.lost(code, reason.toString('utf8'))));
      });
    } finally {
      clearTimeout(timer);
    }
  }

  private onMessage(data: RawData): void {
    let message: ServerMessage;
    try {
      message = JSON.parse(String(data)) as ServerMessage;
    } catch (cause) {
      this.abort(new TidemarkError('BAD_REQUEST', `${this.where} sent what is not Hrana`, { cause }));
      return;
    }
    switch (message.type) {
      case 'hello_ok':
        this.ready?.resolve();
        this.ready = null;
        return;
      case 'hello_error':
        this.abort(refusal(message.error));
        return;
      case 'response_ok':
        this.take(message.request_id)?.resolve(message.response);
        return;
      case 'response_error':
        this.take(message.request_id)?.reject(new HranaResponseError(message.error));
        return;
    }
  }

  private take(requestId: number): Waiting | undefined {
    const waiting = this.waiting.get(requestId);
    this.waiting.delete(requestId);
    return waiting;
  }

  /** The server answered the upgrade with plain HTTP: its body says why. */
  private async onRefused(response: NodeJS.ReadableStream & { statusCode?: number }): Promise<void> {
    let body = '';
    try {
      for await (const chunk of response) body += String(chunk);
    } catch {
      // The status alone has to do.
    }
    this.abort(refusalFromHttp(response.statusCode ?? 0, body, this.where));
  }

  private end(reason: Error): void {
    if (this.closedBy !== null) return;
    this.closedBy = reason;
    this.ready?.reject(reason);
    this.ready = null;
    for (const { reject } of this.waiting.values()) reject(reason);
    this.waiting.clear();
  }

  private unreachable(why: string, cause?: unknown): TidemarkError {
    return new TidemarkError('UNAVAILABLE', `no compute node answers at ${this.where} (${why})`, {
      cause,
      nextStep: 'Start a cluster with `tidemark up`, or name the URL of a running one.',
    });
  }

  private lost(code: number, reason: string): TidemarkError {
    const said = reason === '' ? `code ${code}` : `${reason}, code ${code}`;
    return new TidemarkError('UNAVAILABLE', `the connection to ${this.where} was closed (${said})`, {
      nextStep: 'The outcome of a statement that was running is not known; look before running it again.',
    });
  }
}

/** An HTTP error body of the server, `{code, message, nextStep}` where it is ours. */
export function refusalFromHttp(status: number, body: string, where: string): TidemarkError {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed)
      return refusal(parsed as HranaError);
  } catch {
    // Not ours; say what is known.
  }
  return new TidemarkError('UNAVAILABLE', `${where} answered with HTTP status ${status}`, {
    nextStep: 'Is that URL a Tidemark compute node?',
  });
}

function refusal(error: HranaError & { readonly nextStep?: string }): TidemarkError {
  const nextStep = error.nextStep ?? error.next_step ?? undefined;
  return new TidemarkError((error.code ?? 'UNAVAILABLE') as TidemarkError['code'], error.message, {
    ...(nextStep === undefined ? {} : { nextStep }),
  });
}

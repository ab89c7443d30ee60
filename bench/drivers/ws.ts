/**
 * A Hrana 3 client over WebSocket as lean as can be, because it shares the machine with what it measures: raw frames on a socket, requests
 * written as ready-made JSON text, responses looked at no more than needed. One request at a time on each connection.
 */
import { randomBytes } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import type { Socket } from 'node:net';
import { TidemarkError } from '../../src/base/errors.ts';

export interface WsTarget {
  /** `http://host:port`; this driver speaks no TLS. */
  readonly httpOrigin: string;
  readonly volume: string;
  readonly authToken: string | null;
}

const OK_PREFIX = '{"type":"response_ok"';
const OPCODE_CONTINUATION = 0;
const OPCODE_TEXT = 1;
const OPCODE_CLOSE = 8;
const OPCODE_PING = 9;

interface Waiting {
  readonly resolve: (text: string) => void;
  readonly reject: (error: Error) => void;
}

export class WsConnection {
  bytesReceived = 0;
  bytesSent = 0;
  private readonly socket: Socket;
  private buffered: Buffer = Buffer.alloc(0);
  private fragments: Buffer[] = [];
  private waiting: Waiting | null = null;
  private closedBy: Error | null = null;

  private constructor(socket: Socket) {
    this.socket = socket;
  }

  static async open(target: WsTarget): Promise<WsConnection> {
    const connection = new WsConnection(await upgrade(target));
    connection.listen();
    const hello = await connection.send(JSON.stringify({ type: 'hello', jwt: target.authToken }));
    if (!hello.startsWith('{"type":"hello_ok"')) throw refused(hello);
    await connection.request('{"type":"open_stream","stream_id":1}');
    return connection;
  }

  /** `request`: the JSON of one request. The response's JSON, or a TidemarkError when it is an error. */
  async request(request: string): Promise<string> {
    const response = await this.send(`{"type":"request","request_id":1,"request":${request}}`);
    if (!response.startsWith(OK_PREFIX)) throw refused(response);
    return response;
  }

  /** Runs one statement without arguments, for setting things up. Its rows as Hrana has them. */
  async execute(sql: string): Promise<readonly (readonly { readonly value?: string | number }[])[]> {
    const response = await this.request(
      JSON.stringify({ type: 'execute', stream_id: 1, stmt: { sql, want_rows: true } }),
    );
    const parsed = JSON.parse(response) as {
      readonly response: {
        readonly result: { readonly rows: readonly (readonly { value?: string | number }[])[] };
      };
    };
    return parsed.response.result.rows;
  }

  close(): void {
    this.fail(new TidemarkError('UNAVAILABLE', 'closed'));
    this.socket.destroy();
  }

  private send(text: string): Promise<string> {
    if (this.closedBy !== null) return Promise.reject(this.closedBy);
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      const frame = textFrame(text);
      this.bytesSent += frame.length;
      this.socket.write(frame);
    });
  }

  private listen(): void {
    this.socket.setNoDelay(true);
    this.socket.on('data', (chunk: Buffer) => this.onData(chunk));
    this.socket.on('error', (cause) => this.fail(lost(cause)));
    this.socket.on('close', () => this.fail(lost()));
  }

  private onData(chunk: Buffer): void {
    this.bytesReceived += chunk.length;
    this.buffered = this.buffered.length === 0 ? chunk : Buffer.concat([this.buffered, chunk]);
    for (;;) {
      const frame = readFrame(this.buffered);
      if (frame === null) return;
      this.buffered = this.buffered.subarray(frame.end);
      this.onFrame(frame);
    }
  }

  private onFrame(frame: Frame): void {
    switch (frame.opcode) {
      case OPCODE_TEXT:
      case OPCODE_CONTINUATION: {
        if (frame.isFinal && this.fragments.length === 0) {
          this.deliver(frame.payload.toString('utf8'));
          return;
        }
        this.fragments.push(Buffer.from(frame.payload));
        if (!frame.isFinal) return;
        const text = Buffer.concat(this.fragments).toString('utf8');
        this.fragments = [];
        this.deliver(text);
        return;
      }
      case OPCODE_PING:
        this.socket.write(maskedFrame(10, frame.payload));
        return;
      case OPCODE_CLOSE:
        this.fail(
          new TidemarkError(
            'UNAVAILABLE',
            `the server closed: ${frame.payload.subarray(2).toString('utf8')}`,
          ),
        );
        return;
      default:
        return;
    }
  }

  private deliver(text: string): void {
    const waiting = this.waiting;
    this.waiting = null;
    waiting?.resolve(text);
  }

  private fail(error: Error): void {
    this.closedBy ??= error;
    this.waiting?.reject(error);
    this.waiting = null;
  }
}

interface Frame {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly payload: Buffer;
  readonly end: number;
}

/** Null: not all of it has come. Frames of a server are not masked. */
function readFrame(buffer: Buffer): Frame | null {
  if (buffer.length < 2) return null;
  let length = buffer[1]! & 0x7f;
  let at = 2;
  if (length === 126) {
    if (buffer.length < 4) return null;
    length = buffer.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (buffer.length < 10) return null;
    length = Number(buffer.readBigUInt64BE(2));
    at = 10;
  }
  const end = at + length;
  if (buffer.length < end) return null;
  const first = buffer[0]!;
  return { opcode: first & 0x0f, isFinal: (first & 0x80) !== 0, payload: buffer.subarray(at, end), end };
}

function textFrame(text: string): Buffer {
  return maskedFrame(OPCODE_TEXT, Buffer.from(text, 'utf8'));
}

/** Clients must mask; a mask of zeros is one, and costs nothing. (Masks protect proxies from hostile scripts, of which there are none here.) */
function maskedFrame(opcode: number, payload: Buffer): Buffer {
  const { length } = payload;
  const head = length < 126 ? Buffer.alloc(6) : length < 65_536 ? Buffer.alloc(8) : Buffer.alloc(14);
  head[0] = 0x80 | opcode;
  if (length < 126) head[1] = 0x80 | length;
  else if (length < 65_536) {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(length, 2);
  } else {
    head[1] = 0x80 | 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, payload]);
}

function upgrade(target: WsTarget): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const path = target.volume === 'main' ? '/' : `/${encodeURIComponent(target.volume)}`;
    const request = httpRequest(`${target.httpOrigin}${path}`, {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': randomBytes(16).toString('base64'),
        'sec-websocket-protocol': 'hrana3',
        ...(target.authToken === null ? {} : { authorization: `Bearer ${target.authToken}` }),
      },
    });
    request.on('upgrade', (_response, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      resolve(socket as Socket);
    });
    request.on('response', (response) => {
      response.resume();
      reject(
        new TidemarkError(
          'UNAVAILABLE',
          `${target.httpOrigin} answered ${response.statusCode} to a WebSocket`,
        ),
      );
    });
    request.on('error', (cause) => reject(lost(cause)));
    request.end();
  });
}

function refused(response: string): TidemarkError {
  try {
    const { error } = JSON.parse(response) as { error?: { message?: string; code?: string } };
    return new TidemarkError(
      (error?.code ?? 'INTERNAL') as TidemarkError['code'],
      error?.message ?? response,
    );
  } catch {
    return new TidemarkError('INTERNAL', `the server answered: ${response.slice(0, 200)}`);
  }
}

function lost(cause?: Error): TidemarkError {
  return new TidemarkError(
    'UNAVAILABLE',
    `the connection was lost${cause === undefined ? '' : `: ${cause.message}`}`,
    {
      cause,
    },
  );
}

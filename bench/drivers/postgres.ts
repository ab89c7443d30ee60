/**
 * PostgreSQL's protocol (version 3), as lean as the WebSocket driver: prepared statements with text parameters, a whole transaction in one flight where
 * it is asked for. Trusts the server (`trust` authentication on loopback); one request at a time.
 */
import { connect, type Socket } from 'node:net';

export interface PostgresStatement {
  readonly sql: string;
  readonly args: readonly (string | number)[];
}

const PROTOCOL_3 = 196_608;

export class PostgresConnection {
  private readonly socket: Socket;
  private readonly prepared = new Map<string, string>();
  private rest: Buffer = Buffer.alloc(0);
  private rows = 0;
  private failure: Error | null = null;
  private waiting: {
    readonly resolve: (rows: number) => void;
    readonly reject: (error: Error) => void;
  } | null = null;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.onData(chunk));
    const lost = (): void => this.settle(new Error('PostgreSQL closed the connection'));
    socket.on('error', (error) => this.settle(error));
    socket.on('close', lost);
  }

  static async open(port: number): Promise<PostgresConnection> {
    const socket = connect(port, '127.0.0.1');
    const connection = new PostgresConnection(socket);
    const words = Buffer.from('user\0bench\0database\0postgres\0\0');
    const head = Buffer.alloc(8);
    head.writeInt32BE(8 + words.length, 0);
    head.writeInt32BE(PROTOCOL_3, 4);
    await connection.flight(Buffer.concat([head, words]));
    return connection;
  }

  /** All of them in one flight; the rows of all. */
  execute(statements: readonly PostgresStatement[]): Promise<number> {
    const parts: Buffer[] = [];
    for (const { sql, args } of statements) {
      let name = this.prepared.get(sql);
      if (name === undefined) {
        name = `s${this.prepared.size}`;
        this.prepared.set(sql, name);
        parts.push(message('P', text(name), text(numbered(sql)), int16(0)));
      }
      const values = args.flatMap((arg) => {
        const bytes = Buffer.from(String(arg));
        return [int32(bytes.length), bytes];
      });
      parts.push(message('B', text(''), text(name), int16(0), int16(args.length), ...values, int16(0)));
      parts.push(message('E', text(''), int32(0)));
    }
    parts.push(message('S'));
    return this.flight(Buffer.concat(parts));
  }

  close(): void {
    this.socket.destroy();
  }

  private flight(bytes: Buffer): Promise<number> {
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.rows = 0;
      this.failure = null;
      this.socket.write(bytes);
    });
  }

  private onData(chunk: Buffer): void {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    let at = 0;
    while (this.rest.length - at >= 5) {
      const end = at + 1 + this.rest.readInt32BE(at + 1);
      if (this.rest.length < end) break;
      this.onMessage(this.rest[at]!, this.rest.subarray(at + 5, end));
      at = end;
    }
    this.rest = this.rest.subarray(at);
  }

  private onMessage(kind: number, body: Buffer): void {
    if (kind === 0x44) this.rows += 1;
    else if (kind === 0x45) this.failure ??= new Error(`PostgreSQL: ${errorText(body)}`);
    else if (kind === 0x5a) this.settle(this.failure);
  }

  private settle(error: Error | null): void {
    const waiting = this.waiting;
    this.waiting = null;
    if (error === null) waiting?.resolve(this.rows);
    else waiting?.reject(error);
  }
}

/** `?` → `$1`, `$2` …; texts of benchmarks hold no question marks. */
function numbered(sql: string): string {
  let count = 0;
  return sql.replaceAll('?', () => `$${++count}`);
}

function message(kind: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(5);
  head[0] = kind.charCodeAt(0);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

/** Fields are a letter and a text; `M` is the message. */
function errorText(body: Buffer): string {
  const fields = body.toString('utf8').split('\0');
  return fields.find((field) => field.startsWith('M'))?.slice(1) ?? 'an error';
}

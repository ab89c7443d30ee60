/** etcd's Put over gRPC, as lean as the other drivers: frames written by hand on one HTTP/2 session for all clients, as its own client has it. */
import { type ClientHttp2Session, connect } from 'node:http2';

const HEADERS = {
  ':method': 'POST',
  ':path': '/etcdserverpb.KV/Put',
  'content-type': 'application/grpc',
  te: 'trailers',
};

export class EtcdConnection {
  private readonly session: ClientHttp2Session;

  constructor(port: number) {
    this.session = connect(`http://127.0.0.1:${port}`);
    // Told to the requests that it concerns.
    this.session.on('error', () => undefined);
  }

  put(key: string, value: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const stream = this.session.request(HEADERS);
      let status: unknown;
      const note = (headers: Record<string, unknown>): void => {
        status ??= headers['grpc-status'];
      };
      stream.on('response', note);
      stream.on('trailers', note);
      stream.on('error', reject);
      stream.on('end', () => {
        if (status === '0') resolve();
        else reject(new Error(`etcd answered a put with status ${String(status)}`));
      });
      stream.resume();
      stream.end(frame(key, value));
    });
  }

  close(): void {
    this.session.destroy();
  }
}

/** A gRPC message: not compressed, its length, then PutRequest { bytes key = 1; bytes value = 2 }. */
function frame(key: string, value: string): Buffer {
  const message = Buffer.concat([field(1, key), field(2, value)]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function field(number: number, text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > 127 * 128) throw new RangeError('too long for a benchmark');
  const length = bytes.length < 128 ? [bytes.length] : [0x80 | (bytes.length & 0x7f), bytes.length >> 7];
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
}

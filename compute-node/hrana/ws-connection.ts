/**
 * One WebSocket: Hrana 1 to 3 in JSON. Owns the streams, cursors and stored SQL that its client opened; all end with it.
 *
 * 1. Requests of one stream run in the order of their arrival; answers go out as they are ready.
 * 2. Nothing but `hello` is heard before a hello that was accepted; nothing at all after the conversation was broken.
 * 3. The socket is not read while too much is outstanding, or too much lies unread by the client: memory stays bounded.
 */
import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { type Lsn, NO_LSN } from '../../src/log/lsn.ts';
import type { EngineConnection } from '../engine/api.ts';
import { type Consistency, parseConsistency } from '../session/consistency.ts';
import { reportError, SessionError } from '../session/errors.ts';
import type { Timer } from '../session/scheduler.ts';
import type { SessionStream } from '../session/session-stream.ts';
import { StoredSql } from '../session/stored-sql.ts';
import { connector } from '../session/volume-sessions.ts';
import { type DecodeContext, decodeBatch } from './decode-stmt.ts';
import { encodeError } from './encode-result.ts';
import { asInt32, asObject, asString, asUint32, type JsonObject, parseJson } from './json-read.ts';
import { MalformedError, ProtocolError } from './protocol-error.ts';
import type { ResponseAccount } from './response-budget.ts';
import { noteIfBug, type ServerContext } from './server-context.ts';
import { decodeStreamRequest, type Performed, performStreamRequest } from './stream-request.ts';
import { type HranaVersion, requireVersion } from './version.ts';
import { WsCursor } from './ws-cursor.ts';
import { WsFlow } from './ws-flow.ts';

/** How long a new connection may take to say hello. */
const HELLO_TIMEOUT_MS = 60_000;
/** Longest close reason the protocol allows, in bytes. */
const MAX_CLOSE_REASON_BYTES = 123;

export interface WsConnectionOptions {
  readonly context: ServerContext;
  readonly webSocket: WebSocket;
  /** Under the WebSocket; only asked about its buffer. */
  readonly socket: Duplex;
  readonly version: HranaVersion;
  readonly volume: string;
  /** From the URL; a hello may say otherwise. */
  readonly consistency: Consistency;
  readonly onClosed: () => void;
}

interface StreamEntry {
  readonly stream: SessionStream;
  cursorId: number | null;
}

/** Null: its open_cursor failed. */
type CursorEntry = { readonly cursor: WsCursor | null; readonly streamId: number };

export class WsConnection {
  readonly #context: ServerContext;
  readonly #options: WsConnectionOptions;
  readonly #webSocket: WebSocket;
  readonly #decode: DecodeContext;
  readonly #sqls: StoredSql;
  readonly #streams = new Map<number, StreamEntry | null>();
  readonly #cursors = new Map<number, CursorEntry>();
  readonly #helloTimer: Timer;
  readonly #flow: WsFlow;
  /** One for all streams: a moment is settled by the first, and the client sees one past. */
  readonly #connect: () => Promise<EngineConnection>;
  #status: 'new' | 'greeted' | 'broken' | 'closed' = 'new';
  #consistency: Consistency;
  #seenLsn: Lsn = NO_LSN;

  constructor(options: WsConnectionOptions) {
    const { context, webSocket, version, consistency } = options;
    this.#options = options;
    this.#context = context;
    this.#webSocket = webSocket;
    this.#consistency = consistency;
    this.#connect = connector(context.resolveVolume, options.volume);
    this.#flow = new WsFlow({
      webSocket,
      socket: options.socket,
      limits: context.limits,
      scheduler: context.sessions.scheduler,
    });
    this.#sqls = new StoredSql(context.sessions.limits);
    this.#decode = { version, sqls: this.#sqls, maxConditionDepth: context.limits.maxConditionDepth };
    this.#helloTimer = context.sessions.scheduler.after(HELLO_TIMEOUT_MS, () => {
      if (this.#status === 'new') this.#break(new ProtocolError('no hello came'));
    });
    webSocket.on('message', (data, isBinary) => this.#onMessage(data as Buffer, isBinary));
    webSocket.on('close', () => this.#onClose());
    // What the library finds wrong (frames, UTF-8, size) it closes for itself; 'close' follows.
    webSocket.on('error', (error) => context.logger.log('info', 'a WebSocket failed', { error }));
  }

  /** Called every `pingIntervalMs`. */
  ping(): void {
    this.#flow.ping();
  }

  /** Lets the requests under way finish, until `late`, says that the server goes away, and waits for the end, bounded too. */
  async goAway(late: AbortSignal, handshakeMs: number): Promise<void> {
    if (this.#status === 'closed') return;
    await this.#flow.quiet(late);
    if (this.#webSocket.readyState === WebSocket.CLOSED) return;
    this.#status = 'broken';
    const closed = new Promise<void>((resolve) => this.#webSocket.once('close', () => resolve()));
    const handshake = this.#context.sessions.scheduler.after(handshakeMs, () => this.#webSocket.terminate());
    this.#webSocket.resume();
    this.#webSocket.close(1001, 'the server goes away');
    await closed;
    handshake.cancel();
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (this.#status === 'broken' || this.#status === 'closed') return;
    try {
      if (isBinary) throw new ProtocolError('binary frames carry no JSON', 1003);
      const message = readMessage(data);
      switch (message.type) {
        case 'request':
          this.#onRequest(message, data.length);
          break;
        case 'hello':
          this.#onHello(message);
          break;
        default:
          throw new ProtocolError(
            `${JSON.stringify(message.type)?.slice(0, 40)} is not a type of message`,
            1007,
          );
      }
    } catch (error) {
      this.#break(error);
    }
  }

  #onHello(message: JsonObject): void {
    if (this.#status === 'greeted') requireVersion(this.#decode.version, 2, 'a second hello');
    try {
      if (message.jwt != null && typeof message.jwt !== 'string')
        throw new MalformedError('jwt must be a string');
      this.#context.auth.checkToken(message.jwt as string | null | undefined);
      const { consistency, min_lsn: minLsn } = message;
      if (consistency != null || minLsn != null) this.#consistency = parseConsistency(consistency, minLsn);
    } catch (error) {
      const report = reportError(error);
      this.#send(`{"type":"hello_error","error":${encodeError(report)}}`);
      this.#status = 'broken';
      this.#webSocket.close(1008, report.message.slice(0, MAX_CLOSE_REASON_BYTES));
      return;
    }
    this.#status = 'greeted';
    this.#helloTimer.cancel();
    this.#send('{"type":"hello_ok"}');
  }

  #onRequest(message: JsonObject, bytes: number): void {
    if (this.#status !== 'greeted') throw new ProtocolError('a request came before hello');
    const requestId = message.request_id;
    if (typeof requestId !== 'number' || (requestId | 0) !== requestId) {
      throw new ProtocolError('request_id must be a 32-bit integer', 1007);
    }
    this.#flow.requestBegins(bytes);
    const account = this.#context.budget.account();
    this.#perform(message.request, account).then(
      ({ json, lsn }) => {
        if (lsn > this.#seenLsn) this.#seenLsn = lsn;
        const tail = lsn === NO_LSN ? '}' : `,"lsn":${lsn}}`;
        this.#send(`{"type":"response_ok","request_id":${requestId},"response":${json}${tail}`, account);
        this.#flow.requestEnds(bytes);
      },
      (error: unknown) => {
        account.release();
        if (error instanceof ProtocolError) {
          this.#break(error);
        } else {
          noteIfBug(this.#context, error, 'a WebSocket request');
          this.#send(
            `{"type":"response_error","request_id":${requestId},"error":${encodeError(reportError(error))}}`,
          );
        }
        this.#flow.requestEnds(bytes);
      },
    );
  }

  /** Decodes and takes its place in its stream's order before it first waits. */
  async #perform(json: unknown, account: ResponseAccount): Promise<Performed> {
    const request = asObject(json, 'request');
    const { type } = request;
    switch (type) {
      case 'open_stream':
        return this.#openStream(asInt32(request.stream_id, 'stream_id'));
      case 'close_stream':
        return this.#closeStream(asInt32(request.stream_id, 'stream_id'));
      case 'store_sql':
        requireVersion(this.#decode.version, 2, 'the request store_sql');
        return this.#storeSql(asInt32(request.sql_id, 'sql_id'), asString(request.sql, 'sql'));
      case 'close_sql':
        requireVersion(this.#decode.version, 2, 'the request close_sql');
        this.#sqls.close(asInt32(request.sql_id, 'sql_id'));
        return CLOSED_SQL;
      case 'open_cursor':
        requireVersion(this.#decode.version, 3, 'the request open_cursor');
        return this.#openCursor(
          asInt32(request.stream_id, 'stream_id'),
          asInt32(request.cursor_id, 'cursor_id'),
          request.batch,
        );
      case 'fetch_cursor':
        requireVersion(this.#decode.version, 3, 'the request fetch_cursor');
        return this.#fetchCursor(
          asInt32(request.cursor_id, 'cursor_id'),
          asUint32(request.max_count, 'max_count'),
        );
      case 'close_cursor':
        requireVersion(this.#decode.version, 3, 'the request close_cursor');
        return this.#closeCursor(asInt32(request.cursor_id, 'cursor_id'));
    }
    const decoded = decodeStreamRequest(type, request, this.#decode);
    if (decoded === null) {
      throw new ProtocolError(`${JSON.stringify(type)?.slice(0, 40)} is not a type of request`, 1007);
    }
    const { stream } = this.#openedStream(asInt32(request.stream_id, 'stream_id'));
    return performStreamRequest(stream, decoded, {
      consistency: this.#currentConsistency(),
      account,
      maxResponseBytes: this.#context.limits.maxResponseBytes,
      // A program starts only while the client takes its answers.
      beforeStart: () => this.#flow.untilTaken(stream.stallLimitMs),
    });
  }

  /** `session` means the whole connection: what any of its streams has seen. */
  #currentConsistency(): Consistency {
    const consistency = this.#consistency;
    if (consistency.level !== 'session' || this.#seenLsn <= consistency.minLsn) return consistency;
    this.#consistency = { level: 'session', minLsn: this.#seenLsn };
    return this.#consistency;
  }

  // Streams.

  async #openStream(id: number): Promise<Performed> {
    if (this.#streams.has(id)) throw new ProtocolError(`stream_id ${id} is in use already`);
    // Even when it fails the id is taken, until close_stream.
    this.#streams.set(id, null);
    const stream = this.#context.sessions.open(this.#connect);
    this.#streams.set(id, { stream, cursorId: null });
    await stream.open();
    return OPENED_STREAM;
  }

  async #closeStream(id: number): Promise<Performed> {
    const entry = this.#streams.get(id);
    if (entry === undefined) throw new ProtocolError(`there is no stream ${id}`);
    this.#streams.delete(id);
    if (entry !== null) {
      if (entry.cursorId !== null) this.#dropCursor(entry.cursorId);
      await entry.stream.closeInOrder();
    }
    return CLOSED_STREAM;
  }

  #openedStream(id: number): StreamEntry {
    const entry = this.#streams.get(id);
    if (entry === undefined) throw new ProtocolError(`there is no stream ${id}`);
    if (entry === null) {
      throw new SessionError('STREAM_CLOSED', `stream ${id} failed to open`, 'close it and open another one');
    }
    return entry;
  }

  // Stored SQL.

  #storeSql(id: number, sql: string): Performed {
    if (this.#sqls.has(id)) throw new ProtocolError(`sql_id ${id} is in use already`);
    this.#sqls.store(id, sql);
    return STORED_SQL;
  }

  // Cursors.

  async #openCursor(streamId: number, cursorId: number, batch: unknown): Promise<Performed> {
    const entry = this.#openedStream(streamId);
    if (entry.cursorId !== null) throw new ProtocolError(`stream ${streamId} has an open cursor already`);
    if (this.#cursors.has(cursorId)) throw new ProtocolError(`cursor_id ${cursorId} is in use already`);
    // Even when it fails the id is taken, until close_cursor.
    this.#cursors.set(cursorId, { cursor: null, streamId });
    const steps = decodeBatch(batch, this.#decode);
    const cursor = new WsCursor({
      stream: entry.stream,
      scheduler: this.#context.sessions.scheduler,
      bufferBytes: this.#context.limits.cursorBufferBytes,
      onBug: (error) => noteIfBug(this.#context, error, 'a cursor'),
    });
    this.#cursors.set(cursorId, { cursor, streamId });
    entry.cursorId = cursorId;
    await cursor.open(steps, this.#currentConsistency());
    return OPENED_CURSOR;
  }

  async #fetchCursor(cursorId: number, maxCount: number): Promise<Performed> {
    const entry = this.#cursors.get(cursorId);
    if (entry === undefined) throw new ProtocolError(`there is no cursor ${cursorId}`);
    if (entry.cursor === null) {
      throw new SessionError(
        'STREAM_CLOSED',
        `cursor ${cursorId} failed to open`,
        'close it and open another one',
      );
    }
    const { entries, done, lsn } = await entry.cursor.fetch(maxCount);
    return { json: `{"type":"fetch_cursor","entries":[${entries}],"done":${done}}`, lsn };
  }

  #closeCursor(cursorId: number): Performed {
    if (!this.#cursors.has(cursorId)) throw new ProtocolError(`there is no cursor ${cursorId}`);
    this.#dropCursor(cursorId);
    return CLOSED_CURSOR;
  }

  #dropCursor(cursorId: number): void {
    const entry = this.#cursors.get(cursorId);
    if (entry === undefined) return;
    this.#cursors.delete(cursorId);
    entry.cursor?.close();
    const owner = this.#streams.get(entry.streamId);
    if (owner != null && owner.cursorId === cursorId) owner.cursorId = null;
  }

  // The socket.

  #send(text: string, account?: ResponseAccount): void {
    if (this.#webSocket.readyState !== WebSocket.OPEN) {
      account?.release();
      return;
    }
    if (account?.isCharged) this.#webSocket.send(text, () => account.release());
    else this.#webSocket.send(text);
    this.#flow.sent();
  }

  /** The conversation is broken (invariant 2). */
  #break(error: unknown): void {
    if (this.#status === 'broken' || this.#status === 'closed') return;
    noteIfBug(this.#context, error, 'a WebSocket message');
    this.#status = 'broken';
    const code =
      error instanceof ProtocolError ? error.closeCode : error instanceof SessionError ? 1008 : 1011;
    this.#webSocket.close(code, closeReason(reportError(error).message));
    this.#endStreams();
  }

  #onClose(): void {
    this.#status = 'closed';
    this.#helloTimer.cancel();
    this.#flow.end();
    this.#endStreams();
    this.#options.onClosed();
  }

  #endStreams(): void {
    for (const { cursor } of this.#cursors.values()) cursor?.close();
    this.#cursors.clear();
    for (const entry of this.#streams.values()) {
      entry?.stream.close().catch((error: unknown) => noteIfBug(this.#context, error, 'closing a stream'));
    }
    this.#streams.clear();
  }
}

const OPENED_STREAM: Performed = { json: '{"type":"open_stream"}', lsn: NO_LSN };
const CLOSED_STREAM: Performed = { json: '{"type":"close_stream"}', lsn: NO_LSN };
const STORED_SQL: Performed = { json: '{"type":"store_sql"}', lsn: NO_LSN };
const CLOSED_SQL: Performed = { json: '{"type":"close_sql"}', lsn: NO_LSN };
const OPENED_CURSOR: Performed = { json: '{"type":"open_cursor"}', lsn: NO_LSN };
const CLOSED_CURSOR: Performed = { json: '{"type":"close_cursor"}', lsn: NO_LSN };

function readMessage(data: Buffer): JsonObject {
  try {
    return parseJson(data.toString());
  } catch (error) {
    throw new ProtocolError((error as Error).message, 1007);
  }
}

function closeReason(message: string): string {
  let reason = message;
  while (Buffer.byteLength(reason) > MAX_CLOSE_REASON_BYTES) reason = reason.slice(0, -1);
  return reason;
}

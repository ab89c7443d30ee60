/**
 * The calls of one take-over attempt: unary ones with a deadline each, recovery's appends on a stream per node of its own. Every call is
 * answered to the core exactly once, `unanswered` included; after `close` none is.
 *
 * A stream's replies name volume and PG, not the message they answer. The core has one append per (node, PG) under way, and a stream
 * on which one was given up is closed, so a reply can only belong to the one that waits.
 */
import { assertNever } from '../../src/base/assert.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { Timer, Timers } from '../../src/env/env.ts';
import type { ClientStream, StorageNodeClient } from '../../src/env/transport.ts';
import type { NodeId, PgIndex } from '../../src/log/lsn.ts';
import type { AppendReply, AppendRequest, StorageNodeMethods } from '../../src/messages/messages.ts';
import type { CallEvent, OutgoingCall, TakeOverMethod } from '../volume/take-over-calls.ts';
import type { StorageNodeClients } from './registers.ts';

/** A fence, a register step: one journal write. An install may be held for a lease term, twice over when the node has just started. */
const TIMEOUT_MS: Readonly<Record<TakeOverMethod, number>> = {
  append: 5_000,
  fence: 3_000,
  install: 5_000,
  inventory: 5_000,
  pullRecords: 5_000,
  registerAccept: 2_000,
  registerPrepare: 2_000,
};

export class TakeOverCalls {
  readonly #clients: StorageNodeClients;
  readonly #timers: Timers;
  readonly #onEvent: (event: CallEvent) => void;
  readonly #lanes = new Map<NodeId, AppendLane>();
  #isClosed = false;

  constructor(clients: StorageNodeClients, timers: Timers, onEvent: (event: CallEvent) => void) {
    this.#clients = clients;
    this.#timers = timers;
    this.#onEvent = onEvent;
  }

  send(call: OutgoingCall): void {
    const client = this.#clients.get(call.node);
    const onBody = (body: StorageNodeMethods[TakeOverMethod]['reply']) =>
      this.#answer({ kind: 'answered', token: call.token, body });
    const onProblem = (problem: unknown) => {
      const message = problem instanceof Error ? problem.message : String(problem);
      this.#answer({ kind: 'unanswered', token: call.token, message });
    };
    if (client === undefined) {
      queueMicrotask(() => onProblem('it is not among the configured storage nodes'));
    } else if (call.method === 'append') {
      this.#laneTo(client).append(call.body, onBody, onProblem);
    } else {
      callUnary(client, call).then(onBody, onProblem);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const lane of this.#lanes.values()) lane.close();
    this.#lanes.clear();
  }

  #answer(event: CallEvent): void {
    if (!this.#isClosed) this.#onEvent(event);
  }

  #laneTo(client: StorageNodeClient): AppendLane {
    const known = this.#lanes.get(client.nodeId);
    if (known !== undefined && !known.isClosed) return known;
    const lane = new AppendLane(client, this.#timers);
    this.#lanes.set(client.nodeId, lane);
    return lane;
  }
}

function callUnary(
  client: StorageNodeClient,
  call: Exclude<OutgoingCall, { method: 'append' }>,
): Promise<StorageNodeMethods[TakeOverMethod]['reply']> {
  const options = { timeoutMs: TIMEOUT_MS[call.method] };
  switch (call.method) {
    case 'fence':
      return client.call('fence', call.body, options);
    case 'install':
      return client.call('install', call.body, options);
    case 'inventory':
      return client.call('inventory', call.body, options);
    case 'pullRecords':
      return client.call('pullRecords', call.body, options);
    case 'registerAccept':
      return client.call('registerAccept', call.body, options);
    case 'registerPrepare':
      return client.call('registerPrepare', call.body, options);
    default:
      return assertNever(call, 'take-over call');
  }
}

interface WaitingAppend {
  readonly request: AppendRequest;
  isSent: boolean;
  readonly timer: Timer;
  readonly onBody: (reply: AppendReply) => void;
  readonly onProblem: (problem: unknown) => void;
}

class AppendLane {
  readonly #stream: ClientStream<'append'>;
  readonly #timers: Timers;
  readonly #waiting = new Map<PgIndex, WaitingAppend>();
  isClosed = false;

  constructor(client: StorageNodeClient, timers: Timers) {
    this.#timers = timers;
    this.#stream = client.openStream('append', {
      onUp: () => this.#sendAll(),
      onReply: (reply) => this.#onReply(reply),
      onDown: (reason) => this.#giveUp(reason),
      // At most one append per PG is on its way: there is nothing to hold back.
      onDrain: () => {},
    });
  }

  append(
    request: AppendRequest,
    onBody: (reply: AppendReply) => void,
    onProblem: (problem: unknown) => void,
  ): void {
    const late = new TidemarkError('TIMEOUT', `no answer within ${TIMEOUT_MS.append} ms`);
    const timer = this.#timers.after(TIMEOUT_MS.append, () => this.#giveUp(late));
    this.#waiting.set(request.pg, { request, isSent: false, timer, onBody, onProblem });
    this.#sendAll();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const { timer } of this.#waiting.values()) timer.cancel();
    this.#waiting.clear();
    this.#stream.close();
  }

  #sendAll(): void {
    if (!this.#stream.isUp) return;
    for (const append of this.#waiting.values()) {
      if (append.isSent) continue;
      append.isSent = true;
      this.#stream.send(append.request);
    }
  }

  #onReply(reply: AppendReply): void {
    const append = this.#waiting.get(reply.pg);
    if (append === undefined || append.request.volume !== reply.volume) return;
    this.#waiting.delete(reply.pg);
    append.timer.cancel();
    append.onBody(reply);
  }

  /** Whether what was sent has arrived is unknown, and a late answer must not be taken for a later append's. */
  #giveUp(reason: unknown): void {
    const waiting = [...this.#waiting.values()];
    this.close();
    for (const append of waiting) append.onProblem(reason);
  }
}

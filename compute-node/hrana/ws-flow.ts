/**
 * How much a WebSocket's client may have under way: requests that wait for their answers, answers that it does not take. Past the bounds
 * the socket is not read, and no program is started; a client that is gone, or takes nothing for too long, is cut off.
 */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Scheduler } from '../session/scheduler.ts';
import type { HranaLimits } from './limits.ts';

/** Pings that may pass while a client takes nothing of what is buffered for it. */
const MAX_STALLED_PINGS = 6;

export interface WsFlowOptions {
  readonly webSocket: WebSocket;
  /** Under the WebSocket; only asked when its buffer is empty again. */
  readonly socket: Duplex;
  readonly limits: HranaLimits;
  readonly scheduler: Scheduler;
}

export class WsFlow {
  readonly #options: WsFlowOptions;
  readonly #webSocket: WebSocket;
  #outstanding = 0;
  #outstandingBytes = 0;
  #isDraining = false;
  #isLeaving = false;
  #untilDrained: (() => void)[] = [];
  #onQuiet: (() => void) | null = null;
  #isAlive = true;
  #stalledPings = 0;

  constructor(options: WsFlowOptions) {
    this.#options = options;
    this.#webSocket = options.webSocket;
    this.#webSocket.on('pong', () => {
      this.#isAlive = true;
    });
  }

  requestBegins(bytes: number): void {
    this.#outstanding += 1;
    this.#outstandingBytes += bytes;
    if (this.#hasTooMuch()) this.#webSocket.pause();
  }

  requestEnds(bytes: number): void {
    this.#outstanding -= 1;
    this.#outstandingBytes -= bytes;
    if (this.#outstanding === 0) this.#onQuiet?.();
    this.#readOn();
  }

  /** After something was sent. */
  sent(): void {
    if (this.#isDraining || this.#webSocket.bufferedAmount <= this.#options.limits.maxSocketBufferBytes)
      return;
    this.#isDraining = true;
    this.#webSocket.pause();
    this.#options.socket.once('drain', () => this.#endDraining());
  }

  /** Null: go on. Past `limitMs` the connection is cut off. */
  untilTaken(limitMs: number): Promise<void> | null {
    if (!this.#isDraining) return null;
    return new Promise((resolve) => {
      const stall = this.#options.scheduler.after(limitMs, () => this.#webSocket.terminate());
      this.#untilDrained.push(() => {
        stall.cancel();
        resolve();
      });
    });
  }

  /** Takes no more requests; resolves when none is outstanding, or when `late` says so. */
  async quiet(late: AbortSignal): Promise<void> {
    this.#isLeaving = true;
    this.#webSocket.pause();
    if (this.#outstanding === 0 || late.aborted) return;
    await new Promise<void>((resolve) => {
      this.#onQuiet = resolve;
      late.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** Called every `pingIntervalMs`. A peer that did not answer the last ping is gone. */
  ping(): void {
    if (this.#webSocket.isPaused) {
      // A socket that is not read shows no pongs.
      this.#isAlive = true;
      this.#stalledPings = this.#webSocket.bufferedAmount > 0 ? this.#stalledPings + 1 : 0;
      if (this.#stalledPings > MAX_STALLED_PINGS) this.#webSocket.terminate();
      return;
    }
    this.#stalledPings = 0;
    if (this.#isAlive) {
      this.#isAlive = false;
      this.#webSocket.ping();
    } else {
      this.#webSocket.terminate();
    }
  }

  /** The connection has ended: nothing waits for it any more. */
  end(): void {
    this.#onQuiet?.();
    this.#endDraining();
  }

  #endDraining(): void {
    this.#isDraining = false;
    const waiting = this.#untilDrained;
    this.#untilDrained = [];
    for (const go of waiting) go();
    this.#readOn();
  }

  #hasTooMuch(): boolean {
    const { maxOutstandingRequests, maxOutstandingRequestBytes } = this.#options.limits;
    return (
      this.#isLeaving ||
      this.#isDraining ||
      this.#outstanding >= maxOutstandingRequests ||
      this.#outstandingBytes >= maxOutstandingRequestBytes
    );
  }

  #readOn(): void {
    if (this.#webSocket.isPaused && !this.#hasTooMuch()) this.#webSocket.resume();
  }
}

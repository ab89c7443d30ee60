/**
 * How the take-over's pure parts talk to storage nodes: a call goes out as an effect with a token, its answer comes back as an event
 * with the same token and is given to whoever made the call. No Promise: the driver (or the simulator) owns time and network.
 */
import { assert } from '../../src/base/assert.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { StorageNodeMethods } from '../../src/messages/messages.ts';

/** `append` is one message on a stream and its one answer; the rest are unary. */
export type TakeOverMethod =
  | 'append'
  | 'fence'
  | 'install'
  | 'inventory'
  | 'pullRecords'
  | 'registerAccept'
  | 'registerPrepare';

export type OutgoingCall = {
  readonly [M in TakeOverMethod]: {
    readonly kind: 'call';
    readonly token: number;
    readonly node: NodeId;
    readonly method: M;
    readonly body: StorageNodeMethods[M]['request'];
  };
}[TakeOverMethod];

export type CallOutcome<Body> =
  | { readonly ok: true; readonly body: Body }
  /** Not reached, or no answer in time: whether the node acted on it is unknown. */
  | { readonly ok: false; readonly message: string };

export type CallEvent =
  | {
      readonly kind: 'answered';
      readonly token: number;
      readonly body: StorageNodeMethods[TakeOverMethod]['reply'];
    }
  | { readonly kind: 'unanswered'; readonly token: number; readonly message: string };

export class Calls {
  readonly #waiting = new Map<number, (outcome: CallOutcome<never>) => void>();
  #outgoing: OutgoingCall[] = [];
  #nextToken = 1;
  /** Monotone clock reading of the step under way. */
  nowMs = 0;

  send<M extends TakeOverMethod>(
    node: NodeId,
    method: M,
    body: StorageNodeMethods[M]['request'],
    onOutcome: (outcome: CallOutcome<StorageNodeMethods[M]['reply']>) => void,
  ): void {
    const token = this.#nextToken++;
    this.#waiting.set(token, onOutcome);
    this.#outgoing.push({ kind: 'call', token, node, method, body } as OutgoingCall);
  }

  /** Gives an answer to its caller. One that nobody waits for any more is dropped. */
  deliver(event: CallEvent): void {
    const onOutcome = this.#waiting.get(event.token);
    if (onOutcome === undefined) return;
    this.#waiting.delete(event.token);
    const outcome: CallOutcome<StorageNodeMethods[TakeOverMethod]['reply']> =
      event.kind === 'answered' ? { ok: true, body: event.body } : { ok: false, message: event.message };
    onOutcome(outcome as CallOutcome<never>);
  }

  /** From now on nobody waits for what is still under way. */
  forgetAll(): void {
    this.#waiting.clear();
  }

  takeOutgoing(): readonly OutgoingCall[] {
    const outgoing = this.#outgoing;
    this.#outgoing = [];
    assert(
      outgoing.every((call) => call.token < this.#nextToken),
      'tokens are given out once',
    );
    return outgoing;
  }
}

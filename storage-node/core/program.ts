/**
 * Programs: work of several steps that must wait for the store or a peer, written as pure generators. A program yields what it waits for
 * and is resumed with the answer; the runner turns waits into effects with a token and events with that token into answers. So
 * there is no Promise in the core, and a simulator can put anything between two steps.
 *
 * Between two steps everything may have changed: a program looks again at what it needs.
 */
import { assert } from '../../src/base/assert.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { KvOp, KvRange } from '../../src/env/env.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { CoreEffect, PeerReply, PeerRequest, StoreQuery, StoreResult, Token } from './effects.ts';

export type Wait =
  | { readonly kind: 'query'; readonly queries: readonly StoreQuery[] }
  | { readonly kind: 'write'; readonly ops: readonly KvOp[]; readonly isLasting: boolean }
  /** `isBehindDisk`: it goes out when everything before it is durable: for what tells of the node's own state. */
  | {
      readonly kind: 'call';
      readonly peer: NodeId;
      readonly request: PeerRequest;
      readonly isBehindDisk: boolean;
    };
export type Answer =
  | { readonly kind: 'results'; readonly results: readonly StoreResult[] }
  | { readonly kind: 'written' }
  | { readonly kind: 'reply'; readonly reply: PeerReply }
  | { readonly kind: 'failed'; readonly message: string };

export type Program<Result> = Generator<Wait, Result, Answer>;

export type Entries = readonly { readonly key: Uint8Array; readonly value: Uint8Array }[];

/** Several ranges at once; the answers in the same order. */
export function* readRanges(ranges: readonly KvRange[]): Program<readonly Entries[]> {
  if (ranges.length === 0) return [];
  const answer = yield { kind: 'query', queries: ranges.map((range) => ({ kind: 'range', ...range })) };
  assert(answer.kind === 'results' && answer.results.length === ranges.length, 'a query is answered in full');
  return answer.results.map((result) => {
    assert(result.kind === 'range', 'a range query gives entries');
    return result.entries;
  });
}

export function* readRange(range: KvRange): Program<Entries> {
  const [entries] = yield* readRanges([range]);
  return entries ?? [];
}

/** Background writes: not journaled, atomic, in the store when the program goes on. */
export function* writeStore(ops: readonly KvOp[]): Program<void> {
  if (ops.length === 0) return;
  const answer = yield { kind: 'write', ops, isLasting: false };
  assert(answer.kind === 'written', 'a write is answered by its end');
}

/** As writeStore, but when the program goes on, this and all that was written before survives a crash. */
export function* writeStoreDurably(ops: readonly KvOp[]): Program<void> {
  const answer = yield { kind: 'write', ops, isLasting: true };
  assert(answer.kind === 'written', 'a write is answered by its end');
}

/** The peer's reply; throws UNAVAILABLE when there was none. */
export function* callPeer(
  peer: NodeId,
  request: PeerRequest,
  { isBehindDisk = false } = {},
): Program<PeerReply> {
  const answer = yield { kind: 'call', peer, request, isBehindDisk };
  if (answer.kind === 'failed') throw new TidemarkError('UNAVAILABLE', answer.message);
  assert(answer.kind === 'reply', 'a call is answered by a reply');
  return answer.reply;
}

interface Running {
  readonly program: Program<void>;
}

/** Resumes programs; one per node. A program handles its own errors: what it lets out is a bug or ends the node. */
export class ProgramRunner {
  private readonly emit: (effect: CoreEffect) => void;
  private readonly waiting = new Map<Token, Running>();
  private nextToken: Token = 1;

  constructor(emit: (effect: CoreEffect) => void) {
    this.emit = emit;
  }

  get waitingCount(): number {
    return this.waiting.size;
  }

  run(program: Program<void>): void {
    this.advance({ program }, program.next());
  }

  /** Answers to tokens that are not known are ignored: a driver may report twice. */
  resume(token: Token, answer: Answer): void {
    const running = this.waiting.get(token);
    if (running === undefined) return;
    this.waiting.delete(token);
    this.advance(running, running.program.next(answer));
  }

  private advance(running: Running, step: IteratorResult<Wait, void>): void {
    if (step.done) return;
    const token = this.nextToken++;
    this.waiting.set(token, running);
    const wait = step.value;
    switch (wait.kind) {
      case 'query':
        this.emit({ kind: 'query', token, queries: wait.queries });
        return;
      case 'write':
        this.emit({ kind: 'write', token, ops: wait.ops, isLasting: wait.isLasting });
        return;
      case 'call': {
        const call: CoreEffect = { kind: 'call', token, peer: wait.peer, request: wait.request };
        this.emit(wait.isBehindDisk ? { kind: 'persist', ops: [], whenDurable: [call] } : call);
        return;
      }
    }
  }
}

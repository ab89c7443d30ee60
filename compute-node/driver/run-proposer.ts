/**
 * One run of a pure proposer over the network: its effects become calls with a deadline, the answers its events. Nothing is retried here.
 */
import { assertNever } from '../../src/base/assert.ts';
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import type { StorageNodeClient } from '../../src/env/transport.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { Refusal } from '../../src/messages/messages.ts';
import {
  Proposer,
  type ProposerEffect,
  type ProposerEvent,
  type RegisterOperation,
} from '../../src/register/proposer.ts';

export interface ProposerTarget {
  readonly clients: ReadonlyMap<NodeId, StorageNodeClient>;
  readonly clusterId: string;
  readonly key: string;
  readonly members: readonly NodeId[];
  readonly callTimeoutMs: number;
}

export type ProposerEnd = Extract<ProposerEffect, { kind: 'done' | 'failed' }>;

export interface ProposerRun {
  readonly end: ProposerEnd;
  /** Why nodes did not answer, or refused. */
  readonly problems: ReadonlyMap<NodeId, TidemarkError>;
}

/** A proposer with its calls. `feed` gives it an event and resolves with the end of what that set going. */
export class ProposerSession {
  readonly #target: ProposerTarget;
  readonly #proposer: Proposer;
  #problems = new Map<NodeId, TidemarkError>();
  #onEnd: (run: ProposerRun) => void = () => {};
  #onBug: (error: unknown) => void = () => {};

  constructor(target: ProposerTarget, operation: RegisterOperation) {
    this.#target = target;
    this.#proposer = new Proposer(target.members, operation);
  }

  feed(event: ProposerEvent): Promise<ProposerRun> {
    return new Promise((resolve, reject) => {
      this.#problems = new Map();
      this.#onEnd = resolve;
      this.#onBug = reject;
      this.#step(event);
    });
  }

  #step(event: ProposerEvent): void {
    try {
      for (const effect of this.#proposer.step(event)) this.#execute(effect);
    } catch (error) {
      this.#onBug(error);
    }
  }

  #execute(effect: ProposerEffect): void {
    switch (effect.kind) {
      case 'prepare':
        void this.#prepare(effect);
        return;
      case 'accept':
        void this.#accept(effect);
        return;
      case 'done':
      case 'failed':
        this.#onEnd({ end: effect, problems: this.#problems });
        return;
      default:
        assertNever(effect, 'proposer effect');
    }
  }

  async #prepare({ node, ballot }: Extract<ProposerEffect, { kind: 'prepare' }>): Promise<void> {
    const { clusterId, key, callTimeoutMs } = this.#target;
    try {
      const request = { clusterId, key, ballot };
      const reply = await this.#client(node).call('registerPrepare', request, { timeoutMs: callTimeoutMs });
      this.#noteRefusal(node, reply.refusal);
      this.#step({ kind: 'prepare-reply', node, ballot, reply });
    } catch (error) {
      this.#noteProblem(node, error);
      this.#step({ kind: 'call-failed', node, ballot, version: null });
    }
  }

  async #accept(effect: Extract<ProposerEffect, { kind: 'accept' }>): Promise<void> {
    const { node, ballot, version, value } = effect;
    const { clusterId, key, callTimeoutMs } = this.#target;
    try {
      const request = { clusterId, key, ballot, version, value };
      const reply = await this.#client(node).call('registerAccept', request, { timeoutMs: callTimeoutMs });
      this.#noteRefusal(node, reply.refusal);
      this.#step({ kind: 'accept-reply', node, ballot, version, reply });
    } catch (error) {
      this.#noteProblem(node, error);
      this.#step({ kind: 'call-failed', node, ballot, version });
    }
  }

  #client(node: NodeId): StorageNodeClient {
    const client = this.#target.clients.get(node);
    if (client === undefined) throw new TidemarkError('UNAVAILABLE', `no storage node ${node} is configured`);
    return client;
  }

  #noteRefusal(node: NodeId, refusal: Refusal | null): void {
    if (refusal !== null) this.#problems.set(node, new TidemarkError(refusal.code, refusal.message));
  }

  #noteProblem(node: NodeId, error: unknown): void {
    const problem = isTidemarkError(error)
      ? error
      : new TidemarkError('UNAVAILABLE', String(error), { cause: error });
    this.#problems.set(node, problem);
  }
}

export function runProposer(target: ProposerTarget, operation: RegisterOperation): Promise<ProposerRun> {
  return new ProposerSession(target, operation).feed({ kind: 'start' });
}

/**
 * The two registers a take-over deals with, as proposers (src/register/proposer.ts) over the take-over's own calls.
 *
 * The manifest register is *held*: its ballot is the epoch, and once won it takes version after version until somebody else's promise is
 * met. The retention register belongs to everyone and is only read, with a ballot of our own where the acceptors disagree.
 */
import { assert, assertNever } from '../../src/base/assert.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { type Epoch, compareEpochs } from '../../src/log/epoch.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import {
  decodeMoved,
  movedFrom,
  type RegisterPlace,
  registerKey,
  type VolumeRegister,
} from '../../src/register/place.ts';
import {
  Proposer,
  type ProposerEffect,
  type ProposerEvent,
  type RegisterContent,
  type RegisterOperation,
} from '../../src/register/proposer.ts';
import type { Calls } from './take-over-calls.ts';

/** Pause before acceptors that did not answer are asked again. */
const RETRY_PAUSE_MS = 150;

export interface RegisterContext {
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly calls: Calls;
  readonly onDeposed: (promised: Epoch, by: string) => void;
}

type Failure = Extract<ProposerEffect, { kind: 'failed' }>;

interface Outcomes {
  readonly onDone: (content: RegisterContent) => void;
  readonly onFailed: (failure: Failure) => void;
}

/**
 * The manifest register, won by the epoch: where the name says it is, and on from there as long as a tombstone says that it has moved. The
 * tombstone is committed under our epoch before the new place is asked, so that whoever wrote it can go on nowhere but there.
 */
export class ManifestRegister {
  readonly #context: RegisterContext;
  readonly #volume: VolumeId;
  #place: RegisterPlace;
  #held: HeldRegister;
  /** What a register that has moved begins with. */
  #before: Uint8Array | null = null;

  constructor(context: RegisterContext, volume: VolumeId, place: RegisterPlace) {
    this.#context = context;
    this.#volume = volume;
    this.#place = place;
    this.#held = this.#heldAt(place);
  }

  get place(): RegisterPlace {
    return this.#place;
  }
  /** What the epoch's win showed; its value null: nothing was ever written. Null until that is known. */
  get learned(): { readonly value: Uint8Array | null } | null {
    const { learned } = this.#held;
    if (learned === null || decodeMoved(learned.value) !== null) return null;
    return { value: learned.value ?? this.#before };
  }
  get isCommitted(): boolean {
    return this.learned !== null && this.#held.isCommitted;
  }
  get version(): number {
    return this.#held.version;
  }
  get problem(): string {
    return this.#held.problem;
  }

  decide(): void {
    this.#held.decide();
    const moved = this.#held.isCommitted ? movedFrom(this.#place, this.#held.learned?.value ?? null) : null;
    if (moved === null) return;
    this.#before = moved.value;
    this.#place = moved.place;
    this.#held = this.#heldAt(moved.place);
    this.decide();
  }

  propose(value: Uint8Array): void {
    this.#held.propose(value);
  }

  #heldAt(place: RegisterPlace): HeldRegister {
    return new HeldRegister(this.#context, registerKey('manifest', this.#volume, place), place.members);
  }
}

/** A register at one place, won by the epoch. */
class HeldRegister {
  readonly #context: RegisterContext;
  readonly #key: string;
  readonly #run: (event: ProposerEvent) => void;
  #state: 'new' | 'acquiring' | 'held' | 'proposing' | 'waiting' | 'failed' = 'new';
  #learned: RegisterContent | null = null;
  #version = 0;
  #retryAtMs = 0;
  #problem: TidemarkError | null = null;

  constructor(context: RegisterContext, key: string, members: readonly NodeId[]) {
    this.#context = context;
    this.#key = key;
    this.#run = runProposer(
      context,
      key,
      members,
      { kind: 'acquire', ballot: context.epoch },
      {
        onDone: (content) => {
          this.#learned ??= content;
          this.#version = content.version;
          this.#state = 'held';
        },
        onFailed: (failure) => this.#onFailed(failure),
      },
    );
  }

  /** What the epoch's win showed, committed; null until then. */
  get learned(): RegisterContent | null {
    return this.#learned;
  }
  /** Won, and nothing of ours is on its way. */
  get isCommitted(): boolean {
    return this.#state === 'held';
  }
  /** Of the value committed last. */
  get version(): number {
    return this.#version;
  }
  get problem(): string {
    return this.#problem?.message ?? 'no answer yet';
  }

  /** Starts, and asks again what had no quorum. Throws what no further asking mends. */
  decide(): void {
    if (this.#state === 'new') {
      this.#state = 'acquiring';
      this.#run({ kind: 'start' });
    } else if (this.#state === 'waiting' && this.#context.calls.nowMs >= this.#retryAtMs) {
      this.#state = 'proposing';
      this.#run({ kind: 'retry' });
    } else if (this.#state === 'failed' && this.#problem !== null) {
      throw this.#problem;
    }
  }

  propose(value: Uint8Array): void {
    assert(this.#state === 'held', `proposed a manifest while ${this.#state}`);
    this.#state = 'proposing';
    this.#run({ kind: 'propose', value });
  }

  #onFailed({ code, promised, message }: Failure): void {
    const isProposal = this.#state === 'proposing';
    this.#state = 'failed';
    if (code === 'STALE_EPOCH' && promised !== null && compareEpochs(promised, this.#context.epoch) > 0) {
      this.#context.onDeposed(promised, 'its manifest register');
    } else if (isProposal && code !== 'CORRUPT') {
      this.#state = 'waiting';
      this.#retryAtMs = this.#context.calls.nowMs + RETRY_PAUSE_MS;
    }
    this.#problem = registerError(this.#key, code, message);
  }
}

/** Reads a volume's register that others may be changing, or moving; goes on until it knows a committed value. */
export class RegisterReader {
  readonly #context: RegisterContext;
  readonly #register: VolumeRegister;
  readonly #volume: VolumeId;
  #place: RegisterPlace;
  /** What a register that has moved begins with. */
  #before: Uint8Array | null = null;
  #attempts = 0;
  /** Number of the highest ballot that stood in the way. */
  #highest = 0;
  #isReading = false;
  #nextAtMs = 0;
  #problem: TidemarkError | null = null;
  /** Committed (version 0: nothing ever was); null while not known. */
  result: RegisterContent | null = null;

  constructor(context: RegisterContext, register: VolumeRegister, volume: VolumeId, place: RegisterPlace) {
    this.#context = context;
    this.#register = register;
    this.#volume = volume;
    this.#place = place;
  }

  get problem(): string {
    return this.#problem?.message ?? 'no answer yet';
  }

  decide(): void {
    if (this.result !== null || this.#isReading || this.#context.calls.nowMs < this.#nextAtMs) return;
    this.#isReading = true;
    this.#attempts += 1;
    const key = registerKey(this.#register, this.#volume, this.#place);
    const run = runProposer(
      this.#context,
      key,
      this.#place.members,
      { kind: 'read', ballot: this.#nextBallot() },
      {
        onDone: (content) => this.#onRead(content),
        onFailed: ({ code, promised, message }) => {
          this.#isReading = false;
          this.#highest = Math.max(this.#highest, promised?.number ?? 0);
          this.#nextAtMs = this.#context.calls.nowMs + RETRY_PAUSE_MS;
          this.#problem = registerError(key, code, message);
        },
      },
    );
    run({ kind: 'start' });
  }

  #onRead(content: RegisterContent): void {
    const moved = movedFrom(this.#place, content.value);
    if (moved === null) {
      this.result = { ...content, value: content.value ?? this.#before };
      return;
    }
    this.#before = moved.value;
    this.#place = moved.place;
    this.#isReading = false;
  }

  /** A ballot is never used twice: the epoch's random id, and the count of attempts under it. */
  #nextBallot(): Epoch {
    const { epoch } = this.#context;
    return {
      number: Math.max(epoch.number, this.#highest + 1),
      writerId: `${epoch.writerId}.${this.#attempts}`,
    };
  }
}

/** Drives one proposer over the calls; the function returned feeds it events. */
function runProposer(
  context: RegisterContext,
  key: string,
  members: readonly NodeId[],
  operation: RegisterOperation,
  outcomes: Outcomes,
): (event: ProposerEvent) => void {
  const { calls, clusterId } = context;
  const proposer = new Proposer(members, operation);
  const step = (event: ProposerEvent): void => {
    for (const effect of proposer.step(event)) execute(effect);
  };
  const execute = (effect: ProposerEffect): void => {
    switch (effect.kind) {
      case 'prepare': {
        const { node, ballot } = effect;
        calls.send(node, 'registerPrepare', { clusterId, key, ballot }, (outcome) =>
          step(
            outcome.ok
              ? { kind: 'prepare-reply', node, ballot, reply: outcome.body }
              : { kind: 'call-failed', node, ballot, version: null },
          ),
        );
        return;
      }
      case 'accept': {
        const { node, ballot, version, value } = effect;
        calls.send(node, 'registerAccept', { clusterId, key, ballot, version, value }, (outcome) =>
          step(
            outcome.ok
              ? { kind: 'accept-reply', node, ballot, version, reply: outcome.body }
              : { kind: 'call-failed', node, ballot, version },
          ),
        );
        return;
      }
      case 'done':
        outcomes.onDone(effect.content);
        return;
      case 'failed':
        outcomes.onFailed(effect);
        return;
      default:
        assertNever(effect, 'proposer effect');
    }
  };
  return step;
}

function registerError(key: string, code: Failure['code'], message: string): TidemarkError {
  if (code === 'CORRUPT') {
    return new TidemarkError('CORRUPT', `register ${key}: ${message}`, {
      nextStep: 'Keep the data directories of the storage nodes as they are and report this.',
    });
  }
  return new TidemarkError('NO_QUORUM', `register ${key}: ${message}`, {
    nextStep: 'Start the storage nodes that did not answer, or check the network to them, then try again.',
  });
}

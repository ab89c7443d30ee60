/**
 * Taking over a volume (design section 6): how a compute node becomes its writer after a start, a crash or a failover. Always the same
 * six steps: win the epoch, fence, compute, re-replicate, commit, install. Pure: `step(event, now)` returns what to send; after every event
 * one decision function looks at the whole state.
 *
 * Invariants
 * 1. Nothing is sent to a segment before the epoch was won at the manifest register and the manifest learned there is committed.
 * 2. Nothing is cut before the manifest that cuts it is committed: a take-over that dies half-way leaves nothing to guess.
 * 3. That manifest is computed once, from reports that allowed a verdict (take-over-compute.ts), after every record up to the verdict's
 *    VDL was at four segments of its PG.
 * 4. Success is told only when four segments of every PG have installed it.
 * 5. Any proof of a higher epoch ends the take-over: DEPOSED. It never raises its own number; the driver starts a new one.
 * 6. A volume whose retention register, read after the epoch was won, says dropped is never opened.
 */
import { assertNever } from '../../src/base/assert.ts';
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import { DEFAULT_WINDOW_MS } from '../../src/base/limits.ts';
import type { Crc32, Now } from '../../src/env/env.ts';
import { type Epoch, compareEpochs, formatEpoch } from '../../src/log/epoch.ts';
import { NO_LSN, type VolumeId, toLsn } from '../../src/log/lsn.ts';
import { decodeManifest, decodeRetention, encodeManifest } from '../../src/register/codec.ts';
import { placeOf } from '../../src/register/place.ts';
import {
  type ClusterValue,
  type ManifestValue,
  type NameValue,
  REGISTER_FORMAT,
  type RetentionValue,
} from '../../src/register/values.ts';
import { isKept } from '../../src/timeline/kept.ts';
import { headRun } from '../../src/timeline/visibility.ts';
import { type CallEvent, Calls, type OutgoingCall } from './take-over-calls.ts';
import { type DurableLog, type Shortage, type Verdict, computeDurable } from './take-over-compute.ts';
import { Fencing } from './take-over-fence.ts';
import { Installing } from './take-over-install.ts';
import { isOrigin, type NewTerm, nextManifest } from './take-over-manifest.ts';
import { ManifestRegister, RegisterReader } from './take-over-register.ts';
import { Replication } from './take-over-replicate.ts';
import { StampProbe } from './take-over-stamp.ts';
import type { TakenOver } from './taken-over.ts';

export interface TakeOverOptions {
  readonly name: NameValue & { readonly volume: VolumeId };
  readonly cluster: ClusterValue;
  /** Fresh and random for this attempt; above every epoch seen so far. */
  readonly epoch: Epoch;
  /** What a volume starts from whose manifest register was never written. */
  readonly origin: ManifestValue;
  /** Backtrack: the new run goes on from this point of the volume; null: from its newest commit. */
  readonly rewindTo: NewTerm['rewindTo'];
  readonly crc32: Crc32;
  /** How long storage nodes are waited for before the take-over gives up. */
  readonly timeoutMs: number;
}

export type TakeOverEvent = CallEvent | { readonly kind: 'start' } | { readonly kind: 'tick' };

export type TakeOverOutcome =
  | { readonly kind: 'done'; readonly takenOver: TakenOver }
  /** `promised`: the higher epoch that proves DEPOSED, else null. */
  | { readonly kind: 'failed'; readonly error: TidemarkError; readonly promised: Epoch | null };

export type TakeOverEffect = OutgoingCall | TakeOverOutcome;

/** Step 5: what is proposed to the manifest register, and why. */
interface NextTerm {
  readonly manifest: ManifestValue;
  readonly log: DurableLog;
  readonly retention: RetentionValue;
}

export class TakeOver {
  readonly #options: TakeOverOptions;
  readonly #calls = new Calls();
  readonly #context;
  readonly #register: ManifestRegister;
  readonly #retention: RegisterReader;
  #wallMicros = 0;
  #deadlineMs = Number.POSITIVE_INFINITY;
  #outcome: TakeOverOutcome | null = null;

  /** What everything goes by: learned at the register, or adopted from a segment that had a newer one installed. */
  #base: ManifestValue | null = null;
  #fencing: Fencing | null = null;
  #replication: Replication | null = null;
  #stamp: StampProbe | null = null;
  #verdict: { readonly reportsVersion: number; readonly value: Verdict } | null = null;
  #next: NextTerm | null = null;
  #installing: Installing | null = null;

  constructor(options: TakeOverOptions) {
    this.#options = options;
    this.#context = {
      clusterId: options.cluster.clusterId,
      epoch: options.epoch,
      crc32: options.crc32,
      calls: this.#calls,
      onDeposed: (promised: Epoch, by: string) => this.#onDeposed(promised, by),
    };
    const { volume } = options.name;
    const place = placeOf(options.name);
    this.#register = new ManifestRegister(this.#context, volume, place);
    this.#retention = new RegisterReader(this.#context, 'retention', volume, place);
  }

  get isFinished(): boolean {
    return this.#outcome !== null;
  }

  step(event: TakeOverEvent, now: Now): readonly TakeOverEffect[] {
    if (this.#outcome !== null) return [];
    this.#calls.nowMs = now.monotonicMs;
    this.#wallMicros = now.wallMicros;
    if (event.kind === 'start') this.#deadlineMs = now.monotonicMs + this.#options.timeoutMs;
    else if (event.kind === 'answered' || event.kind === 'unanswered') this.#calls.deliver(event);
    else if (event.kind !== 'tick') assertNever(event, 'take-over event');
    this.#decideOrFail();
    return this.#effects();
  }

  #effects(): readonly TakeOverEffect[] {
    if (this.#outcome === null) return this.#calls.takeOutgoing();
    this.#calls.forgetAll();
    return [this.#outcome];
  }

  #decideOrFail(): void {
    if (this.#outcome !== null) return;
    try {
      this.#decide();
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      this.#outcome ??= { kind: 'failed', error, promised: null };
    }
    if (this.#outcome === null && this.#calls.nowMs >= this.#deadlineMs) {
      this.#outcome = { kind: 'failed', error: this.#whyTooLate(), promised: null };
    }
  }

  /** The six steps, each as far as it goes now. */
  #decide(): void {
    this.#register.decide();
    const { learned } = this.#register;
    if (learned === null) return;
    if (this.#base === null) {
      this.#base = learned.value === null ? this.#options.origin : decodeManifest(learned.value);
      this.#checkBase(this.#base);
    }
    if (!this.#register.isCommitted) return;

    if (this.#next === null) {
      this.#next = this.#decideNext(this.#base);
      if (this.#next !== null) this.#register.propose(encodeManifest(this.#next.manifest));
      return;
    }
    const { manifest, retention } = this.#next;
    this.#installing ??= new Installing(this.#context, manifest, retention);
    const installed = this.#installing.decide();
    if (installed !== null) this.#succeed(this.#next, installed);
  }

  #checkBase(manifest: ManifestValue): void {
    const { volume, name } = this.#options.name;
    if (manifest.volume !== volume || compareEpochs(manifest.epoch, this.#options.epoch) > 0) {
      throw new TidemarkError(
        'CORRUPT',
        `the manifest register of volume ${volume} holds what cannot be its manifest`,
        {
          nextStep:
            'Do not write to this volume; keep the data directories of its storage nodes and report this.',
        },
      );
    }
    if (headRun(manifest.runs).lastLsn !== null && !isOrigin(manifest)) throw dropped(name);
  }

  /** Steps 2 to 4; what to commit once they are through. */
  #decideNext(base: ManifestValue): NextTerm | null {
    this.#fencing ??= new Fencing(this.#context, base);
    this.#replication ??= new Replication(this.#context, base, this.#fencing);
    this.#stamp ??= new StampProbe(this.#context, base, this.#fencing);
    this.#retention.decide();
    this.#fencing.decide();
    const { newerInstalled } = this.#fencing;
    if (newerInstalled !== null) {
      this.#adopt(newerInstalled);
      return null;
    }
    const retention = this.#readRetention();
    const log = this.#compute(base, this.#fencing);
    if (log === null) return null;
    const isReplicated = this.#replication.decide(log);
    const lastCommitTimeMicros = this.#stamp.decide(log);
    if (!isReplicated || lastCommitTimeMicros === null || retention === null) return null;
    const { epoch, cluster, rewindTo } = this.#options;
    if (rewindTo !== null) checkKept(base, rewindTo, retention);
    const found = { vdl: log.vdl, tails: log.tails, lastCommitTimeMicros };
    const term = { epoch, lal: cluster.constants.lal, wallMicros: this.#wallMicros, rewindTo };
    return { manifest: nextManifest(base, found, term), log, retention };
  }

  /** What a segment has installed was committed: it is the truth, although the register did not show it. All is asked anew by it. */
  #adopt(manifest: ManifestValue): void {
    this.#checkBase(manifest);
    this.#base = manifest;
    this.#fencing = null;
    this.#replication = null;
    this.#stamp = null;
    this.#verdict = null;
    this.#register.propose(encodeManifest(manifest));
  }

  #readRetention(): RetentionValue | null {
    const read = this.#retention.result;
    if (read === null) return null;
    const { volume, name } = this.#options.name;
    if (read.value === null) {
      return {
        format: REGISTER_FORMAT,
        volume,
        floor: NO_LSN,
        windowMs: DEFAULT_WINDOW_MS,
        dropped: false,
        pins: [],
      };
    }
    const retention = decodeRetention(read.value);
    if (retention.dropped) throw dropped(name);
    return retention;
  }

  #compute(base: ManifestValue, fencing: Fencing): DurableLog | null {
    if (this.#verdict?.reportsVersion !== fencing.reportsVersion) {
      const value = computeDurable(base, fencing.reports());
      this.#verdict = { reportsVersion: fencing.reportsVersion, value };
    }
    const { value } = this.#verdict;
    if (value.kind === 'durable') return value;
    if (value.shortages.some((shortage) => shortage.kind === 'conflict'))
      throw this.#dataAtRisk(value.shortages);
    return null;
  }

  #succeed(next: NextTerm, installed: TakenOver['installed']): void {
    const head = headRun(next.manifest.runs);
    this.#outcome = {
      kind: 'done',
      takenOver: {
        name: this.#options.name,
        epoch: this.#options.epoch,
        manifest: next.manifest,
        manifestVersion: this.#register.version,
        registerPlace: this.#register.place,
        retention: next.retention,
        vdl: toLsn(head.firstLsn - 1),
        closedAtLsn: next.log.vdl,
        tails: next.log.tails,
        lastCommitTimeMicros: head.lastCommitTimeMicros,
        installed,
      },
    };
  }

  #onDeposed(promised: Epoch, by: string): void {
    const { epoch, name } = this.#options;
    const error = new TidemarkError(
      'DEPOSED',
      `taking over volume '${name.name}' in epoch ${formatEpoch(epoch)} was overtaken: ${by} has promised ${formatEpoch(promised)}`,
      { nextStep: 'Another compute node is taking the volume over; try again in a moment.' },
    );
    this.#outcome ??= { kind: 'failed', error, promised };
  }

  #whyTooLate(): TidemarkError {
    if (this.#register.learned === null || !this.#register.isCommitted) {
      return this.#noQuorum('its manifest register', [this.#register.problem]);
    }
    if (this.#installing !== null) return this.#noQuorum('its segments', this.#installing.problems());
    const problems = this.#fencing?.problems() ?? [];
    const verdict = this.#verdict?.value;
    if (verdict?.kind === 'shortage' && verdict.shortages.every((shortage) => shortage.kind !== 'promises')) {
      return this.#dataAtRisk(verdict.shortages);
    }
    if (verdict?.kind === 'durable' && this.#retention.result === null) {
      return this.#noQuorum('its retention register', [this.#retention.problem]);
    }
    return this.#noQuorum('its segments', problems);
  }

  #noQuorum(what: string, problems: readonly string[]): TidemarkError {
    const { name } = this.#options.name;
    return new TidemarkError(
      'NO_QUORUM',
      `volume '${name}': fewer than four of ${what} answered: ${problems.join('; ')}`,
      {
        nextStep:
          'Start the storage nodes that did not answer, or check the network to them, then try again.',
      },
    );
  }

  #dataAtRisk(shortages: readonly Shortage[]): TidemarkError {
    const { name } = this.#options.name;
    const details = shortages.map(describeShortage).concat(this.#fencing?.problems() ?? []);
    return new TidemarkError(
      'DATA_AT_RISK',
      `volume '${name}' was not opened, and nothing was cut: ${details.join('; ')}`,
      {
        nextStep: 'Bring back the storage nodes that did not answer, with their data, then try again.',
      },
    );
  }
}

function describeShortage(shortage: Shortage): string {
  switch (shortage.kind) {
    case 'promises':
      return `PG ${shortage.pg}: ${shortage.have} of four needed segments promised`;
    case 'inventories':
      return `PG ${shortage.pg}: ${shortage.have} of three needed segments are intact`;
    case 'missing':
    case 'conflict':
      return `${shortage.pg === null ? 'volume' : `PG ${shortage.pg}`}: ${shortage.detail}`;
    default:
      return assertNever(shortage, 'shortage');
  }
}

/** Whether what the point shows is still kept; a segment would refuse to read it otherwise. */
function checkKept(
  manifest: ManifestValue,
  point: NonNullable<NewTerm['rewindTo']>,
  retention: RetentionValue | null,
): void {
  const { runs, volume } = manifest;
  if (retention === null || isKept(runs, retention, { volume, ...point })) return;
  throw new TidemarkError(
    'GONE',
    `LSN ${point.lsn} lies before what is kept of the volume, from LSN ${retention.floor} on`,
    { nextStep: 'Choose a moment within the window, or a snapshot.' },
  );
}

function dropped(name: string): TidemarkError {
  return new TidemarkError('VOLUME_DROPPED', `volume '${name}' was dropped`, {
    nextStep: 'Create a volume under another name, or clone one from a pin that is left.',
  });
}

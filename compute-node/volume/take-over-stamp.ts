/**
 * The commit stamp of the newest durable commit, when no inventory lists it (all that was committed had been reported durable): the
 * record itself is asked for. Time stays monotone over writers by it (design section 7). A stamp that cannot be had is no reason to stay
 * down: then the one known at the head run's opening serves.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import type { Crc32 } from '../../src/env/env.ts';
import { decodeBoxcar } from '../../src/log/codec.ts';
import { type Lsn, NO_LSN, toLsn } from '../../src/log/lsn.ts';
import type { PullRecordsReply } from '../../src/messages/messages.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { admits, headRun } from '../../src/timeline/visibility.ts';
import type { CallOutcome, Calls } from './take-over-calls.ts';
import type { DurableLog } from './take-over-compute.ts';
import type { FencedSegment, Fencing } from './take-over-fence.ts';

/** One that does not answer is asked again after the others. */
const TRIES_PER_SEGMENT = 3;

export interface StampContext {
  readonly clusterId: string;
  readonly crc32: Crc32;
  readonly calls: Calls;
}

export class StampProbe {
  readonly #context: StampContext;
  readonly #manifest: ManifestValue;
  readonly #fencing: Fencing;
  /** How often each segment may still be asked. */
  readonly #triesLeft = new Map<FencedSegment, number>();
  #isAsking = false;
  /** Answers, for the VDL they were asked for. */
  #found: { readonly lsn: Lsn; readonly micros: number } | null = null;

  constructor(context: StampContext, manifest: ManifestValue, fencing: Fencing) {
    this.#context = context;
    this.#manifest = manifest;
    this.#fencing = fencing;
  }

  /** Stamp of the last commit at or before the log's VDL; null while it is being asked for. */
  decide(log: DurableLog): number | null {
    const head = headRun(this.#manifest.runs);
    const known = Math.max(log.lastCommitTimeMicros, head.lastCommitTimeMicros);
    if (log.isLastCommitListed || log.vdl < head.firstLsn) return known;
    if (this.#found?.lsn === log.vdl) return Math.max(known, this.#found.micros);
    if (this.#isAsking) return null;
    const holder = log.tails
      .flatMap((tail, position) => (tail === log.vdl ? this.#fencing.segmentsOf(position) : []))
      .filter((segment) => (segment.promise?.scl ?? NO_LSN) >= log.vdl && this.#triesOf(segment) > 0)
      .sort((a, b) => this.#triesOf(b) - this.#triesOf(a))[0];
    if (holder === undefined) return known;
    this.#ask(holder, log.vdl);
    return null;
  }

  #ask(holder: FencedSegment, lsn: Lsn): void {
    const { calls, clusterId } = this.#context;
    this.#isAsking = true;
    this.#triesLeft.set(holder, this.#triesOf(holder) - 1);
    const request = {
      clusterId,
      volume: this.#manifest.volume,
      pg: holder.pg,
      afterLsn: toLsn(lsn - 1),
      throughLsn: lsn,
      // One chunk comes in any case, and it is the one.
      maxBytes: 1,
      scl: NO_LSN,
      vdl: NO_LSN,
      tail: NO_LSN,
      configVersion: holder.configVersion,
    };
    calls.send(holder.node, 'pullRecords', request, (outcome) => {
      this.#isAsking = false;
      const micros = this.#stampIn(outcome, lsn);
      if (micros !== null) this.#found = { lsn, micros };
      else if (outcome.ok) this.#triesLeft.set(holder, 0);
    });
  }

  #triesOf(segment: FencedSegment): number {
    return this.#triesLeft.get(segment) ?? TRIES_PER_SEGMENT;
  }

  #stampIn(outcome: CallOutcome<PullRecordsReply>, lsn: Lsn): number | null {
    if (!outcome.ok) return null;
    try {
      for (const bytes of outcome.body.boxcars) {
        const boxcar = decodeBoxcar(bytes, this.#context.crc32);
        const record = boxcar.records.find((candidate) => candidate.lsn === lsn && candidate.isCpl);
        const exists =
          boxcar.volume === this.#manifest.volume && admits(this.#manifest.runs, lsn, boxcar.birthEpoch);
        if (record !== undefined && exists) return record.commitTimeMicros;
      }
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
    }
    return null;
  }
}

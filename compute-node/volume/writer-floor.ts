/**
 * How far the history window reaches back (design section 7, "Floor and collection"): the durable LSN at moments of the past, kept in
 * memory by the writer, at most one a second. A new writer knows nothing of the time before it opened: what the volume showed at the window's start is
 * learned from the storage nodes until its own samples cover the window.
 *
 * Invariant: the floor offered is ≤ every LSN that was the VDL at a moment within the window, and ≤ the lowest read point.
 */
import { assert } from '../../src/base/assert.ts';
import type { Lsn } from '../../src/log/lsn.ts';

const MIN_SPACING_MS = 1_000;
/** A long window is sampled more coarsely: the floor then lags by a ten-thousandth of it. */
const MAX_SAMPLES = 10_000;

interface Sample {
  readonly atMs: number;
  readonly lsn: Lsn;
}

export class FloorWindow {
  private samples: Sample[];
  private newest: Sample;
  private readonly openedAtMs: number;

  /** `lsn`: what readers see as the newest at opening. */
  constructor(lsn: Lsn, nowMs: number) {
    this.newest = { atMs: nowMs, lsn };
    this.openedAtMs = nowMs;
    this.samples = [this.newest];
  }

  onDurable(vdl: Lsn, nowMs: number, windowMs: number): void {
    const spacingMs = Math.max(MIN_SPACING_MS, windowMs / MAX_SAMPLES);
    assert(vdl >= this.newest.lsn, `VDL ${vdl} below the sample ${this.newest.lsn}`);
    if (nowMs - this.newest.atMs < spacingMs) return;
    this.newest = { atMs: nowMs, lsn: vdl };
    this.samples.push(this.newest);
  }

  /** Whether that time is known from samples. */
  covers(atMs: number): boolean {
    return atMs >= this.openedAtMs;
  }

  /** What the volume showed at a time before this writer opened it. */
  learn(lsn: Lsn, atMs: number): void {
    assert(!this.covers(atMs), 'learned is only what samples do not tell');
    this.samples = [{ atMs, lsn }, ...this.samples.filter((sample) => sample.atMs >= this.openedAtMs)];
  }

  /** The highest floor that the window and the readers allow. `lowestReadPoint` null: nobody has told, so nothing is let go. */
  floorAt(nowMs: number, windowMs: number, lowestReadPoint: Lsn | null): Lsn | null {
    if (lowestReadPoint === null) return null;
    const startMs = nowMs - windowMs;
    let index = -1;
    while (index + 1 < this.samples.length && this.samples[index + 1]!.atMs <= startMs) index += 1;
    if (index < 0) return null;
    this.samples = this.samples.slice(index);
    return Math.min(this.samples[0]!.lsn, lowestReadPoint) as Lsn;
  }
}

/**
 * Who still reads where, of one volume, as its writer knows (design section 7, "live read points"): its own engine, which tells its lowest
 * whenever that moves, and readers beside it, each of which counts until a time of its own. A reader past its time holds nothing up.
 */
import type { Lsn } from '../../src/log/lsn.ts';

export class LiveReadPoints {
  private ownLowest: Lsn | null = null;
  private readonly held = new Map<string, { readonly lsn: Lsn; readonly untilMs: number }>();

  report(lowest: Lsn): void {
    this.ownLowest = lowest;
  }

  /** `holder` reads at `lsn`; told again, what it says now counts. */
  hold(holder: string, lsn: Lsn, untilMs: number): void {
    this.held.set(holder, { lsn, untilMs });
  }

  /** null: the engine has not told yet, so it may read anywhere. */
  lowest(nowMs: number): Lsn | null {
    if (this.ownLowest === null) return null;
    let lowest = this.ownLowest;
    for (const [holder, { lsn, untilMs }] of [...this.held]) {
      if (untilMs <= nowMs) this.held.delete(holder);
      else if (lsn < lowest) lowest = lsn;
    }
    return lowest;
  }
}

/** What was wanted, and whether it was reached. */

export interface Target {
  readonly name: string;
  readonly wanted: number;
  /** `at-most` for latencies and sizes, `at-least` for rates. */
  readonly is: 'at-most' | 'at-least';
  readonly unit: string;
  /** Null: not measured in this run, which counts as neither. */
  readonly found: number | null;
}

export function isMet(target: Target): boolean | null {
  if (target.found === null) return null;
  return target.is === 'at-most' ? target.found <= target.wanted : target.found >= target.wanted;
}

/** Of two figures, one of which may be missing. */
export function ratio(found: number | null | undefined, to: number | null | undefined): number | null {
  return found == null || to == null || to === 0 ? null : found / to;
}

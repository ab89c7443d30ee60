/** What a checker found broken. */

export interface Violation {
  /** Which promise, as a short fixed name: `lost`, `G-single`, `total`. */
  readonly rule: string;
  /** What was seen, for a reader who has only this line. */
  readonly message: string;
  /** Places in the history's transactions: the evidence. */
  readonly transactions: readonly number[];
}

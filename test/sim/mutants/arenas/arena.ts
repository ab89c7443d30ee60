/** A place where rules are put to the test, one seed at a time. */

export interface Arena {
  /** What went wrong with this seed; nothing when all is well. An assertion in the product is caught by whoever calls. */
  runSeed(seed: number): Promise<readonly string[]>;
}

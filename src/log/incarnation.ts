/**
 * Incarnations: one life of a storage node's process, named `counter.seed`. The counter grows with every start and is kept by the node's guard
 * and by its peers; the seed is random, for two lives that came to the same counter (a node put back to an old disk image).
 */

export function formatIncarnation(counter: number, seed: string): string {
  return `${counter}.${seed}`;
}

/** 0 for what is not of that form: older than any. */
export function incarnationCounter(incarnation: string): number {
  const [counter = ''] = incarnation.split('.', 1);
  return /^[0-9]{1,15}$/.test(counter) ? Number(counter) : 0;
}

/** What no other life shares, also while the counter is not settled yet. */
export function incarnationSeed(incarnation: string): string {
  return incarnation.slice(incarnation.indexOf('.') + 1);
}

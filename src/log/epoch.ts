/**
 * Epochs: one writer's term. (number, writer id), the id fresh and random for every attempt, so that two attempts never
 * share an epoch. Ordered by number, then id. Also the ballots of the registers (src/register).
 */

export interface Epoch {
  readonly number: number;
  readonly writerId: string;
}

/** Below every real epoch: what a node has promised before it promised anything. */
export const NO_EPOCH: Epoch = { number: 0, writerId: '' };

export function compareEpochs(a: Epoch, b: Epoch): number {
  if (a.number !== b.number) return a.number < b.number ? -1 : 1;
  if (a.writerId === b.writerId) return 0;
  return a.writerId < b.writerId ? -1 : 1;
}

export function sameEpoch(a: Epoch, b: Epoch): boolean {
  return a.number === b.number && a.writerId === b.writerId;
}

export function formatEpoch(epoch: Epoch): string {
  return `${epoch.number}.${epoch.writerId}`;
}

/**
 * Volumes that were dropped (design section 7). Their retention register says so, for ever; nobody writes to them again. No writer's heartbeat will
 * tell the storage nodes, so compute nodes do (`tellRetention`), until no node has anything of the volume left.
 *
 * While clones stand on it, a dropped volume's segments stay as they are, for their pins, and take nothing new. With its last pin gone nothing can
 * be read there any more and no pin can come: a tombstone takes the place of each segment, and its data is deleted behind it.
 *
 * Invariants
 * 1. Only a committed retention value that says dropped *and* names no pin lets go of the data.
 * 2. A node that has been told never acknowledges anything for the volume again: with three of six told, its writer has no quorum.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import type { VolumeId } from '../../src/log/lsn.ts';
import type { Refusal } from '../../src/messages/messages.ts';
import { decodeRetention } from '../../src/register/codec.ts';
import type { RetentionValue } from '../../src/register/values.ts';
import type { NodeContext, Request } from './context.ts';
import { bury } from './membership.ts';
import { droppedRefusal, refusal, refusalOf, refuse } from './refusals.ts';
import type { Segment } from './segment.ts';

/** What is left when it is dropped and the last clone has gone. */
export function isOver({ dropped, pins }: Pick<RetentionValue, 'dropped' | 'pins'>): boolean {
  return dropped && pins.length === 0;
}

/** Why nothing of the volume may be promised or acknowledged here any more; null: as far as is known here, it stands. */
export function whyDropped(ctx: NodeContext, volume: VolumeId): Refusal | null {
  return ctx.segments.knownOf(volume).some((segment) => segment.isDropped) ? droppedRefusal(volume) : null;
}

export function onTellRetention(ctx: NodeContext, { to, body }: Request<'tellRetention'>): void {
  let retention: RetentionValue;
  try {
    retention = decodeRetention(body.retention);
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    ctx.reply(to, refuse({ method: 'tellRetention', body }, refusalOf(error), ctx));
    return;
  }
  if (retention.volume !== body.volume) {
    const because = refusal('BAD_REQUEST', `a retention value of ${retention.volume} for ${body.volume}`);
    ctx.reply(to, refuse({ method: 'tellRetention', body }, because, ctx));
    return;
  }
  const bytes = new Uint8Array(body.retention);
  for (const segment of ctx.segments.knownOf(body.volume)) {
    if (segment.left !== null && !segment.left.isBase) continue;
    ctx.persist(segment.learnRetention(retention, bytes), []);
    if (segment.retention !== null && isOver(segment.retention)) letGo(ctx, segment);
  }
  ctx.releaseHeld();
  const kept = ctx.segments.knownOf(body.volume).filter(({ left }) => left === null || left.isBase);
  const reply = { method: 'tellRetention', body: { segments: kept.length, refusal: null } } as const;
  ctx.persist([], [{ to, reply }]);
}

function letGo(ctx: NodeContext, segment: Segment): void {
  ctx.log('info', 'the volume was dropped and no clone needs it', { segment: segment.name });
  bury(ctx, segment, { configVersion: segment.configVersion, isBase: false, isDropped: true });
}

/**
 * Appends: the foreground. Authority first (is this the epoch that was promised and installed here?), then checksums and admission, then
 * durability, and only behind it the answer: the SCL.
 *
 * A take-over's own appends (`recovery`) come before the install of its manifest: they need the promise alone, are admitted by the manifest
 * that is known, and teach no VDL, since that take-over's is not committed yet.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { decodeBoxcar } from '../../src/log/codec.ts';
import { compareEpochs, formatEpoch } from '../../src/log/epoch.ts';
import type { AppendRequest, Refusal } from '../../src/messages/messages.ts';
import type { NodeContext, Request } from './context.ts';
import type { DurableOp, NodeReply } from './effects.ts';
import { configOf, isInstalledAt } from './manifests.ts';
import { whyDropped } from './drops.ts';
import { refusal, refuse, stale } from './refusals.ts';
import type { Segment } from './segment.ts';

export function onAppend(ctx: NodeContext, { to, body }: Request<'append'>): void {
  const refuseWith = (because: Refusal) => ctx.reply(to, refuse({ method: 'append', body }, because, ctx));
  const segment = ctx.segments.get(body.volume, body.pg);
  if (segment === null || segment.isDropped) {
    refuseWith(
      whyDropped(ctx, body.volume) ??
        refusal('NO_SEGMENT', `no segment of ${body.volume}/${body.pg} here; install its manifest first`),
    );
    return;
  }
  const unauthorized = ctx.whyUnsure(segment) ?? whyNoAuthority(segment, body);
  if (unauthorized !== null) {
    refuseWith(unauthorized);
    return;
  }
  const unable = whyUnable(ctx, segment, body);
  if (unable !== null) {
    refuseWith(unable);
    return;
  }

  if (!body.recovery) segment.learnVdl(body.vdl, body.tail);
  const taken = body.boxcar.length === 0 ? [] : take(ctx, segment, body);
  if (!Array.isArray(taken)) {
    if (taken.isOurs) ctx.persist(segment.distrust(taken.because.message), []);
    refuseWith(taken.because);
    return;
  }

  const reply = { to, reply: ackOf(segment, ctx.incarnation, body) };
  if (body.recovery) {
    ctx.persist(taken, [reply]);
    return;
  }
  ctx.persistHeld(taken, reply, {
    segment,
    epoch: body.epoch,
    refused: () => refuse({ method: 'append', body }, stale(segment), ctx),
  });
}

function ackOf(segment: Segment, incarnation: string, { volume, pg, epoch }: AppendRequest): NodeReply {
  const { scl, isHydrated: hydrated, configVersion } = segment;
  return {
    method: 'append',
    body: { volume, pg, epoch, scl, incarnation, refusal: null, hydrated, configVersion },
  };
}

function whyNoAuthority(segment: Segment, body: AppendRequest): Refusal | null {
  const { promised, manifest } = segment;
  const order = compareEpochs(body.epoch, promised);
  if (order < 0) return stale(segment);
  if (order > 0) {
    return refusal(
      'BEHIND',
      `${segment.name} has not promised epoch ${formatEpoch(body.epoch)} yet`,
      promised,
    );
  }
  if (manifest === null)
    return refusal('BEHIND', `${segment.name} has no manifest yet; install one first`, promised);
  if (!body.recovery && !isInstalledAt(manifest.value, body.epoch)) {
    return refusal(
      'BEHIND',
      `epoch ${formatEpoch(body.epoch)} is not installed in ${segment.name} yet`,
      promised,
    );
  }
  return whyWrongConfig(segment, body.configVersion);
}

export function whyWrongConfig(segment: Segment, configVersion: number): Refusal | null {
  const known = segment.manifest === null ? null : configOf(segment.manifest.value, segment.pg);
  if (known === null || configVersion === known.configVersion) return null;
  return configVersion < known.configVersion
    ? refusal('STALE_CONFIG', `${segment.name} has configuration ${known.configVersion}`, segment.promised)
    : refusal('BEHIND', `${segment.name} does not know configuration ${configVersion} yet`, segment.promised);
}

function whyUnable(ctx: NodeContext, segment: Segment, body: AppendRequest): Refusal | null {
  if (segment.quarantine?.kind === 'conflict') {
    return refusal('QUARANTINED', `${segment.name} distrusts itself: ${segment.quarantine.reason}`);
  }
  if (segment.isQuarantined && !body.recovery) {
    return refusal(
      'QUARANTINED',
      `${segment.name} misses records that it acknowledged; its peers supply them`,
    );
  }
  if (body.tail > body.vdl) return refusal('BAD_REQUEST', `tail ${body.tail} above VDL ${body.vdl}`);
  const { held } = segment;
  if (
    !body.recovery &&
    (held.beyondBytes > ctx.limits.maxBeyondGapBytes || held.bytes > ctx.limits.maxUncoalescedBytes)
  ) {
    return refusal(
      'OVERLOADED',
      `${segment.name} has ${held.bytes + held.beyondBytes} bytes that it cannot put away yet`,
    );
  }
  return null;
}

interface Rejected {
  readonly because: Refusal;
  /** What this segment holds is called into question. */
  readonly isOurs: boolean;
}

function take(ctx: NodeContext, segment: Segment, body: AppendRequest): DurableOp[] | Rejected {
  let admission: ReturnType<Segment['sift']>;
  try {
    admission = segment.sift(decodeBoxcar(body.boxcar, ctx.crc32));
  } catch (error) {
    if (!(error instanceof TidemarkError)) throw error;
    return { because: refusal(error.code, error.message), isOurs: false };
  }
  switch (admission.kind) {
    case 'foreign':
      return { because: refusal('BAD_REQUEST', admission.reason), isOurs: false };
    case 'conflict':
      return {
        because: refusal('CORRUPT', `record ${admission.lsn} contradicts what ${segment.name} holds`),
        isOurs: true,
      };
    case 'admitted':
      if (admission.cutCount > 0) {
        return {
          because: refusal('CUT', `${admission.cutCount} of the records are in no run of ${segment.name}`),
          isOurs: false,
        };
      }
      return segment.take(admission, body.boxcar, ctx.now.monotonicMs);
  }
}

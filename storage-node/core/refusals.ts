/** Replies that say no: every method's, with the refusal in it and everything else empty. A refusal reports no SCL. */
import { assertNever } from '../../src/base/assert.ts';
import { type ErrorCode, isTidemarkError } from '../../src/base/errors.ts';
import { type Epoch, formatEpoch } from '../../src/log/epoch.ts';
import { NO_LSN, type NodeId, type VolumeId } from '../../src/log/lsn.ts';
import type { Refusal, ScrubReply } from '../../src/messages/messages.ts';
import type { NodeReply, NodeRequest } from './effects.ts';

const EMPTY = new Uint8Array(0);

export const NO_SCRUB: ScrubReply = {
  running: false,
  checkedPages: 0,
  totalPages: 0,
  checkedBytes: 0,
  totalBytes: 0,
  damagedPages: 0,
  unequalRanges: 0,
  pagesInDoubt: 0,
  startedMicros: 0,
  finishedMicros: 0,
  findings: [],
  refusal: null,
};

export function refusal(code: ErrorCode, message: string, promised: Epoch | null = null): Refusal {
  return { code, message, promised };
}

/** The sender's authority is over: the segment has promised a newer epoch, which the refusal proves. */
export function stale(segment: { readonly name: string; readonly promised: Epoch }): Refusal {
  return refusal(
    'STALE_EPOCH',
    `${segment.name} has promised epoch ${formatEpoch(segment.promised)}`,
    segment.promised,
  );
}

/** Nothing of the volume is taken or promised any more. */
export function droppedRefusal(volume: VolumeId): Refusal {
  return refusal('VOLUME_DROPPED', `volume ${volume} was dropped`);
}

/** What the network or the disk caused; anything else is a bug and goes on up. */
export function refusalOf(error: unknown): Refusal {
  if (!isTidemarkError(error)) throw error;
  return refusal(error.code, error.message);
}

/** Who refuses: part of several replies. */
export interface Refuser {
  readonly incarnation: string;
  readonly options: { readonly nodeId: NodeId };
}

export function refuse(request: NodeRequest, because: Refusal, self: Refuser): NodeReply {
  const { method, body } = request;
  const { incarnation } = self;
  switch (method) {
    case 'append': {
      const { volume, pg, epoch } = body;
      return {
        method,
        body: {
          volume,
          pg,
          epoch,
          scl: NO_LSN,
          incarnation,
          refusal: because,
          hydrated: false,
          configVersion: 0,
        },
      };
    }
    case 'readPages':
      return { method, body: { requestId: body.requestId, pages: [], scl: NO_LSN, refusal: because } };
    case 'heartbeat':
      return {
        method,
        body: {
          sequence: body.sequence,
          incarnation,
          grants: body.volumes.map(({ volume, epoch }) => ({
            volume,
            epoch,
            granted: false,
            pgs: [],
            refusal: because,
          })),
        },
      };
    case 'registerPrepare':
      return {
        method,
        body: {
          promised: false,
          promisedBallot: null,
          acceptedBallot: null,
          acceptedVersion: 0,
          acceptedValue: EMPTY,
          refusal: because,
        },
      };
    case 'registerAccept':
      return { method, body: { accepted: false, promisedBallot: null, refusal: because } };
    case 'registerList':
      return { method, body: { keys: [], refusal: because } };
    case 'registerScan':
      return { method, body: { entries: [], done: false, refusal: because } };
    case 'fence':
      return {
        method,
        body: {
          promised: false,
          promisedEpoch: because.promised,
          incarnation,
          intact: false,
          scl: NO_LSN,
          vdl: NO_LSN,
          tail: NO_LSN,
          watermark: NO_LSN,
          installedEpoch: null,
          installedManifest: EMPTY,
          entryCount: 0,
          refusal: because,
        },
      };
    case 'inventory':
      return { method, body: { entries: [], done: false, refusal: because } };
    case 'install':
      return {
        method,
        body: { installed: false, scl: NO_LSN, incarnation, refusal: because, hydrated: false },
      };
    case 'pullRecords':
      return {
        method,
        body: {
          boxcars: [],
          scl: NO_LSN,
          vdl: NO_LSN,
          tail: NO_LSN,
          manifest: EMPTY,
          refusal: because,
          promisedEpoch: because.promised,
        },
      };
    case 'pullPages':
      return {
        method,
        body: {
          entries: [],
          cursor: null,
          throughLsn: NO_LSN,
          highestPage: 0,
          manifest: EMPTY,
          retention: EMPTY,
          refusal: because,
        },
      };
    case 'exchangeMemory':
      return { method, body: { incarnation, asks: null, recalls: null, refusal: because } };
    case 'findCommit':
      return { method, body: { lsn: NO_LSN, commitTimeMicros: 0, refusal: because } };
    case 'changedPages':
      return { method, body: { pages: [], done: false, refusal: because } };
    case 'digestPages':
      return { method, body: { digest: 0, refusal: because } };
    case 'scrub':
      return { method, body: { ...NO_SCRUB, refusal: because } };
    case 'tellRetention':
      return { method, body: { segments: 0, refusal: because } };
    case 'status':
      return {
        method,
        body: {
          nodeId: self.options.nodeId,
          az: '',
          clusterId: '',
          version: '',
          format: 0,
          incarnation,
          uptimeMs: 0,
          diskBytes: 0,
          memoryBytes: 0,
          segments: [],
          refusal: because,
          lastScrubMicros: 0,
        },
      };
    default:
      return assertNever(method, 'method');
  }
}

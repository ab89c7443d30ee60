/**
 * The seam between the writer's pure core and its driver: events in, effects out. The driver carries effects to the storage nodes and
 * comes back with events; the simulator does the same with a network of its own.
 */
import type { Crc32 } from '../../src/env/env.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import type { Lsn, NodeId, PgIndex } from '../../src/log/lsn.ts';
import type {
  AppendReply,
  AppendRequest,
  HeartbeatGrant,
  InstallReply,
  InstallRequest,
} from '../../src/messages/messages.ts';
import type { ClusterValue } from '../../src/register/values.ts';
import type { TakenOver } from './taken-over.ts';
import type { ManifestProposal } from './writer-manifests.ts';

export interface WriterOptions {
  readonly takenOver: TakenOver;
  /** As it is known when asked: nodes come and go. */
  readonly cluster: () => ClusterValue;
  readonly crc32: Crc32;
  readonly limits?: Partial<WriterLimits>;
}

export interface WriterLimits {
  /** Boxcars of one PG on the way without a quorum; records that come meanwhile form the next batch. */
  readonly maxBoxcarsInFlight: number;
  /** Record bytes of one boxcar. */
  readonly maxBoxcarBytes: number;
  /** Handed over and not yet hardened, over all PGs: past it the engine waits. */
  readonly maxHardeningBytes: number;
  /** Buffered for one node that has not acknowledged them: past it the node is dropped from the live set, or the engine waits. */
  readonly maxUnackedBytesPerNode: number;
  /** Sent to one node and not acknowledged: the rest waits here rather than in the transport. */
  readonly maxInFlightBytesPerNode: number;
  /** Without any progress of VDL for so long, new write transactions are held back. */
  readonly stallMs: number;
  /** A node that took appends and is silent for so long gets them again. */
  readonly resendMs: number;
}

export type WriterEvent =
  /** The turn in which MTRs were handed over is at its end: send what the window lets go. */
  | { readonly kind: 'flush' }
  | { readonly kind: 'node-up'; readonly node: NodeId }
  | { readonly kind: 'node-down'; readonly node: NodeId }
  /** The transport asks to hold / takes more again. */
  | { readonly kind: 'node-full'; readonly node: NodeId }
  | { readonly kind: 'node-drained'; readonly node: NodeId }
  | { readonly kind: 'append-reply'; readonly node: NodeId; readonly reply: AppendReply }
  | {
      readonly kind: 'heartbeat-reply';
      readonly node: NodeId;
      readonly incarnation: string;
      readonly grant: HeartbeatGrant;
    }
  | {
      readonly kind: 'install-reply';
      readonly node: NodeId;
      readonly pg: PgIndex;
      /** Of the manifest that was to be installed. */
      readonly version: number;
      readonly reply: InstallReply;
    }
  | {
      readonly kind: 'install-failed';
      readonly node: NodeId;
      readonly pg: PgIndex;
      readonly version: number;
    }
  | { readonly kind: 'manifest-committed'; readonly version: number }
  /** Not known to be committed; the same value is proposed again. */
  | { readonly kind: 'manifest-failed'; readonly version: number }
  /** The register will take nothing more from this epoch. */
  | { readonly kind: 'manifest-refused'; readonly promised: Epoch }
  /** About every 50 ms. */
  | { readonly kind: 'tick' }
  | { readonly kind: 'close' };

export type WriterEffect =
  | { readonly kind: 'append'; readonly node: NodeId; readonly request: AppendRequest }
  | {
      readonly kind: 'install';
      readonly node: NodeId;
      /** Of the manifest in the request. */
      readonly version: number;
      readonly request: InstallRequest;
    }
  | ({ readonly kind: 'commit-manifest' } & ManifestProposal)
  | { readonly kind: 'durable'; readonly vcl: Lsn; readonly vdl: Lsn }
  | { readonly kind: 'deposed'; readonly by: Epoch; readonly how: string }
  | { readonly kind: 'dropped' }
  | {
      readonly kind: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    };

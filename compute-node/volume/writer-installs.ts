/**
 * The manifest on its way to the segments: each gets the committed one before it gets records under it, and again whenever that may be what it
 * lacks. An answer counts for the version that was asked for last: a late one of an earlier version says nothing of this one.
 */
import type { NodeId, PgIndex } from '../../src/log/lsn.ts';
import { encodeManifest } from '../../src/register/codec.ts';
import type { Lane, NodeLink } from './writer-lane.ts';
import type { VolumeManifests } from './writer-manifests.ts';
import type { Term } from './writer-pg.ts';
import type { WriterEffect } from './writer-types.ts';

type InstallEffect = Extract<WriterEffect, { kind: 'install' }>;

export class Installs {
  private readonly term: Term;
  private readonly manifests: VolumeManifests;
  /** The committed retention value. */
  private retention: Uint8Array;
  private encoded: { readonly version: number; readonly bytes: Uint8Array } | null = null;

  constructor(term: Term, manifests: VolumeManifests, retention: Uint8Array) {
    this.term = term;
    this.manifests = manifests;
    this.retention = retention;
  }

  setRetention(committed: Uint8Array): void {
    this.retention = committed;
  }

  /** What to ask the lane's segment, null when it needs nothing or its PG is not committed yet. */
  request(lane: Lane): InstallEffect | null {
    const pg = lane.pgIndex as PgIndex;
    if (lane.install !== 'needed' || pg >= this.manifests.committedCount) return null;
    lane.install = 'asked';
    lane.installVersion = this.manifests.version;
    return this.effectFor(lane.nodeId, pg);
  }

  /** For a node that has left the PG, so that it knows at once. Nothing depends on its answer. */
  farewell(node: NodeLink, pg: PgIndex): InstallEffect {
    return this.effectFor(node.nodeId, pg);
  }

  /** Whether an answer to `version` is the one that the lane waits for. */
  isAwaited(lane: Lane, version: number): boolean {
    return lane.install === 'asked' && lane.installVersion === version;
  }

  failed(lane: Lane, nowMs: number): void {
    lane.install = 'needed';
    lane.pause(nowMs);
  }

  /** The node has lost, or never had, this term's manifest. */
  again(node: NodeLink, nowMs: number): void {
    for (const lane of node.lanes) if (lane.install === 'done') this.failed(lane, nowMs);
  }

  private effectFor(node: NodeId, pg: PgIndex): InstallEffect {
    const { version, manifest } = this.manifests;
    if (this.encoded?.version !== version) this.encoded = { version, bytes: encodeManifest(manifest) };
    const { clusterId, volume, epoch } = this.term;
    const { bytes } = this.encoded;
    const request = { clusterId, volume, epoch, manifest: bytes, retention: this.retention, pg };
    return { kind: 'install', node, version, request };
  }
}

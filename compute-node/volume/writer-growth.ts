/**
 * How a volume gets new protection groups (design section 9): planned as soon as the highest page comes near the end, proposed as the
 * manifest's next version under the writer's own epoch, usable once that version is committed.
 *
 * Invariants
 * 1. Versions are proposed one after the other; one that may have been accepted anywhere is proposed again with the same value until it is
 *    known committed (an acceptor refuses other bytes under the same ballot and version).
 * 2. committed ≤ proposed ≤ planned, as counts of PGs. Members of a planned PG never change: records already link to it.
 */
import { assert } from '../../src/base/assert.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId, PgIndex } from '../../src/log/lsn.ts';
import type { ClusterNode, ManifestValue, PgConfig } from '../../src/register/values.ts';
import { placeSix } from './placement.ts';

/** A manifest that names so many PGs still fits a message: 80 TiB with PGs of 10 GiB. */
export const MAX_PGS = 8_192;
const RETRY_PAUSE_MS = 250;

export interface ManifestProposal {
  readonly version: number;
  readonly manifest: ManifestValue;
}

export class VolumeGrowth {
  private committedManifest: ManifestValue;
  private committedVersion: number;
  private readonly planned: PgConfig[];
  private readonly nodes: readonly ClusterNode[];
  private readonly loads = new Map<NodeId, number>();
  private proposal: ManifestProposal | null = null;
  private isAsking = false;
  private retryAtMs = 0;

  constructor(manifest: ManifestValue, version: number, nodes: readonly ClusterNode[]) {
    this.committedManifest = manifest;
    this.committedVersion = version;
    this.nodes = nodes;
    this.planned = [...manifest.pgs];
    for (const config of manifest.pgs) this.charge(config.members);
  }

  get manifest(): ManifestValue {
    return this.committedManifest;
  }

  get version(): number {
    return this.committedVersion;
  }

  get committedCount(): number {
    return this.committedManifest.pgs.length;
  }

  get plannedCount(): number {
    return this.planned.length;
  }

  /** PGs that a volume whose highest page is `page` should have: the next one is made when the last is half full. */
  wantedCount(page: number): number {
    const { pgPages } = this.committedManifest;
    return Math.min(MAX_PGS, Math.floor((page - 1 + Math.ceil(pgPages / 2)) / pgPages) + 1);
  }

  checkFits(pg: PgIndex): void {
    if (pg < MAX_PGS) return;
    throw new TidemarkError('TOO_LARGE', `PG ${pg} is beyond the ${MAX_PGS} that a volume can have`, {
      nextStep: 'Create volumes with larger protection groups.',
    });
  }

  /** Decides the members of PGs up to `count` in all; returns the new ones. */
  plan(count: number): readonly PgConfig[] {
    const added: PgConfig[] = [];
    while (this.planned.length < count) {
      const members = placeSix(this.nodes, this.loads);
      const config: PgConfig = {
        pg: this.planned.length as PgIndex,
        configVersion: 1,
        members,
        proposed: null,
      };
      this.planned.push(config);
      this.charge(members);
      added.push(config);
    }
    return added;
  }

  /** The version to propose now, null when none is needed or its answer is awaited. */
  nextProposal(nowMs: number): ManifestProposal | null {
    if (this.isAsking || nowMs < this.retryAtMs) return null;
    if (this.proposal === null) {
      if (this.planned.length === this.committedCount) return null;
      this.proposal = {
        version: this.committedVersion + 1,
        manifest: { ...this.committedManifest, pgs: [...this.planned] },
      };
    }
    this.isAsking = true;
    return this.proposal;
  }

  /** Returns the PGs that became usable. */
  onCommitted(version: number): readonly PgConfig[] {
    const { proposal } = this;
    assert(proposal !== null && proposal.version === version, `manifest version ${version} was not proposed`);
    const before = this.committedCount;
    this.committedManifest = proposal.manifest;
    this.committedVersion = version;
    this.proposal = null;
    this.isAsking = false;
    return this.committedManifest.pgs.slice(before);
  }

  onFailed(version: number, nowMs: number): void {
    if (this.proposal?.version !== version) return;
    this.isAsking = false;
    this.retryAtMs = nowMs + RETRY_PAUSE_MS;
  }

  private charge(members: readonly NodeId[]): void {
    for (const node of members) this.loads.set(node, (this.loads.get(node) ?? 0) + 1);
  }
}

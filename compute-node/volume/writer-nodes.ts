/**
 * The storage nodes that hold segments of a volume, as its writer sees them: whose stream is up, and who holds up more than its share.
 */
import type { NodeId } from '../../src/log/lsn.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { PgConfig } from '../../src/register/values.ts';
import { NodeLink } from './writer-lane.ts';

export class NodeLinks {
  private readonly links = new Map<NodeId, NodeLink>();
  /** Nodes whose streams are up, also those that hold nothing of this volume yet. */
  private readonly upNodes = new Set<NodeId>();
  private readonly maxUnackedBytes: number;

  constructor(maxUnackedBytes: number) {
    this.maxUnackedBytes = maxUnackedBytes;
  }

  get all(): Iterable<NodeLink> {
    return this.links.values();
  }

  get(node: NodeId): NodeLink | undefined {
    return this.links.get(node);
  }

  /** Of all nodes that keep a segment of the PG; made where there was none. */
  of(config: PgConfig): readonly NodeLink[] {
    return QuorumSet.of(config).nodes.map((node) => this.to(node));
  }

  onUp(node: NodeId): NodeLink | undefined {
    this.upNodes.add(node);
    return this.set(node, true);
  }

  onDown(node: NodeId): NodeLink | undefined {
    this.upNodes.delete(node);
    return this.set(node, false);
  }

  /** One that keeps no segment any more is nobody's concern. */
  forgetIfIdle(link: NodeLink): void {
    if (link.lanes.length === 0) this.links.delete(link.nodeId);
  }

  isPastBound(link: NodeLink): boolean {
    return link.unackedBytes > this.maxUnackedBytes;
  }

  /** Some node holds up more than its share and cannot be spared: the engine waits. */
  get isBacklogged(): boolean {
    for (const link of this.links.values()) if (this.isPastBound(link)) return true;
    return false;
  }

  private to(node: NodeId): NodeLink {
    let link = this.links.get(node);
    if (link === undefined) {
      link = new NodeLink(node);
      link.isUp = this.upNodes.has(node);
      this.links.set(node, link);
    }
    return link;
  }

  private set(node: NodeId, isUp: boolean): NodeLink | undefined {
    const link = this.links.get(node);
    if (link === undefined) return undefined;
    link.isUp = isUp;
    link.isFull = false;
    return link;
  }
}

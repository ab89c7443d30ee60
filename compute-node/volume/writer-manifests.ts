/**
 * The versions of a volume's manifest that its writer commits under its own epoch: new protection groups, and changes of members by
 * quorum sets (design section 9). One sequence for both.
 *
 * A change of members has two steps, each a version: the *proposal* names the six that are to follow beside the six that are; its *end*
 * keeps one of the two. In between either end is possible. The register that keeps the manifest moves by a version of its own, too.
 *
 * Invariants
 * 1. Versions are proposed one after the other; one that may have been accepted anywhere is proposed again with the same value until it is
 *    known committed (an acceptor refuses other bytes under the same ballot and version).
 * 2. committed ≤ proposed ≤ planned, as counts of PGs.
 * 3. Whoever counts for a PG is asked of `quorumOf`: both member sets from the moment a change is proposed to anybody until its end is
 *    known committed.
 * 4. Of a PG at most one change is under way, and old and new set share a write quorum: writes go on while the newcomers are filled.
 */
import { assert } from '../../src/base/assert.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId, PgIndex } from '../../src/log/lsn.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { WRITE_QUORUM } from '../../src/quorum/quorum.ts';
import type { RegisterPlace } from '../../src/register/place.ts';
import type { ClusterValue, ManifestValue, PgConfig } from '../../src/register/values.ts';
import { checkMembers } from './placement.ts';
import type { TakenOver } from './taken-over.ts';
import { planPgs } from './writer-growth.ts';

const RETRY_PAUSE_MS = 250;

interface CommittedVersion {
  readonly version: number;
  readonly manifest: ManifestValue;
}

export interface ManifestProposal extends CommittedVersion {
  /** Where the register is. */
  readonly place: RegisterPlace;
  /** Where it goes by this version, the manifest unchanged; null: it stays. */
  readonly moveTo: RegisterPlace | null;
}

export interface CommittedManifest {
  /** PGs that became usable. */
  readonly added: readonly PgConfig[];
  /** PGs whose members change, or have changed. */
  readonly changed: readonly PgConfig[];
}

/** How a change of members is to end. */
export type ChangeEnd = 'keep' | 'revert';

/** What is asked for and stands in no proposal yet. */
type Wish =
  | { readonly kind: 'propose'; readonly proposed: readonly NodeId[] }
  | { readonly kind: 'end'; readonly end: ChangeEnd };

/** A change of one PG's members under way. */
export interface MemberChange {
  readonly pg: PgIndex;
  readonly from: readonly NodeId[];
  readonly to: readonly NodeId[];
  /** proposing: its proposal is not committed yet. filling: the newcomers are being hydrated. ending: how it ends is being committed. */
  readonly phase: 'proposing' | 'filling' | 'ending';
}

/** What the take-over found. */
type Found = Pick<TakenOver, 'manifest' | 'manifestVersion' | 'registerPlace'>;

export class VolumeManifests {
  private committed: CommittedVersion;
  private registerPlace: RegisterPlace;
  private wantedPlace: RegisterPlace | null = null;
  private planned: readonly PgConfig[];
  private readonly cluster: () => ClusterValue;
  private readonly wishes = new Map<PgIndex, Wish>();
  private proposal: ManifestProposal | null = null;
  private isAsking = false;
  private retryAtMs = 0;
  /** By PG; dropped whenever a rule changes. */
  private readonly quorums = new Map<PgIndex, QuorumSet>();

  /** `cluster`: as it is known at the moment it is asked for. */
  constructor({ manifest, manifestVersion, registerPlace }: Found, cluster: () => ClusterValue) {
    this.committed = { version: manifestVersion, manifest };
    this.registerPlace = registerPlace;
    this.planned = manifest.pgs;
    this.cluster = cluster;
  }

  get manifest(): ManifestValue {
    return this.committed.manifest;
  }

  get version(): number {
    return this.committed.version;
  }

  get place(): RegisterPlace {
    return this.registerPlace;
  }

  /** The register goes to other nodes; a generation that it has reached is no place to go to. */
  moveRegister(to: RegisterPlace): void {
    if (to.generation > this.registerPlace.generation) this.wantedPlace = to;
  }

  get committedCount(): number {
    return this.manifest.pgs.length;
  }

  get plannedCount(): number {
    return this.planned.length;
  }

  /** Invariant 3. */
  quorumOf(pg: PgIndex): QuorumSet {
    let quorum = this.quorums.get(pg);
    if (quorum === undefined) {
      quorum = QuorumSet.of(this.ruleOf(pg));
      this.quorums.set(pg, quorum);
    }
    return quorum;
  }

  /** Decides the members of PGs up to `count` in all; returns the new ones. */
  plan(count: number): readonly PgConfig[] {
    const added = planPgs(this.planned, count, this.cluster());
    this.planned = [...this.planned, ...added];
    return added;
  }

  /** The changes of members under way, for whoever ends or shows them. */
  changes(): readonly MemberChange[] {
    const changes: MemberChange[] = [];
    for (const { pg } of this.manifest.pgs) {
      const change = this.changeOf(pg);
      if (change !== null) changes.push(change);
    }
    return changes;
  }

  changeOf(pg: PgIndex): MemberChange | null {
    const committed = this.manifest.pgs[pg];
    if (committed === undefined) return null;
    const { members: from, proposed } = committed;
    if (proposed !== null) {
      const isEnding = this.proposedConfigOf(pg)?.proposed === null || this.wishes.has(pg);
      return { pg, from, to: proposed, phase: isEnding ? 'ending' : 'filling' };
    }
    const wish = this.wishes.get(pg);
    const to = this.proposedConfigOf(pg)?.proposed ?? (wish?.kind === 'propose' ? wish.proposed : null);
    return to === null ? null : { pg, from, to, phase: 'proposing' };
  }

  /** The six of `pg` are to become `proposed`. Asked for once more, it changes nothing. Throws what makes it impossible. */
  proposeMembers(pg: PgIndex, proposed: readonly NodeId[]): void {
    const committed = this.committedConfigOf(pg);
    const change = this.changeOf(pg);
    if (sameNodes(change?.to ?? committed.members, proposed) && change?.phase !== 'ending') return;
    if (change !== null) throw underWay(change);
    checkMembers(this.cluster().nodes, proposed);
    const shared = proposed.filter((node) => committed.members.includes(node));
    if (shared.length < WRITE_QUORUM) {
      throw new TidemarkError('BAD_REQUEST', `PG ${pg} would keep ${shared.length} of its members`, {
        nextStep: `Replace at most ${proposed.length - WRITE_QUORUM} members at a time.`,
      });
    }
    this.wishes.set(pg, { kind: 'propose', proposed });
  }

  /** Ends the change under way. Throws when there is none, or when its other end is already on the way to being committed. */
  endChange(pg: PgIndex, end: ChangeEnd): void {
    const committed = this.committedConfigOf(pg);
    const change = this.changeOf(pg);
    if (change === null) {
      throw new TidemarkError('BAD_REQUEST', `no change of PG ${pg}'s members is under way`);
    }
    const ending = this.proposedConfigOf(pg);
    if (committed.proposed !== null && ending?.proposed === null) {
      if (sameNodes(ending.members, membersAfter(committed, end))) return;
      throw underWay(change);
    }
    const isOnlyWished = committed.proposed === null && ending?.proposed == null;
    if (isOnlyWished) this.wishes.delete(pg);
    else this.wishes.set(pg, { kind: 'end', end });
  }

  /** The version to propose now, null when none is needed or its answer is awaited. From here on its stricter rules hold. */
  nextProposal(nowMs: number): ManifestProposal | null {
    if (this.isAsking || nowMs < this.retryAtMs) return null;
    this.proposal ??= this.makeProposal();
    if (this.proposal === null) return null;
    this.isAsking = true;
    return this.proposal;
  }

  onCommitted(version: number): CommittedManifest {
    const { proposal } = this;
    assert(proposal !== null && proposal.version === version, `manifest version ${version} was not proposed`);
    const before = this.manifest.pgs;
    this.committed = proposal;
    this.registerPlace = proposal.moveTo ?? this.registerPlace;
    this.proposal = null;
    this.isAsking = false;
    this.planned = [...proposal.manifest.pgs, ...this.planned.slice(proposal.manifest.pgs.length)];
    this.quorums.clear();
    const isChanged = ({ pg, configVersion }: PgConfig) =>
      pg < before.length && configVersion !== before[pg]?.configVersion;
    return {
      added: proposal.manifest.pgs.slice(before.length),
      changed: proposal.manifest.pgs.filter(isChanged),
    };
  }

  onFailed(version: number, nowMs: number): void {
    if (this.proposal?.version !== version) return;
    this.isAsking = false;
    this.retryAtMs = nowMs + RETRY_PAUSE_MS;
  }

  private makeProposal(): ManifestProposal | null {
    const { place, wantedPlace } = this;
    const version = this.version + 1;
    this.wantedPlace = null;
    if (wantedPlace !== null && wantedPlace.generation > place.generation) {
      return { version, manifest: this.manifest, place, moveTo: wantedPlace };
    }
    if (this.plannedCount === this.committedCount && this.wishes.size === 0) return null;
    const pgs = this.planned.map((config) => this.fulfil(config));
    this.wishes.clear();
    this.quorums.clear();
    return { version, manifest: { ...this.manifest, pgs }, place, moveTo: null };
  }

  private fulfil(config: PgConfig): PgConfig {
    const wish = this.wishes.get(config.pg);
    if (wish === undefined) return config;
    const configVersion = config.configVersion + 1;
    if (wish.kind === 'propose') return { ...config, configVersion, proposed: wish.proposed };
    return { ...config, configVersion, members: membersAfter(config, wish.end), proposed: null };
  }

  private ruleOf(pg: PgIndex): PgConfig {
    const config = this.planned[pg];
    assert(config !== undefined, `PG ${pg} is not planned`);
    if (config.proposed !== null) return config;
    return this.proposedConfigOf(pg) ?? config;
  }

  private proposedConfigOf(pg: PgIndex): PgConfig | null {
    return this.proposal?.manifest.pgs[pg] ?? null;
  }

  private committedConfigOf(pg: PgIndex): PgConfig {
    const config = this.manifest.pgs[pg];
    if (config !== undefined) return config;
    throw new TidemarkError('BAD_REQUEST', `the volume has no PG ${pg}`);
  }
}

function membersAfter({ members, proposed }: PgConfig, end: ChangeEnd): readonly NodeId[] {
  assert(proposed !== null, 'a change that was never proposed does not end');
  return end === 'keep' ? proposed : members;
}

export function sameNodes(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((node) => b.includes(node));
}

function underWay({ pg, from, to, phase }: MemberChange): TidemarkError {
  const leaving = from.filter((node) => !to.includes(node)).join(', ');
  const coming = to.filter((node) => !from.includes(node)).join(', ');
  return new TidemarkError(
    'CHANGE_UNDER_WAY',
    `PG ${pg} is changing its members already: ${coming} for ${leaving}${phase === 'ending' ? ', about to end' : ''}`,
    { nextStep: 'Wait until it is over, or take it back with `tidemark node replace OLD NEW --revert`.' },
  );
}

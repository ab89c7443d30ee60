/** What must hold in every segment after every step of its node's core (design section 1). */
import { compareManifests } from '../../../storage-node/core/manifests.ts';
import type { Segment } from '../../../storage-node/core/segment.ts';
import type { SimStorageNode } from '../cluster/storage-node.ts';
import type { World } from '../world/world.ts';
import { encodeRetention } from '../../../src/register/codec.ts';
import type { ManifestValue, RetentionValue } from '../../../src/register/values.ts';
import type { ChosenValues } from './registers.ts';

interface Seen {
  vdl: number;
  collected: number;
  retention: RetentionValue | null;
  manifest: ManifestValue | null;
}

const SEEN = new WeakMap<Segment, Seen>();

export function checkSegments(world: World, node: SimStorageNode, chosen: ChosenValues): void {
  const { core } = node;
  if (core === null) return;
  for (const segment of core.segments.all()) {
    const { vdl, coalesced, collected, floor, scl, tail, name } = segment;
    const who = `${node.nodeId} ${name}`;
    if (coalesced > vdl) world.violate('order', `${who}: coalesced ${coalesced} above VDL ${vdl}`);
    if (coalesced > scl) world.violate('order', `${who}: coalesced ${coalesced} above SCL ${scl}`);
    if (tail > vdl) world.violate('order', `${who}: tail ${tail} above VDL ${vdl}`);
    if (collected > 0 && collected >= floor)
      world.violate('order', `${who}: collected ${collected} at floor ${floor}`);
    let seen = SEEN.get(segment);
    if (seen === undefined) {
      seen = { vdl, collected, retention: null, manifest: null };
      SEEN.set(segment, seen);
    }
    const manifest = segment.manifest?.value ?? null;
    if (manifest !== null && manifest !== seen.manifest) {
      if (seen.manifest !== null && compareManifests(manifest, seen.manifest) < 0)
        world.violate('regress', `${who}: went back to an older manifest`);
      seen.manifest = manifest;
    }
    const { retention } = segment;
    if (retention !== null && retention !== seen.retention) {
      seen.retention = retention;
      if (!chosen.isChosenRetention(encodeRetention(retention)))
        world.violate('register', `${who}: goes by a retention value that was never committed`);
    }
    if (vdl < seen.vdl) world.violate('regress', `${who}: VDL went from ${seen.vdl} to ${vdl}`);
    seen.vdl = vdl;
    seen.collected = collected;
  }
}

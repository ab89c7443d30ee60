/** Whose absences a take-over believes. */
import { describe, expect, test } from 'vitest';
import { Calls } from '../../../compute-node/volume/take-over-calls.ts';
import { Fencing } from '../../../compute-node/volume/take-over-fence.ts';
import { type NodeId, toLsn } from '../../../src/log/lsn.ts';
import type { FenceReply } from '../../../src/messages/messages.ts';
import { encodeManifest } from '../../../src/register/codec.ts';
import type { ManifestValue } from '../../../src/register/values.ts';
import { epoch, manifestOf, NODE_IDS, run } from '../../support/takeover-fixtures.ts';

const NEWCOMER = 'az3-c' as NodeId;
const base = manifestOf([run(0, 1, null)]);
const inConfig = (configVersion: number): ManifestValue => ({
  ...base,
  pgs: base.pgs.map((config) => ({
    ...config,
    configVersion,
    proposed: configVersion % 2 === 0 ? [...NODE_IDS.slice(0, 5), NEWCOMER] : null,
  })),
});

/** What the take-over makes of a node that says it is intact, and has the manifest of that configuration installed. */
function isBelieved(node: NodeId, installed: ManifestValue | null): boolean {
  const calls = new Calls();
  const context = { clusterId: 'c', epoch: epoch(2), calls, onDeposed: () => {} };
  const fencing = new Fencing(context, inConfig(4));
  fencing.decide();
  const asked = calls.takeOutgoing().find((call) => call.node === node);
  const body: FenceReply = {
    promised: true,
    promisedEpoch: epoch(2),
    incarnation: '1.x',
    intact: true,
    scl: toLsn(0),
    vdl: toLsn(0),
    tail: toLsn(0),
    watermark: toLsn(0),
    installedEpoch: installed?.epoch ?? null,
    installedManifest: installed === null ? new Uint8Array(0) : encodeManifest(installed),
    entryCount: 0,
    refusal: null,
  };
  calls.deliver({ kind: 'answered', token: asked?.token ?? 0, body });
  return fencing.reports()[0]?.segments.find((report) => report.nodeId === node)?.intact === true;
}

describe('a segment that calls itself intact', () => {
  test('is believed as a member, whatever configuration it knows', () => {
    const member = NODE_IDS[0] as NodeId;
    expect(isBelieved(member, null)).toBe(true);
    expect(isBelieved(member, inConfig(1))).toBe(true);
  });

  test('is believed as a newcomer only once it has heard of this change', () => {
    expect(isBelieved(NEWCOMER, null)).toBe(false);
    expect(isBelieved(NEWCOMER, inConfig(2))).toBe(false);
    expect(isBelieved(NEWCOMER, inConfig(4))).toBe(true);
  });
});

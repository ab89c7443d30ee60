/**
 * The next version of a volume's manifest, proposed by the holder of its epoch. The epoch is the register's ballot and was won at the
 * take-over, so no prepare is needed: four acceptances of this (ballot, version) are the commit (src/register/proposer.ts, `acquire`).
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import type { StorageNodeClient } from '../../src/env/transport.ts';
import { compareEpochs, type Epoch } from '../../src/log/epoch.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { RegisterAcceptReply } from '../../src/messages/messages.ts';
import { WRITE_BLOCKING, WRITE_QUORUM } from '../../src/quorum/quorum.ts';
import { encodeManifest } from '../../src/register/codec.ts';
import type { ManifestValue } from '../../src/register/values.ts';

const CALL_TIMEOUT_MS = 2_000;

export type ManifestOutcome =
  | { readonly kind: 'committed' }
  /** Not enough answers: it may be committed or not; to be proposed again, the same. */
  | { readonly kind: 'failed' }
  /** So many have promised a newer epoch that this one can commit nothing any more. */
  | { readonly kind: 'refused'; readonly promised: Epoch };

/** Resolves as soon as the outcome is certain; never rejects for what a network or a node does. */
export function commitManifest(options: {
  readonly clients: ReadonlyMap<NodeId, StorageNodeClient>;
  readonly clusterId: string;
  readonly members: readonly NodeId[];
  readonly epoch: Epoch;
  readonly version: number;
  readonly manifest: ManifestValue;
}): Promise<ManifestOutcome> {
  const { clients, clusterId, members, epoch, version, manifest } = options;
  const request = {
    clusterId,
    key: `manifest/${manifest.volume}`,
    ballot: epoch,
    version,
    value: encodeManifest(manifest),
  };
  return new Promise((resolve, reject) => {
    let accepted = 0;
    let refused = 0;
    let failed = 0;
    let highest: Epoch | null = null;
    const decide = (): void => {
      if (accepted >= WRITE_QUORUM) resolve({ kind: 'committed' });
      else if (refused >= WRITE_BLOCKING && highest !== null) resolve({ kind: 'refused', promised: highest });
      else if (accepted + refused + failed === members.length) resolve({ kind: 'failed' });
    };
    const onReply = (reply: RegisterAcceptReply): void => {
      const { promisedBallot } = reply;
      const isNewer = promisedBallot !== null && compareEpochs(promisedBallot, epoch) > 0;
      if (reply.accepted) accepted += 1;
      else if (isNewer && reply.refusal === null) refused += 1;
      else failed += 1;
      if (isNewer && (highest === null || compareEpochs(promisedBallot, highest) > 0))
        highest = promisedBallot;
      decide();
    };
    for (const member of members) {
      const client = clients.get(member);
      if (client === undefined) {
        failed += 1;
        continue;
      }
      client
        .call('registerAccept', request, { timeoutMs: CALL_TIMEOUT_MS })
        .then(onReply, (error: unknown) => {
          if (!isTidemarkError(error)) reject(error);
          failed += 1;
          decide();
        });
    }
    decide();
  });
}

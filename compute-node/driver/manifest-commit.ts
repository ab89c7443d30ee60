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
import { encodeMoved, type RegisterPlace, registerKey } from '../../src/register/place.ts';
import type { ManifestProposal } from '../volume/writer-manifests.ts';

const CALL_TIMEOUT_MS = 2_000;

export type ManifestOutcome =
  | { readonly kind: 'committed' }
  /** Not enough answers: it may be committed or not; to be proposed again, the same. */
  | { readonly kind: 'failed' }
  /** So many have promised a newer epoch that this one can commit nothing any more. */
  | { readonly kind: 'refused'; readonly promised: Epoch };

export interface CommitOptions {
  readonly clients: ReadonlyMap<NodeId, StorageNodeClient>;
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly proposal: ManifestProposal;
}

/** Resolves as soon as the outcome is certain; never rejects for what a network or a node does. */
export async function commitManifest(options: CommitOptions): Promise<ManifestOutcome> {
  const { proposal } = options;
  const { place, moveTo } = proposal;
  const value = encodeManifest(proposal.manifest);
  if (moveTo === null) return accept(options, place, value);
  // Nobody goes on at the new place who has not learned the tombstone, or been told the place by somebody who had: so the ballot needs no
  // prepare there either.
  const left = await accept(options, place, encodeMoved({ value, place: moveTo }));
  return left.kind === 'committed' ? accept(options, moveTo, value) : left;
}

function accept(
  { clients, clusterId, epoch, proposal }: CommitOptions,
  place: RegisterPlace,
  value: Uint8Array,
): Promise<ManifestOutcome> {
  const { members } = place;
  const key = registerKey('manifest', proposal.manifest.volume, place);
  const request = { clusterId, key, ballot: epoch, version: proposal.version, value };
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

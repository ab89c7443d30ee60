/**
 * A look at a volume before it is taken over: does a live compute node heartbeat for it, and which epochs have its segments seen?
 * Only advice: nothing here is needed for safety.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Timers } from '../../src/env/env.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import type { SegmentStatus, StatusReply } from '../../src/messages/messages.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { READ_QUORUM } from '../../src/quorum/quorum.ts';
import { decodeManifest } from '../../src/register/codec.ts';
import { movedFrom, placeOf, registerKey } from '../../src/register/place.ts';
import type { ClusterValue, NameValue } from '../../src/register/values.ts';
import { pause } from './pause.ts';
import type { StorageNodeClients } from './registers.ts';
import { runProposer } from './run-proposer.ts';

/** A holder whose last heartbeat is older has missed fifteen and counts as gone. */
const HOLDER_GONE_AFTER_MS = 1_500;
const STATUS_TIMEOUT_MS = 1_000;
const PEEK_TIMEOUT_MS = 500;
/** What the slower nodes get once three have answered. */
const STRAGGLER_GRACE_MS = 50;
const RETRY_PAUSE_MS = 100;

export interface VolumeHolder {
  readonly computeId: string;
  readonly url: string;
  readonly ageMs: number;
}

export interface VolumeSurvey {
  /** The compute node that heartbeats for the volume, null when none does, or too few nodes hear it. */
  readonly holder: VolumeHolder | null;
  readonly highestEpochNumber: number;
}

export interface SurveyOptions {
  readonly name: NameValue & { readonly volume: VolumeId };
  readonly cluster: ClusterValue;
  readonly clients: StorageNodeClients;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly deadlineMs: number;
}

/** Asks the nodes of the volume's first PG (whose segments hear every heartbeat of its holder) until at least three have answered; NO_QUORUM when they do not in time. */
export async function surveyVolume(options: SurveyOptions): Promise<VolumeSurvey> {
  const nodes = await nodesOfFirstPg(options);
  for (;;) {
    const { replies, problems } = await askStatus(options, nodes);
    if (replies.length >= READ_QUORUM) return summarizeSurvey(options.name.volume, nodes.length, replies);
    if (options.clock.now().monotonicMs >= options.deadlineMs) {
      const why = problems.length > 0 ? problems.join('; ') : 'no answer in time';
      throw new TidemarkError(
        'NO_QUORUM',
        `volume '${options.name.name}': fewer than three storage nodes answered: ${why}`,
        {
          nextStep:
            'Start the storage nodes that did not answer, or check the network to them, then try again.',
        },
      );
    }
    await pause(options.timers, RETRY_PAUSE_MS);
  }
}

interface Answers {
  readonly replies: readonly StatusReply[];
  readonly problems: readonly string[];
}

/**
 * As the manifest register says, without disturbing who holds it. The volume was made with one six for both, and where the register's members
 * do not agree at the moment they are as good a guess as any.
 */
async function nodesOfFirstPg({ name, cluster, clients }: SurveyOptions): Promise<readonly NodeId[]> {
  const { clusterId } = cluster;
  let place = placeOf(name);
  let value: Uint8Array | null = null;
  for (;;) {
    const target = { clients, clusterId, key: registerKey('manifest', name.volume, place), ...place };
    const { end } = await runProposer({ ...target, callTimeoutMs: PEEK_TIMEOUT_MS }, { kind: 'peek' });
    const found = end.kind === 'done' ? end.content.value : null;
    const moved = movedFrom(place, found);
    value = moved?.value ?? found ?? value;
    if (moved === null) break;
    place = moved.place;
  }
  const first = value === null ? undefined : decodeManifest(value).pgs[0];
  return first === undefined ? name.registerMembers : QuorumSet.of(first).nodes;
}

function askStatus({ cluster, clients, timers }: SurveyOptions, nodes: readonly NodeId[]): Promise<Answers> {
  return new Promise((resolve) => {
    const replies: StatusReply[] = [];
    const problems: string[] = [];
    let awaited = nodes.length;
    const settle = () => {
      awaited -= 1;
      if (awaited === 0) resolve({ replies, problems });
      else if (replies.length === READ_QUORUM)
        timers.after(STRAGGLER_GRACE_MS, () => resolve({ replies, problems }));
    };
    for (const node of nodes) {
      const client = clients.get(node);
      const asked =
        client?.call('status', { clusterId: cluster.clusterId }, { timeoutMs: STATUS_TIMEOUT_MS }) ??
        Promise.reject(new TidemarkError('UNAVAILABLE', 'it is not configured'));
      asked
        .then((reply) => {
          if (reply.refusal === null) replies.push(reply);
          else problems.push(`${node}: ${reply.refusal.message}`);
        })
        .catch((error: unknown) =>
          problems.push(`${node}: ${error instanceof Error ? error.message : String(error)}`),
        )
        .finally(settle);
    }
  });
}

/**
 * Who holds the volume, by what `asked` nodes' replies tell. Whoever so many nodes do not hear that fewer than three can, has neither lease nor
 * write quorum: a writer cut off from most of the cluster must not keep the volume from one that is not.
 */
export function summarizeSurvey(
  volume: VolumeId,
  asked: number,
  replies: readonly StatusReply[],
): VolumeSurvey {
  const segmentsOf = (reply: StatusReply): readonly SegmentStatus[] =>
    reply.segments.filter((segment) => segment.volume === volume);
  const segments = replies.flatMap(segmentsOf);
  const [newest] = segments.filter(isHeard).sort((a, b) => a.holderAgeMs - b.holderAgeMs);
  const hears = (reply: StatusReply): boolean =>
    segmentsOf(reply).some((segment) => isHeard(segment) && segment.holderId === newest?.holderId);
  // One that has just started may not have been found again yet.
  const deaf = replies.filter((reply) => reply.uptimeMs >= HOLDER_GONE_AFTER_MS && !hears(reply));
  const isCutOff = asked - deaf.length < READ_QUORUM;
  return {
    holder:
      newest === undefined || isCutOff
        ? null
        : { computeId: newest.holderId, url: newest.holderUrl, ageMs: newest.holderAgeMs },
    highestEpochNumber: Math.max(0, ...segments.map(epochNumber)),
  };
}

function isHeard({ holderId, holderAgeMs }: SegmentStatus): boolean {
  return holderId !== '' && holderAgeMs < HOLDER_GONE_AFTER_MS;
}

function epochNumber(segment: SegmentStatus): number {
  return Math.max(segment.promisedEpoch?.number ?? 0, segment.installedEpoch?.number ?? 0);
}

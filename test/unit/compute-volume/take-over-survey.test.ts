/** Who counts as a volume's live holder before it is taken over: only advice, but bad advice leaves a volume without a writer. */
import { describe, expect, it } from 'vitest';
import { summarizeSurvey } from '../../../compute-node/driver/take-over-survey.ts';
import type { VolumeId } from '../../../src/log/lsn.ts';
import type { StatusReply } from '../../../src/messages/messages.ts';

const VOLUME = 'v' as VolumeId;
const FRESH_MS = 100;
const OLD_MS = 1_600;

interface Seen {
  readonly holderId?: string;
  readonly ageMs?: number;
  readonly uptimeMs?: number;
}

function reply({ holderId = '', ageMs = 0, uptimeMs = 60_000 }: Seen): StatusReply {
  const segment = {
    volume: VOLUME,
    promisedEpoch: { number: 7, writerId: 'w' },
    installedEpoch: null,
    holderId,
    holderUrl: `http://${holderId}`,
    holderAgeMs: ageMs,
  };
  return { uptimeMs, segments: [segment] } as unknown as StatusReply;
}

function holderBy(...seen: readonly Seen[]): string | null {
  return summarizeSurvey(VOLUME, 6, seen.map(reply)).holder?.computeId ?? null;
}

const hears: Seen = { holderId: 'a', ageMs: FRESH_MS };
const deaf: Seen = { holderId: 'a', ageMs: OLD_MS };

describe('the live holder of a volume', () => {
  it('is the one whose heartbeats arrive', () => {
    expect(holderBy(hears, hears, hears)).toBe('a');
    expect(holderBy(deaf, deaf, deaf)).toBeNull();
    expect(holderBy({}, {}, {})).toBeNull();
  });

  it('is the one heard last, when two are heard', () => {
    expect(holderBy({ holderId: 'b', ageMs: 300 }, hears, hears, hears)).toBe('a');
  });

  it('stays the holder as long as three nodes may hear it, those that did not answer among them', () => {
    expect(holderBy(hears, hears, hears, deaf, deaf, deaf)).toBe('a');
    expect(holderBy(hears, deaf, deaf)).toBe('a');
    expect(holderBy(hears, hears, deaf, deaf)).toBe('a');
  });

  it('is gone when four nodes of six do not hear it: it has neither lease nor write quorum', () => {
    expect(holderBy(hears, hears, deaf, deaf, deaf, deaf)).toBeNull();
    expect(holderBy(hears, deaf, deaf, {}, deaf)).toBeNull();
  });

  it('is not gone because nodes have just started and were not found again yet', () => {
    const started: Seen = { uptimeMs: 500 };
    expect(holderBy(hears, started, started, started, started, started)).toBe('a');
  });

  it('has the highest epoch told beside it', () => {
    expect(summarizeSurvey(VOLUME, 6, [reply(deaf)]).highestEpochNumber).toBe(7);
  });
});

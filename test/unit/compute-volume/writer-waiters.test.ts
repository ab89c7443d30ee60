import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DurabilityWaiters } from '../../../compute-node/driver/durability-waiters.ts';
import { commitManifest } from '../../../compute-node/driver/manifest-commit.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { StorageNodeClient } from '../../../src/env/transport.ts';
import type { Lsn, NodeId } from '../../../src/log/lsn.ts';
import type { RegisterAcceptReply } from '../../../src/messages/messages.ts';
import { EPOCH, manifestValue, NEWER_EPOCH, NODES, OLD_EPOCH } from '../../support/writer-net.ts';

const lsn = (n: number) => n as Lsn;

describe('replies that wait for VDL', () => {
  it('are released exactly when VDL covers them, whatever the order they came in', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 60 }), async (lsns) => {
        const waiters = new DurabilityWaiters(1_000);
        const released: number[] = [];
        const waits = lsns.map((n) => waiters.wait(lsn(n), 0).then(() => released.push(n)));
        for (let vdl = 0; vdl <= 50; vdl += 10) {
          waiters.advance(lsn(vdl));
          await Promise.resolve();
          expect(released.toSorted((x, y) => x - y)).toEqual(
            lsns.filter((n) => n <= vdl).toSorted((x, y) => x - y),
          );
        }
        await Promise.all(waits);
        expect(waiters.size).toBe(0);
      }),
    );
  });

  it('end with an unknown outcome after their own time, not before', async () => {
    const waiters = new DurabilityWaiters(1_000);
    const outcomes: string[] = [];
    const note = (name: string, wait: Promise<void>) =>
      wait.then(
        () => outcomes.push(`${name} durable`),
        (error: TidemarkError) => outcomes.push(`${name} ${error.code}`),
      );
    const all = [note('late', waiters.wait(lsn(9), 500)), note('early', waiters.wait(lsn(7), 0))];
    waiters.expire(999);
    await Promise.resolve();
    expect(outcomes).toEqual([]);
    waiters.expire(1_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(outcomes).toEqual(['early OUTCOME_UNKNOWN']);
    waiters.advance(lsn(9));
    await Promise.all(all);
    expect(outcomes).toEqual(['early OUTCOME_UNKNOWN', 'late durable']);
  });
});

type Answer = Partial<RegisterAcceptReply> | 'no answer';

function commitWith(answers: readonly Answer[]) {
  const clients = new Map<NodeId, StorageNodeClient>();
  for (const [i, nodeId] of NODES.entries()) {
    const answer = answers[i]!;
    const call = () =>
      answer === 'no answer'
        ? Promise.reject(new TidemarkError('TIMEOUT', 'no answer'))
        : Promise.resolve({ accepted: false, promisedBallot: EPOCH, refusal: null, ...answer });
    clients.set(nodeId, { nodeId, call: call as never, openStream: null as never, close: () => {} });
  }
  return commitManifest({
    clients,
    clusterId: 'c',
    epoch: EPOCH,
    proposal: {
      version: 5,
      manifest: manifestValue(),
      place: { members: NODES, generation: 0 },
      moveTo: null,
    },
  });
}

describe('proposing the next manifest', () => {
  const yes: Answer = { accepted: true };
  const newer: Answer = { promisedBallot: NEWER_EPOCH };

  it('is committed by four acceptances, not by three', async () => {
    expect(await commitWith([yes, yes, yes, yes, 'no answer', newer])).toEqual({ kind: 'committed' });
    expect(await commitWith([yes, yes, yes, 'no answer', 'no answer', newer])).toEqual({ kind: 'failed' });
  });

  it('is refused for good when three have promised a newer epoch, not when fewer have', async () => {
    expect(await commitWith([yes, yes, yes, newer, newer, newer])).toEqual({
      kind: 'refused',
      promised: NEWER_EPOCH,
    });
    const no: Answer = { promisedBallot: OLD_EPOCH };
    expect(await commitWith([newer, newer, no, no, no, 'no answer'])).toEqual({ kind: 'failed' });
  });

  it('does not take a refusal that knows nothing of epochs for a proof', async () => {
    const broken: Answer = {
      refusal: { code: 'QUARANTINED', message: '', promised: null },
      promisedBallot: NEWER_EPOCH,
    };
    expect(await commitWith([yes, yes, yes, broken, broken, broken])).toEqual({ kind: 'failed' });
  });
});

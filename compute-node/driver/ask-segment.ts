/**
 * Questions that any segment of a PG able to answer may answer: one is asked, the next one when it refuses, fails or is late, all over again until the time
 * is up.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Timer, Timers } from '../../src/env/env.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { StorageNodeMethods } from '../../src/messages/messages.ts';
import { pause } from './pause.ts';
import type { StorageNodeClients } from './registers.ts';

const CALL_TIMEOUT_MS = 2_000;
/** A node that has not answered after so long gets company. */
const HEDGE_MS = 50;
const RETRY_PAUSE_MS = 50;
const DEFAULT_TIMEOUT_MS = 5_000;

export interface AskOptions {
  readonly clients: StorageNodeClients;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly timeoutMs?: number;
}

export type SegmentQuestion = 'findCommit' | 'changedPages';

interface Round<M extends SegmentQuestion> {
  /** null: all were asked in vain. */
  readonly reply: StorageNodeMethods[M]['reply'] | null;
  readonly problems: readonly string[];
}

/** Rejects NO_QUORUM; `what` is what nobody could say. */
export async function askSegment<M extends SegmentQuestion>(
  options: AskOptions,
  nodes: readonly NodeId[],
  method: M,
  request: StorageNodeMethods[M]['request'],
  what: string,
): Promise<StorageNodeMethods[M]['reply']> {
  const { clock, timers, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const deadlineMs = clock.now().monotonicMs + timeoutMs;
  for (;;) {
    const { reply, problems } = await askInTurn(options, nodes, method, request);
    if (reply !== null) return reply;
    if (clock.now().monotonicMs >= deadlineMs) {
      throw new TidemarkError(
        'NO_QUORUM',
        `no storage node of PG ${request.pg} could say ${what}: ${problems.join('; ')}`,
        { nextStep: 'Check with `tidemark status` which storage nodes are reachable, then try again.' },
      );
    }
    await pause(timers, RETRY_PAUSE_MS);
  }
}

/** Each node once: the next as soon as one cannot say, or is late. */
function askInTurn<M extends SegmentQuestion>(
  { clients, timers }: AskOptions,
  nodes: readonly NodeId[],
  method: M,
  request: StorageNodeMethods[M]['request'],
): Promise<Round<M>> {
  return new Promise((resolve) => {
    const problems: string[] = [];
    const left = [...nodes];
    let unanswered = 0;
    let hedge: Timer | null = null;
    let isOver = false;
    const end = (reply: StorageNodeMethods[M]['reply'] | null): void => {
      if (isOver) return;
      isOver = true;
      hedge?.cancel();
      resolve({ reply, problems });
    };
    const fail = (node: NodeId, why: string): void => {
      unanswered -= 1;
      problems.push(`${node}: ${why}`);
      if (!isOver) next();
    };
    const next = (): void => {
      hedge?.cancel();
      const node = left.shift();
      if (node === undefined) {
        if (unanswered === 0) end(null);
        return;
      }
      unanswered += 1;
      hedge = timers.after(HEDGE_MS, next);
      const client = clients.get(node);
      if (client === undefined) {
        fail(node, 'it is not connected');
        return;
      }
      client.call(method, request, { timeoutMs: CALL_TIMEOUT_MS }).then(
        (reply) => {
          if (reply.refusal !== null) {
            fail(node, reply.refusal.message);
            return;
          }
          unanswered -= 1;
          end(reply);
        },
        (error: unknown) => fail(node, error instanceof Error ? error.message : String(error)),
      );
    };
    next();
  });
}

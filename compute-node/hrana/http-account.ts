/** A collected response's share of the budget, until its client has taken it; a client that never does is cut off. */
import type { ServerResponse } from 'node:http';
import type { ResponseAccount } from './response-budget.ts';
import type { ServerContext } from './server-context.ts';

/** Call before the response is written. */
export function releaseWhenTaken(
  context: ServerContext,
  response: ServerResponse,
  account: ResponseAccount,
): void {
  if (!account.isCharged) return;
  const stall = context.sessions.scheduler.after(context.limits.takeResponseMs, () => response.destroy());
  response.once('close', () => {
    stall.cancel();
    account.release();
  });
}

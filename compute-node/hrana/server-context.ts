/** What the endpoints of one server share. */
import { AssertionError } from '../../src/base/assert.ts';
import { isExpected } from '../session/errors.ts';
import type { Sessions } from '../session/sessions.ts';
import type { ResolveVolume } from '../session/volume-sessions.ts';
import type { Auth } from './auth.ts';
import type { HttpStreams } from './http-streams.ts';
import type { HranaLimits } from './limits.ts';
import type { Logger } from '../../src/adapters/logger.ts';
import type { ResponseBudget } from './response-budget.ts';

export interface ServerContext {
  readonly sessions: Sessions;
  readonly httpStreams: HttpStreams;
  readonly resolveVolume: ResolveVolume;
  readonly auth: Auth;
  readonly limits: HranaLimits;
  readonly budget: ResponseBudget;
  readonly logger: Logger;
}

/** Logs what is no client's doing. A failed assertion ends the process: its memory cannot be trusted any more. */
export function noteIfBug(context: ServerContext, error: unknown, where: string): void {
  if (isExpected(error)) return;
  context.logger.log('error', `${where} failed unexpectedly`, { error });
  if (error instanceof AssertionError) {
    setImmediate(() => {
      throw error;
    });
  }
}

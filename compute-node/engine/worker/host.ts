/**
 * What the SQL core needs from the thread it runs in. The worker entry gives the real one; unit tests give one that answers from memory, so
 * that the whole core can be driven in one thread.
 */
import type { FromWorker, PageAnswer } from '../worker-messages.ts';

export interface Host {
  /** Monotone. */
  nowMs(): number;
  vdl(): number;
  /** False while no write transaction should start. */
  isWritable(): boolean;
  /** Bytes of posted MTRs that the volume has taken. */
  mtrBytesTaken(): number;
  /** Asks for a `news` message once VDL, mtrBytesTaken or writability has changed. */
  wantNews(): void;
  isInterrupted(slot: number, run: number): boolean;
  /** Collected, in order, until the next flush. */
  post(message: FromWorker): void;
  flush(): void;
  /** The next answer on the page port, sleeping up to `timeoutMs` for it. Throws UNAVAILABLE when the engine was closed meanwhile. */
  nextPageAnswer(timeoutMs: number): PageAnswer | null;
}

/** Keeps one child process running: tells when it dies and starts it again, after a pause that grows while it keeps dying. */
import { isTidemarkError } from '../../src/base/errors.ts';
import { Child, type ChildSpec, type ExitReason, reasonText } from './child.ts';

const FIRST_PAUSE_MS = 250;
const MAX_PAUSE_MS = 10_000;
/** One that has run this long is taken for healthy again. */
const HEALTHY_MS = 30_000;
/** A start after a crash may find files and ports of the process before still held. */
const IN_USE_RETRY_MS = 10_000;
const IN_USE_PAUSE_MS = 250;

export type SupervisorEvent =
  | { readonly kind: 'died'; readonly name: string; readonly reason: string; readonly restartInMs: number }
  | { readonly kind: 'restarted'; readonly name: string }
  | {
      readonly kind: 'restart-failed';
      readonly name: string;
      readonly error: Error;
      readonly restartInMs: number;
    };

export class Supervisor {
  spec: ChildSpec;
  private readonly onEvent: (event: SupervisorEvent) => void;
  private child: Child | null = null;
  private isStopping = false;
  private pauseMs = FIRST_PAUSE_MS;
  private timer: NodeJS.Timeout | null = null;

  constructor(spec: ChildSpec, onEvent: (event: SupervisorEvent) => void) {
    this.spec = spec;
    this.onEvent = onEvent;
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** The next restart uses this instead. */
  respawnWith(spec: ChildSpec): void {
    this.spec = spec;
  }

  /** First start: rejects with what the child said when it cannot. */
  async start(): Promise<Awaited<Child['ready']>> {
    const deadlineMs = performance.now() + IN_USE_RETRY_MS;
    for (;;) {
      const child = this.spawn();
      try {
        const ready = await child.ready;
        this.watch(child);
        return ready;
      } catch (error) {
        await child.ended;
        const isPassing =
          isTidemarkError(error, 'IN_USE') && performance.now() < deadlineMs && !this.isStopping;
        if (!isPassing) throw error;
        await new Promise((resolve) => setTimeout(resolve, IN_USE_PAUSE_MS));
      }
    }
  }

  async stop(graceMs: number): Promise<void> {
    this.isStopping = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.child?.stop(graceMs);
  }

  kill(): void {
    this.isStopping = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.child?.kill();
  }

  private spawn(): Child {
    this.child = new Child(this.spec);
    return this.child;
  }

  private watch(child: Child): void {
    const startedMs = performance.now();
    void child.ended.then((reason) => {
      if (performance.now() - startedMs > HEALTHY_MS) this.pauseMs = FIRST_PAUSE_MS;
      this.onDied(reason);
    });
  }

  private onDied(reason: ExitReason): void {
    if (this.isStopping) return;
    const restartInMs = this.nextPause();
    this.onEvent({ kind: 'died', name: this.spec.name, reason: reasonText(reason), restartInMs });
    this.restartIn(restartInMs);
  }

  private restartIn(pauseMs: number): void {
    this.timer = setTimeout(() => void this.restart(), pauseMs);
  }

  private async restart(): Promise<void> {
    const child = this.spawn();
    try {
      await child.ready;
    } catch (error) {
      await child.ended;
      if (this.isStopping) return;
      const restartInMs = this.nextPause();
      this.onEvent({ kind: 'restart-failed', name: this.spec.name, error: error as Error, restartInMs });
      this.restartIn(restartInMs);
      return;
    }
    if (!this.isStopping) this.onEvent({ kind: 'restarted', name: this.spec.name });
    this.watch(child);
  }

  private nextPause(): number {
    const pause = this.pauseMs;
    this.pauseMs = Math.min(MAX_PAUSE_MS, this.pauseMs * 2);
    return pause;
  }
}

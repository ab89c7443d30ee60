/** The session layer's only timers, as a port, so that tests own the time. */

export interface Timer {
  cancel(): void;
}

export interface Scheduler {
  /** Calls `run` once after `delayMs`, unless cancelled. */
  after(delayMs: number, run: () => void): Timer;
}

/** Timers of the process. They never keep it alive. */
export const nodeScheduler: Scheduler = {
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

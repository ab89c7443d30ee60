/**
 * The SQL worker's entry: the core (core.ts) between two ports and the event loop.
 *
 * Messages are taken whenever a turn ends, without going back to the event loop; what the core says is posted in one array per turn.
 * While a statement waits for pages the thread sleeps; it is woken through shared memory and takes the answer from the page port.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '../../../src/base/assert.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { SharedState } from '../shared-state.ts';
import type {
  CheckSetup,
  EngineStart,
  FromWorker,
  PageAnswer,
  ToWorker,
  WorkerSetup,
} from '../worker-messages.ts';
import { checkDatabase } from './check-database.ts';
import { EngineCore } from './core.ts';
import type { Host } from './host.ts';
import { SqliteLibrary } from './sqlite-library.ts';
import { warmUp } from './warm-up.ts';

/** After so long the collected answers go out, so that the main thread works on them while this one goes on. */
const TURN_MS = 0.5;
/** Messages collected before they are posted in any case. */
const MAX_COLLECTED = 64;

class ThreadHost implements Host {
  readonly #port: MessagePort;
  readonly #pagePort: MessagePort;
  readonly #shared: SharedState;
  #collected: FromWorker[] = [];

  constructor(port: MessagePort, pagePort: MessagePort, shared: SharedState) {
    this.#port = port;
    this.#pagePort = pagePort;
    this.#shared = shared;
  }

  nowMs(): number {
    return performance.now();
  }

  vdl(): number {
    return this.#shared.get('vdl');
  }

  isWritable(): boolean {
    return this.#shared.flag('writable') === 1;
  }

  mtrBytesTaken(): number {
    return this.#shared.get('mtrBytesTaken');
  }

  wantNews(): void {
    this.#shared.setFlag('wantsNews', 1);
  }

  isInterrupted(slot: number, run: number): boolean {
    return this.#shared.isInterrupted(slot, run);
  }

  post(message: FromWorker): void {
    this.#collected.push(message);
    if (this.#collected.length >= MAX_COLLECTED) this.flush();
  }

  flush(): void {
    if (this.#collected.length === 0) return;
    const messages = this.#collected;
    this.#collected = [];
    const transfers: ArrayBuffer[] = [];
    for (const message of messages) if (message.kind === 'mtr') transfers.push(message.changes.buffer);
    this.#port.postMessage(messages, transfers);
  }

  nextPageAnswer(timeoutMs: number): PageAnswer | null {
    // The count is read before the port is looked at, so an answer in between wakes the sleeper at once.
    const seen = this.#shared.flag('pageAnswers');
    const arrived = receiveMessageOnPort(this.#pagePort);
    if (arrived !== undefined) return arrived.message as PageAnswer;
    if (timeoutMs === 0) return null;
    this.#shared.waitForPageAnswer(seen, timeoutMs);
    if (this.#shared.flag('closed') === 1)
      throw new TidemarkError('UNAVAILABLE', 'the SQL engine was closed');
    return (receiveMessageOnPort(this.#pagePort)?.message as PageAnswer | undefined) ?? null;
  }
}

/** SQLite is loaded before it is known for which volume. */
async function awaitEngine(port: MessagePort, { isSpare }: EngineStart): Promise<void> {
  const library = await SqliteLibrary.load();
  if (isSpare) warmUp(library);
  let accept: ((messages: readonly ToWorker[]) => void) | null = null;
  // One listener from the first message on: between two of them a message could be lost.
  port.on('message', (message: WorkerSetup | readonly ToWorker[]) => {
    if (accept === null) accept = runEngine(library, port, message as WorkerSetup);
    else accept(message as readonly ToWorker[]);
  });
}

function runEngine(
  library: SqliteLibrary,
  port: MessagePort,
  setup: WorkerSetup,
): (messages: readonly ToWorker[]) => void {
  const shared = new SharedState(setup.shared);
  const host = new ThreadHost(port, setup.pagePort, shared);
  const core = new EngineCore(library, host, {
    limits: setup.limits,
    headLsn: setup.headLsn,
    databaseName: setup.databaseName,
    readonlyReason: setup.readonlyReason,
  });
  let timer: NodeJS.Timeout | null = null;

  const accept = (messages: readonly ToWorker[]): void => {
    for (const message of messages) core.accept(message);
  };
  const takeMore = (): boolean => {
    let any = false;
    for (let more = receiveMessageOnPort(port); more !== undefined; more = receiveMessageOnPort(port)) {
      accept(more.message as readonly ToWorker[]);
      any = true;
    }
    return any;
  };
  const pump = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    do {
      core.turn(TURN_MS);
      publish(core, shared);
      host.flush();
      // Some messages are answered without a turn, so what was taken calls for another round.
    } while (takeMore() || core.hasReady);
    const deadlineMs = core.nextDeadlineMs;
    if (deadlineMs !== null) timer = setTimeout(pump, Math.max(1, deadlineMs - host.nowMs()));
  };
  host.post({ kind: 'ready' });
  host.flush();
  return (messages) => {
    accept(messages);
    pump();
  };
}

function publish(core: EngineCore, shared: SharedState): void {
  const { statistics } = core;
  shared.set('lowestReadPoint', statistics.lowestReadPoint);
  shared.set('cachePages', statistics.cachePages);
  shared.set('cacheBytes', statistics.cacheBytes);
  shared.set('cacheHits', statistics.cacheHits);
  shared.set('cacheMisses', statistics.cacheMisses);
  shared.set('databasePages', statistics.databasePages);
  shared.set('statements', statistics.statements);
  shared.set('commits', statistics.commits);
  shared.set('openTransactions', statistics.openTransactions);
}

assert(parentPort !== null, 'the SQL worker runs in a worker thread');
const start = workerData as EngineStart | CheckSetup;
if (start.kind === 'engine') await awaitEngine(parentPort, start);
else parentPort.postMessage(await checkDatabase(start));

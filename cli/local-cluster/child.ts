/**
 * One child process of `up`: a `tidemark storage-node` or `compute-node`. It runs in a session of its own, so that a Ctrl-C at the
 * terminal reaches `up` alone, which stops its children in order; and it holds an IPC channel, so that it ends when `up` does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { TidemarkError } from '../../src/base/errors.ts';
import { parseReadyLine, type ReadyLine } from '../process/ready-line.ts';

export interface ChildSpec {
  readonly name: string;
  /** This command's own script. */
  readonly commandPath: string;
  readonly args: readonly string[];
  readonly nodeArgs: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logPath: string;
}

export type ExitReason =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'signal'; readonly signal: string };

/** What would tell a child other things than its flags do. */
const HIDDEN_VARIABLES = ['TIDEMARK_CONFIG', 'TIDEMARK_ADVERTISE', 'TIDEMARK_ADVERTISE_URL', 'NODE_OPTIONS'];
/** glibc keeps memory that was freed in an arena per thread: 113 MB of a storage node under load, 100 with two arenas. Only a parent can say so in time. */
const DEFAULT_VARIABLES = { MALLOC_ARENA_MAX: '2' };
const LOG_TAIL_CHARS = 2_000;

export class Child {
  readonly spec: ChildSpec;
  readonly ended: Promise<ExitReason>;
  /** Settles once: the ready line, or why it did not come. */
  readonly ready: Promise<Extract<ReadyLine, { ready: true }>>;
  private readonly process: ChildProcess;

  constructor(spec: ChildSpec) {
    this.spec = spec;
    const log = openSync(spec.logPath, 'a');
    const env: Record<string, string | undefined> = { ...DEFAULT_VARIABLES, ...spec.env };
    for (const name of HIDDEN_VARIABLES) delete env[name];
    this.process = spawn(process.execPath, [...spec.nodeArgs, spec.commandPath, ...spec.args], {
      detached: true,
      stdio: ['ignore', 'pipe', log, 'ipc'],
      env,
    });
    closeSync(log);
    this.ended = new Promise((resolve) => {
      this.process.on('exit', (code, signal) =>
        resolve(signal === null ? { kind: 'exit', code: code ?? 1 } : { kind: 'signal', signal }),
      );
      this.process.on('error', () => resolve({ kind: 'exit', code: 1 }));
    });
    this.ready = this.waitUntilReady();
    this.ready.catch(() => undefined);
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  get hasEnded(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  /** Asks it to end, and makes it after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    if (this.hasEnded) return;
    const timer = setTimeout(() => this.kill(), graceMs);
    this.process.kill('SIGTERM');
    await this.ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.process.kill('SIGKILL');
  }

  private async waitUntilReady(): Promise<Extract<ReadyLine, { ready: true }>> {
    const line = await Promise.race([this.firstLine(), this.ended.then(() => null)]);
    if (line === null) {
      const reason = await this.ended;
      throw new TidemarkError(
        'UNAVAILABLE',
        `${this.spec.name} ended at start (${reasonText(reason)})${this.logTail()}`,
        {
          nextStep: `Its log is ${this.spec.logPath}.`,
        },
      );
    }
    if (line.ready) return line;
    const { code, message, nextStep } = line.error;
    throw new TidemarkError(code as TidemarkError['code'], `${this.spec.name}: ${message}`, {
      nextStep: nextStep ?? `Its log is ${this.spec.logPath}.`,
    });
  }

  private firstLine(): Promise<ReadyLine | null> {
    return new Promise((resolve) => {
      let text = '';
      const stdout = this.process.stdout!;
      stdout.setEncoding('utf8');
      stdout.on('data', (chunk: string) => {
        text += chunk;
        for (let newline = text.indexOf('\n'); newline >= 0; newline = text.indexOf('\n')) {
          const parsed = parseReadyLine(text.slice(0, newline));
          text = text.slice(newline + 1);
          if (parsed !== null) resolve(parsed);
        }
      });
      stdout.on('end', () => resolve(null));
    });
  }

  private logTail(): string {
    try {
      const tail = readFileSync(this.spec.logPath, 'utf8').slice(-LOG_TAIL_CHARS).trimEnd();
      return tail === '' ? '' : `:\n${tail.split('\n').slice(-8).join('\n')}\n`;
    } catch {
      return '';
    }
  }
}

export function reasonText(reason: ExitReason): string {
  return reason.kind === 'signal' ? reason.signal : `exit code ${reason.code}`;
}

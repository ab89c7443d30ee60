/** `tidemark up`: a whole cluster on this machine, in the foreground, with or without a shell in front. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { TidemarkError } from '../../src/base/errors.ts';
import { parseTarget } from '../client/target.ts';
import type { CliContext } from '../context.ts';
import { EXIT_INTERRUPTED, EXIT_OK, errorBody } from '../exit.ts';
import { LocalCluster, type LocalClusterEvent } from '../local-cluster/cluster.ts';
import { MAX_STORAGE_NODES, MIN_STORAGE_NODES } from '../local-cluster/layout.ts';
import { wholeNumber } from '../process/settings.ts';
import { formatDuration } from '../terminal/progress.ts';
import { addShellOptions, runShellInteractive, runShellScript, type ShellFlags, stdinText } from './sql.ts';

const DEFAULT_DATA = './tidemark-data';
const DEFAULT_PORT = 8080;

interface UpFlags extends ShellFlags {
  readonly data?: string;
  readonly port?: string;
  readonly host: string;
  readonly storageNodes?: string;
  readonly ephemeral?: boolean;
  readonly sql?: boolean;
}

export function addUpCommand(program: Command, context: CliContext): void {
  const command = program
    .command('up')
    .description(
      'Start a cluster here: six storage nodes in three zones and a compute node. Ctrl-C stops all. ' +
        'With --sql and SQL on stdin: run that and end.',
    )
    .option('--data <DIR>', `where the data is (TIDEMARK_DATA; default ${DEFAULT_DATA})`)
    .option(
      '--port <N>',
      `port of the client protocols, 0 for any free one (TIDEMARK_PORT; default ${DEFAULT_PORT})`,
    )
    .option('--host <H>', 'address that the compute node listens on', '127.0.0.1')
    .option('--storage-nodes <N>', `storage nodes of a new cluster, at least ${MIN_STORAGE_NODES}`)
    .option('--ephemeral', 'keep the data in a temporary directory, removed at the end')
    .option('--sql', 'open the SQL shell');
  addShellOptions(command).action((flags: UpFlags) => up(flags, context));
}

async function up(flags: UpFlags, context: CliContext): Promise<void> {
  const port =
    parsed('--port', flags.port ?? context.env.TIDEMARK_PORT, wholeNumber(0, 65_535)) ?? DEFAULT_PORT;
  const storageNodes = parsed(
    '--storage-nodes',
    flags.storageNodes,
    wholeNumber(MIN_STORAGE_NODES, MAX_STORAGE_NODES),
  );
  if (flags.ephemeral === true && flags.data !== undefined) {
    throw new TidemarkError('BAD_REQUEST', '--ephemeral and --data exclude each other', {
      nextStep: 'Leave out one of them.',
    });
  }
  const directory =
    flags.ephemeral === true
      ? mkdtempSync(join(tmpdir(), 'tidemark-'))
      : (flags.data ?? (context.env.TIDEMARK_DATA || DEFAULT_DATA));
  const isScript = flags.sql === true && context.stdin.isTTY !== true;
  // A script's results are all that goes to stdout.
  const reporter = new Reporter(isScript ? context.stderr : context.stdout, context);
  const removeData = (): void => {
    if (flags.ephemeral === true) rmSync(directory, { recursive: true, force: true });
  };

  let cluster: LocalCluster | null = null;
  const stop = new StopSignal(() => {
    cluster?.kill();
    removeData();
  });
  try {
    const started = await Promise.race([
      LocalCluster.start(
        {
          directory,
          host: flags.host,
          port,
          storageNodes,
          commandPath: context.commandPath,
          env: context.env,
          onEvent: (event) => reporter.onEvent(event),
        },
        (starting) => {
          cluster = starting;
        },
      ),
      stop.requested.then(() => null),
    ]);
    if (started === null) return;
    reporter.ready(started.url, flags.sql === true);
    if (flags.sql !== true) {
      await stop.requested;
      return;
    }
    const target = parseTarget(connectUrl(started.url), context.env.TIDEMARK_AUTH_TOKEN ?? null);
    if (isScript) {
      stop.pause();
      await runShellScript(context, target, flags, stdinText(context), null);
    } else {
      await runShellInteractive(context, target, flags, stop.requested);
    }
  } finally {
    if (cluster !== null) reporter.stopping();
    await (cluster as LocalCluster | null)?.stop();
    if (cluster !== null) reporter.stopped();
    removeData();
    if (stop.exitCode !== null) context.setExitCode(stop.exitCode);
    stop.dispose();
  }
}

/** First signal: asks. Second: ends at once. */
class StopSignal {
  readonly requested: Promise<void>;
  exitCode: number | null = null;
  private readonly onSignal: (signal: NodeJS.Signals) => void;
  private isPaused = false;

  constructor(endNow: () => void) {
    let resolve: () => void = () => {};
    this.requested = new Promise((done) => {
      resolve = done;
    });
    this.onSignal = (signal) => {
      // The script's own handler sees to Ctrl-C; it ends the run, and that ends the cluster.
      if (this.isPaused && signal === 'SIGINT') return;
      if (this.exitCode !== null) {
        endNow();
        process.exit(EXIT_INTERRUPTED);
      }
      this.exitCode = signal === 'SIGINT' ? EXIT_INTERRUPTED : EXIT_OK;
      resolve();
    };
    for (const signal of SIGNALS) process.on(signal, this.onSignal);
  }

  pause(): void {
    this.isPaused = true;
  }

  dispose(): void {
    for (const signal of SIGNALS) process.removeListener(signal, this.onSignal);
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** What `up` tells while it goes. On a terminal, the start is one line that changes. */
class Reporter {
  private readonly output: CliContext['stdout'];
  private readonly context: CliContext;
  private readonly startedMs = performance.now();
  private isStarting = true;
  private hasLine = false;
  private isStopping = false;
  private directory = '';

  constructor(output: CliContext['stdout'], context: CliContext) {
    this.output = output;
    this.context = context;
  }

  onEvent(event: LocalClusterEvent): void {
    if (this.isStopping) return;
    const { yellow, red, green } = this.context.style;
    switch (event.kind) {
      case 'prepared': {
        const { directory, nodes, isNew, movedNodes } = event.layout;
        this.directory = directory;
        this.say(
          `${isNew ? 'New cluster' : 'Cluster'} in ${directory}: ${nodes.length} storage nodes in 3 zones`,
        );
        if (movedNodes.length > 0) this.say(`Ports taken by others; moved ${movedNodes.join(', ')}`);
        return;
      }
      case 'storage-node-ready':
        this.progress(
          `Starting storage nodes  ${event.ready} of ${event.total}`,
          event.ready === event.total,
        );
        if (event.ready === event.total) this.progress('Starting the compute node', false);
        return;
      case 'compute-node-ready':
        return;
      case 'died':
        this.say(
          yellow(
            `${event.name} ended (${event.reason}); starting it again in ${formatDuration(event.restartInMs)}`,
          ),
        );
        return;
      case 'restart-failed': {
        const { code, message } = errorBody(event.error);
        this.say(red(`${event.name} does not start: ${message} (${code})`));
        this.say(`trying again in ${formatDuration(event.restartInMs)}`);
        return;
      }
      case 'restarted':
        this.say(green(`${event.name} is back`));
        return;
    }
  }

  ready(url: string, hasShell: boolean): void {
    this.clearLine();
    this.isStarting = false;
    const { bold, dim } = this.context.style;
    const seconds = ((performance.now() - this.startedMs) / 1000).toFixed(1);
    const connect = connectUrl(url);
    this.output.write(`\n  ${bold(connect)}\n\n`);
    this.output.write(`  ${dim(`import { createClient } from '@libsql/client'`)}\n`);
    this.output.write(`  ${dim(`const db = createClient({ url: '${connect}' })`)}\n\n`);
    const hint = hasShell ? '' : ` Shell: tidemark sql ${connect}. Ctrl-C stops.`;
    this.output.write(`Ready in ${seconds} s. Logs: ${join(this.directory, 'logs')}.${hint}\n`);
  }

  stopping(): void {
    this.isStopping = true;
    this.clearLine();
    this.output.write('Stopping…\n');
  }

  stopped(): void {
    this.output.write('Stopped.\n');
  }

  private progress(text: string, isFinal: boolean): void {
    if (this.output.isTTY === true) {
      this.output.write(`\r\u001b[2K${text}`);
      this.hasLine = true;
    } else if (isFinal) {
      this.output.write(`${text}\n`);
    }
  }

  private say(text: string): void {
    this.clearLine();
    // A shell's prompt may stand on the line: begin below it.
    const lead = this.isStarting || this.output.isTTY !== true ? '' : '\r\u001b[2K';
    this.output.write(`${lead}${text}\n`);
  }

  private clearLine(): void {
    if (this.hasLine) this.output.write('\r\u001b[2K');
    this.hasLine = false;
  }
}

/** An address to listen on is not always one to connect to. */
function connectUrl(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:').replace(/\/$/, '');
}

function parsed<T>(flag: string, value: string | undefined, parse: (text: string) => T): T | null {
  if (value === undefined || value === '') return null;
  try {
    return parse(value);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new TidemarkError('BAD_REQUEST', `${flag}: ${why}`, { cause });
  }
}

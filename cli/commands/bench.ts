/**
 * `tidemark bench [SUITE…]`: measures a cluster; each suite gets one of its own, of real processes, unless told where one runs. What is measured is
 * in bench/; here are the flags, and who starts clusters.
 */
import type { Command } from 'commander';
import { loadSuites, SUITE_NAMES } from '../../bench/registry.ts';
import type { BenchHost, StartedCluster } from '../../bench/runner.ts';
import type { ClusterOptions, LoadSettings, SuiteContext } from '../../bench/suite.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { parseTarget } from '../client/target.ts';
import type { CliContext } from '../context.ts';
import { EXIT_FAILURE, EXIT_INTERRUPTED } from '../exit.ts';
import { LocalCluster } from '../local-cluster/cluster.ts';
import { wholeNumber } from '../process/settings.ts';

interface BenchFlags {
  readonly only?: string;
  readonly quick?: boolean;
  readonly seconds?: string;
  readonly warmUp?: string;
  readonly rounds?: string;
  readonly clients?: string;
  readonly url?: string;
  readonly authToken?: string;
  readonly json?: string;
  readonly report?: string;
  readonly check?: boolean;
  readonly peers: string;
}

const MIN_SECONDS = 0.05;
const QUICK: Defaults = { durationMs: 1_000, warmUpMs: 300, rounds: 3 };
const FULL: Defaults = { durationMs: 5_000, warmUpMs: 1_000, rounds: 3 };
type Defaults = Pick<LoadSettings, 'durationMs' | 'warmUpMs' | 'rounds'>;

export function addBenchCommand(program: Command, context: CliContext): void {
  program
    .command('bench')
    .description('Measure a cluster: its own, or the one at --url. Ends with one summary line.')
    .argument('[suites...]', `which, of: ${SUITE_NAMES.join(', ')}; default: all`)
    .option('--only <LIST>', 'the same as naming them: A,B')
    .option('--quick', 'short phases: everything in ten minutes')
    .option('--clients <LIST>', 'clients at once, one phase each, instead of the suites’ own')
    .option('--seconds <N>', 'length of each phase')
    .option('--warm-up <N>', 'seconds before counting begins')
    .option('--rounds <N>', 'how often each contender has its turn; figures are medians')
    .option('--url <URL>', 'measure this compute node instead')
    .option('--auth-token <TOKEN>', 'token that it asks for (TIDEMARK_AUTH_TOKEN)')
    .option(
      '--peers <WHICH>',
      'PostgreSQL and etcd beside it: none, present, or install them first',
      'present',
    )
    .option('--json <FILE>', 'write everything measured there')
    .option('--report <DIR>', 'write a page with charts there')
    .option('--check', 'exit code 1 when a figure falls short of its target')
    .action((suites: string[], flags: BenchFlags) => runBench(suites, flags, context));
}

async function runBench(names: readonly string[], flags: BenchFlags, context: CliContext): Promise<void> {
  const only = (flags.only ?? '').split(',').filter((name) => name !== '');
  const suites = await loadSuites([...names, ...only]);
  const [{ runSuites }, { hasShortfall, saveReport }] = await Promise.all([
    import('../../bench/runner.ts'),
    import('../../bench/report.ts'),
  ]);
  const host = new CommandHost(flags, context);
  const onSignal = (): void => {
    host.kill();
    process.exit(EXIT_INTERRUPTED);
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    const report = await runSuites({
      suites,
      isQuick: flags.quick === true,
      load: loadSettings(flags),
      peers: peersOf(flags.peers),
      command: ['tidemark', ...process.argv.slice(2)].join(' '),
      write: (text) => void context.stdout.write(text),
      // On stderr: stdout is the report.
      say: (text) => void context.stderr.write(`${context.errorStyle.dim(text)}\n`),
      host,
      reportDirectory: flags.report ?? null,
    });
    if (flags.json !== undefined) saveReport(flags.json, report);
    if (flags.check === true && hasShortfall(report)) context.setExitCode(EXIT_FAILURE);
  } finally {
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
  }
}

/** Starts clusters of real processes on this machine, or stands for the one at --url. */
class CommandHost implements BenchHost {
  private readonly flags: BenchFlags;
  private readonly context: CliContext;
  private running: LocalCluster | null = null;

  constructor(flags: BenchFlags, context: CliContext) {
    this.flags = flags;
    this.context = context;
  }

  async cluster(directory: string, options: ClusterOptions): Promise<StartedCluster> {
    const { flags, context } = this;
    const token = flags.authToken ?? context.env.TIDEMARK_AUTH_TOKEN ?? null;
    if (flags.url !== undefined) {
      return { target: parseTarget(flags.url, token), own: null, stop: async () => {} };
    }
    const cluster = await LocalCluster.start(
      {
        directory,
        host: '127.0.0.1',
        port: 0,
        storageNodes: null,
        commandPath: context.commandPath,
        env: context.env,
        withoutCompute: options.withoutCompute === true,
        computeArgs: options.computeArgs ?? [],
        onEvent: (event) => {
          // A process that dies while it is measured spoils the figures: say so.
          if (event.kind === 'died') {
            context.stderr.write(`${event.name} ended (${event.reason}); starting it again\n`);
          }
        },
      },
      (begun) => {
        this.running = begun;
      },
    );
    return {
      target: options.withoutCompute === true ? null : parseTarget(cluster.url, token),
      own: {
        nodes: cluster.nodes,
        directory,
        pid: (name) => pidOf(cluster, name),
        restartCompute: () => cluster.restartCompute(),
      },
      stop: async () => {
        this.running = null;
        await cluster.stop();
      },
    };
  }

  kill(): void {
    this.running?.kill();
  }
}

function peersOf(text: string): SuiteContext['peers'] {
  if (text === 'none' || text === 'present' || text === 'install') return text;
  throw new TidemarkError('BAD_REQUEST', `--peers: "${text}" is not one of none, present, install`);
}

function pidOf(cluster: LocalCluster, name: string): number {
  const pid = cluster.pids.get(name);
  if (pid === undefined) throw new TidemarkError('INTERNAL', `there is no process '${name}'`);
  return pid;
}

function loadSettings(flags: BenchFlags): LoadSettings {
  const defaults = flags.quick === true ? QUICK : FULL;
  return {
    clients: flags.clients === undefined ? null : clientList(flags.clients),
    durationMs:
      flags.seconds === undefined ? defaults.durationMs : seconds(flags.seconds, '--seconds', MIN_SECONDS),
    warmUpMs: flags.warmUp === undefined ? defaults.warmUpMs : seconds(flags.warmUp, '--warm-up'),
    rounds: flags.rounds === undefined ? defaults.rounds : number(flags.rounds, '--rounds'),
  };
}

function clientList(text: string): readonly number[] {
  return text.split(',').map((part) => number(part.trim(), '--clients'));
}

function seconds(text: string, flag: string, least = 0): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < least) {
    throw new TidemarkError(
      'BAD_REQUEST',
      `${flag}: "${text}" is not a number of seconds${least > 0 ? `, at least ${least}` : ''}`,
    );
  }
  return value * 1_000;
}

function number(text: string, flag: string): number {
  try {
    return wholeNumber(1, 10_000_000)(text);
  } catch (cause) {
    throw new TidemarkError('BAD_REQUEST', `${flag}: ${(cause as Error).message}`, { cause });
  }
}

/** `tidemark bench`: measures a cluster; starts one of its own, of real processes, unless told where one runs. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { LoadResult } from '../../bench/load.ts';
import type { BenchReport, Target } from '../../bench/report.ts';
import type { BenchSubject, Say } from '../../bench/subject.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { AdminClient } from '../client/admin.ts';
import { parseTarget } from '../client/target.ts';
import type { CliContext } from '../context.ts';
import { EXIT_FAILURE, EXIT_INTERRUPTED } from '../exit.ts';
import { LocalCluster } from '../local-cluster/cluster.ts';
import { wholeNumber } from '../process/settings.ts';

interface BenchFlags {
  readonly seconds: string;
  readonly warmUp: string;
  readonly rows: string;
  readonly clients: string;
  readonly url?: string;
  readonly authToken?: string;
  readonly json?: string;
  readonly check?: boolean;
  readonly inProcess?: boolean;
  readonly megabytes: string;
  readonly data?: string;
}

export function addBenchCommand(program: Command, context: CliContext): void {
  const bench = program
    .command('bench')
    .description('Measure a cluster (its own, or the one at --url). Ends with one summary line.');
  addCommon(bench.command('quorum').description('Commit latency and throughput of one-row updates.'))
    .option('--clients <LIST>', 'clients at once, one phase each', '1,8,32,64')
    .option('--rows <N>', 'rows of the table', '10000')
    .option('--in-process', 'run the compute node in this process, without a client protocol')
    .action((flags: BenchFlags) => runQuorum(flags, context));
  addCommon(bench.command('select').description('Point selects of cached rows.'))
    .option('--clients <LIST>', 'clients at once, one phase each', '1,32')
    .option('--rows <N>', 'rows of the table', '10000')
    .action((flags: BenchFlags) => runSelect(flags, context));
  addCommon(bench.command('scan').description('Full scan right after a start of the compute node.'))
    .option('--megabytes <N>', 'size of the table', '100')
    .action((flags: BenchFlags) => runScan(flags, context));
}

function addCommon(command: Command): Command {
  return command
    .option('--seconds <N>', 'length of each phase', '5')
    .option('--warm-up <N>', 'seconds before counting begins', '1')
    .option('--url <URL>', 'measure this compute node instead')
    .option('--auth-token <TOKEN>', 'token that it asks for (TIDEMARK_AUTH_TOKEN)')
    .option(
      '--data <DIR>',
      'where its own cluster keeps its data; default: a temporary directory, removed at the end',
    )
    .option('--json <FILE>', 'write the report there')
    .option('--check', 'exit code 1 when a figure falls short of its target');
}

async function runQuorum(flags: BenchFlags, context: CliContext): Promise<void> {
  const { benchQuorum, benchQuorumInProcess, quorumTargets } = await import('../../bench/quorum.ts');
  const options = {
    clients: clientList(flags.clients),
    durationMs: seconds(flags.seconds, '--seconds'),
    warmUpMs: seconds(flags.warmUp, '--warm-up'),
    rows: number(flags.rows, '--rows'),
  };
  const isInProcess = flags.inProcess === true;
  const say = sayer(context);
  const phases = isInProcess
    ? await withStorageOnly(flags, context, async (cluster) => {
        const { node, engine } = await openEngine(cluster);
        try {
          return await benchQuorumInProcess(engine, options, say);
        } finally {
          await node.close();
        }
      })
    : await withSubject(flags, context, (subject) => benchQuorum(subject, options, say));
  const { textTable } = await import('../../bench/report.ts');
  const nodes = phases.at(-1)?.nodes ?? [];
  const acks = textTable(
    ['storage node', 'az', 'ack ms', 'lag records'],
    nodes.map(({ nodeId, az, ackLatencyMs, lagRecords }) => [
      nodeId,
      az,
      ackLatencyMs?.toFixed(2) ?? '',
      String(lagRecords),
    ]),
  );
  const bytes = phases
    .filter(({ bytesPerUpdatePerNode }) => bytesPerUpdatePerNode !== null)
    .map(
      ({ clients, bytesPerUpdatePerNode }) =>
        `  ${clients} client${clients === 1 ? '' : 's'}: ${Math.round(bytesPerUpdatePerNode!)} bytes to each storage node per update\n`,
    )
    .join('');
  const details = nodes.length === 0 ? '' : `\nAcknowledgements at the last phase:\n${acks}\n${bytes}`;
  const settings = { ...options, inProcess: isInProcess };
  await finish(flags, context, 'quorum', settings, phases, quorumTargets(phases, isInProcess), {
    table: { results: phases, operation: 'commits' },
    details,
  });
}

async function runSelect(flags: BenchFlags, context: CliContext): Promise<void> {
  const { benchSelect, selectTargets } = await import('../../bench/select.ts');
  const options = {
    clients: clientList(flags.clients),
    durationMs: seconds(flags.seconds, '--seconds'),
    warmUpMs: seconds(flags.warmUp, '--warm-up'),
    rows: number(flags.rows, '--rows'),
  };
  const results = await withSubject(flags, context, (subject) =>
    benchSelect(subject, options, sayer(context)),
  );
  await finish(flags, context, 'select', options, results, selectTargets(results), {
    table: { results, operation: 'selects' },
    details: '',
  });
}

async function runScan(flags: BenchFlags, context: CliContext): Promise<void> {
  const { benchScan, scanTargets } = await import('../../bench/scan.ts');
  const options = { megabytes: number(flags.megabytes, '--megabytes') };
  const result = await withSubject(flags, context, (subject) => benchScan(subject, options, sayer(context)));
  const details =
    `  cold: ${(result.dataBytes / 1e6).toFixed(0)} MB in ${result.coldSeconds.toFixed(2)} s, ` +
    `${result.coldMegabytesPerSecond.toFixed(1)} MB/s\n  again: ${result.warmSeconds.toFixed(2)} s\n`;
  await finish(flags, context, 'scan', options, result, scanTargets(result), { table: null, details });
}

interface Shown {
  readonly table: { readonly results: readonly LoadResult[]; readonly operation: string } | null;
  readonly details: string;
}

async function finish(
  flags: BenchFlags,
  context: CliContext,
  bench: string,
  settings: Readonly<Record<string, unknown>>,
  results: unknown,
  targets: readonly Target[],
  shown: Shown,
): Promise<void> {
  const { hasShortfall, headText, loadTable, makeReport, saveReport, summaryLine, targetsText } =
    await import('../../bench/report.ts');
  const report: BenchReport = makeReport(bench, settings, results, targets);
  const table = shown.table === null ? '' : loadTable(shown.table.results, shown.table.operation);
  context.stdout.write(`${headText(report)}\n${table}${shown.details}\n${targetsText(report)}`);
  if (flags.json !== undefined) saveReport(flags.json, report);
  context.stdout.write(summaryLine(report));
  if (flags.check === true && hasShortfall(report)) context.setExitCode(EXIT_FAILURE);
}

/** The cluster to measure, alive while `measure` runs. */
async function withSubject<T>(
  flags: BenchFlags,
  context: CliContext,
  measure: (subject: BenchSubject) => Promise<T>,
): Promise<T> {
  const token = flags.authToken ?? context.env.TIDEMARK_AUTH_TOKEN ?? null;
  if (flags.url !== undefined) {
    const target = parseTarget(flags.url, token);
    return measure({
      target,
      nodeLatencies: () => latencies(new AdminClient(target), target.volume),
      computeBytesWritten: () => null,
      restartCompute: null,
    });
  }
  return withLocalCluster(flags, context, false, (cluster) => {
    const target = parseTarget(cluster.url, token);
    return measure({
      target,
      nodeLatencies: () => latencies(new AdminClient(target), target.volume),
      computeBytesWritten: () => bytesWritten(cluster.pids.get('compute')),
      restartCompute: () => cluster.restartCompute(),
    });
  });
}

async function withStorageOnly<T>(
  flags: BenchFlags,
  context: CliContext,
  measure: (cluster: LocalCluster) => Promise<T>,
): Promise<T> {
  if (flags.url !== undefined) {
    throw new TidemarkError('BAD_REQUEST', '--in-process and --url exclude each other', {
      nextStep: 'Leave out one of them.',
    });
  }
  return withLocalCluster(flags, context, true, measure);
}

async function withLocalCluster<T>(
  flags: BenchFlags,
  context: CliContext,
  withoutCompute: boolean,
  measure: (cluster: LocalCluster) => Promise<T>,
): Promise<T> {
  const directory = flags.data ?? mkdtempSync(join(tmpdir(), 'tidemark-bench-'));
  const say = sayer(context);
  say('Starting a cluster…');
  let starting: LocalCluster | null = null;
  const onSignal = (): void => {
    starting?.kill();
    if (flags.data === undefined) rmSync(directory, { recursive: true, force: true });
    process.exit(EXIT_INTERRUPTED);
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    const cluster = await LocalCluster.start(
      {
        directory,
        host: '127.0.0.1',
        port: 0,
        storageNodes: null,
        commandPath: context.commandPath,
        env: context.env,
        withoutCompute,
        onEvent: (event) => {
          // A process that dies while it is measured spoils the figures: say so.
          if (event.kind === 'died') say(`${event.name} ended (${event.reason}); starting it again`);
        },
      },
      (begun) => {
        starting = begun;
      },
    );
    return await measure(cluster);
  } finally {
    await (starting as LocalCluster | null)?.stop();
    if (flags.data === undefined) rmSync(directory, { recursive: true, force: true });
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
  }
}

async function openEngine(cluster: LocalCluster) {
  const { ComputeNode } = await import('../../compute-node/node.ts');
  const { ENGINE_WORKER_URL, engineLimits } = await import('../../compute-node/start.ts');
  const { silentLogger } = await import('../../src/adapters/logger.ts');
  const { DEFAULT_COMMIT_TIMEOUT_MS, DEFAULT_PG_PAGES, DEFAULT_WINDOW_MS } = await import(
    '../../src/base/limits.ts'
  );
  const node = await ComputeNode.open({
    computeId: 'bench',
    advertiseUrl: 'in-process',
    nodes: cluster.nodes,
    workerUrl: ENGINE_WORKER_URL,
    engineLimits: engineLimits({}),
    commitTimeoutMs: DEFAULT_COMMIT_TIMEOUT_MS,
    maxOpenVolumes: 1,
    pgPages: DEFAULT_PG_PAGES,
    windowMs: DEFAULT_WINDOW_MS,
    logger: silentLogger,
  });
  await node.ensureVolume('main');
  return { node, engine: (await node.volume('main')).engine };
}

async function latencies(admin: AdminClient, volume: string) {
  const report = await admin.status();
  const nodes = report.volumes.find(({ name }) => name === volume)?.status?.nodes ?? [];
  return nodes.map(({ nodeId, az, ackLatencyMs, lagRecords }) => ({ nodeId, az, ackLatencyMs, lagRecords }));
}

/** What the kernel counted for the process: writes to sockets and files. Linux only. */
function bytesWritten(pid: number | undefined): number | null {
  if (pid === undefined) return null;
  try {
    const found = /^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1];
    return found === undefined ? null : Number(found);
  } catch {
    return null;
  }
}

/** What goes on, on stderr: stdout is the report. */
function sayer(context: CliContext): Say {
  return (text) => {
    context.stderr.write(`${context.errorStyle.dim(text)}\n`);
  };
}

function clientList(text: string): readonly number[] {
  return text.split(',').map((part) => number(part.trim(), '--clients'));
}

function seconds(text: string, flag: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0) {
    throw new TidemarkError('BAD_REQUEST', `${flag}: "${text}" is not a number of seconds`);
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

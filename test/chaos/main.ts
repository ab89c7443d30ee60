/**
 * `npm run chaos -- …`: real processes under real faults. Progress goes to stderr, one line of summary to stdout, the rest to `--json FILE`; the exit code
 * is 1 when a rule was broken, 2 for a command that is none, 130 when interrupted.
 */
import { parseArgs } from 'node:util';
import { type CommandContext, lastLine, type Report, writeReport } from './report.ts';
import { runMayhem } from './commands/mayhem.ts';

const USAGE = `npm run chaos -- [COMMAND] [OPTIONS]

  --kills N --powercuts N   random SIGKILLs, SIGSTOPs and power cuts under load, until there were that many

Options of all: --seed N   --json FILE   --verbose (tell every story)
`;

interface Flags {
  readonly kills: number;
  readonly powercuts: number;
}

async function run(
  command: string | undefined,
  flags: Flags,
  context: CommandContext,
): Promise<Report | null> {
  switch (command) {
    case undefined:
      if (flags.kills + flags.powercuts === 0) return null;
      return runMayhem(context, { kills: flags.kills, powerCuts: flags.powercuts });
    default:
      return null;
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      kills: { type: 'string', default: '0' },
      powercuts: { type: 'string', default: '0' },
      seed: { type: 'string' },
      json: { type: 'string' },
      verbose: { type: 'boolean', default: false },
    },
  });
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (interrupted.signal.aborted) process.exit(130);
      process.stderr.write('interrupted: ending the processes\n');
      interrupted.abort();
    });
  }
  const context: CommandContext = {
    seed: wholeNumber('seed', values.seed ?? String(Math.floor(Math.random() * 1_000_000))),
    signal: interrupted.signal,
    console: { progress: (line) => process.stderr.write(`${line}\n`), isVerbose: values.verbose },
  };
  const startedMs = performance.now();
  try {
    const flags = {
      kills: wholeNumber('kills', values.kills),
      powercuts: wholeNumber('powercuts', values.powercuts),
    };
    const report = await run(positionals[0], flags, context);
    if (report === null) {
      process.stderr.write(USAGE);
      return 2;
    }
    for (const what of report.skipped) process.stderr.write(`SKIPPED: ${what}\n`);
    for (const violation of report.violations) process.stderr.write(`VIOLATION: ${violation}\n`);
    if (values.json !== undefined) writeReport(values.json, report);
    process.stdout.write(`${lastLine(report, performance.now() - startedMs)}\n`);
    return report.violations.length === 0 ? 0 : 1;
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    return 130;
  }
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`--${name} takes a whole number, not ${text}`);
  return Number(text);
}

process.exitCode = await main();

/**
 * `npm run chaos -- …`: real processes under real faults. Progress goes to stderr, one line of summary to stdout, the rest to `--json FILE`; the exit code
 * is 1 when a rule was broken, 2 for a command that is none, 130 when interrupted.
 */
import { parseArgs } from 'node:util';
import { runZones } from './commands/az.ts';
import { runBitrot } from './commands/bitrot.ts';
import { runDisks } from './commands/disks.ts';
import { runMayhem } from './commands/mayhem.ts';
import { runMembers } from './commands/members.ts';
import { runNetwork } from './commands/network.ts';
import { runRollbacks } from './commands/rollback.ts';
import { runSlow } from './commands/slow.ts';
import { runZombies } from './commands/zombie.ts';
import { type CommandContext, lastLine, type Report, writeReport } from './report.ts';

type Numbers = Readonly<
  Record<'kills' | 'powercuts' | 'rounds' | 'nodes' | 'minutes' | 'flips', number | null>
>;

interface Command {
  readonly usage: string;
  readonly does: string;
  readonly run: (context: CommandContext, numbers: Numbers, isExhaustive: boolean) => Promise<Report>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  mayhem: {
    usage: '--kills N --powercuts N',
    does: 'random SIGKILLs, SIGSTOPs and power cuts under load, until there were that many',
    run: (context, { kills, powercuts }) =>
      runMayhem(context, { kills: kills ?? (powercuts === null ? 50 : 0), powerCuts: powercuts ?? 0 }),
  },
  zombie: {
    usage: 'zombie --rounds N',
    does: 'deposed writers that wake up, or never slept: no stale read, no acknowledgement in vain',
    run: (context, { rounds }) => runZombies(context, rounds ?? 8),
  },
  az: {
    usage: 'az --rounds N',
    does: 'a zone goes away, then one more node: how long clients wait, at each step',
    run: (context, { rounds }) => runZones(context, rounds ?? 6),
  },
  network: {
    usage: 'network --rounds N',
    does: 'cables pulled and ways cut, one direction or both',
    run: (context, { rounds }) => runNetwork(context, rounds ?? 8),
  },
  members: {
    usage: 'members --rounds N',
    does: 'storage nodes replaced and emptied under load and kills',
    run: (context, { rounds }) => runMembers(context, rounds ?? 7),
  },
  rollback: {
    usage: 'rollback --rounds N',
    does: 'nodes that come back with an old disk, just when all depends on them',
    run: (context, { rounds }) => runRollbacks(context, rounds ?? 4),
  },
  disks: {
    usage: 'disks --rounds N',
    does: 'disks that are full, disks whose writes and syncs fail',
    run: (context, { rounds }) => runDisks(context, rounds ?? 7),
  },
  bitrot: {
    usage: 'bitrot --flips N | --exhaustive',
    does: 'flipped bits in every file of a stopped node: harmless, or found and repaired',
    run: (context, { flips }, isExhaustive) => runBitrot(context, isExhaustive ? null : (flips ?? 2_000)),
  },
  slow: {
    usage: 'slow --nodes N --minutes M',
    does: 'commits and memory under full load with N nodes stopped, then crawling',
    run: (context, { nodes, minutes }) => runSlow(context, nodes ?? 2, minutes ?? 1),
  },
};

function usage(): string {
  const lines = Object.values(COMMANDS).map(({ usage, does }) => `  ${usage.padEnd(31)} ${does}`);
  return [
    'npm run chaos -- …',
    ...lines,
    'Options of all: --seed N  --json FILE  --verbose (tell every story)',
    '',
  ].join('\n');
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      kills: { type: 'string' },
      powercuts: { type: 'string' },
      rounds: { type: 'string' },
      nodes: { type: 'string' },
      minutes: { type: 'string' },
      flips: { type: 'string' },
      exhaustive: { type: 'boolean', default: false },
      seed: { type: 'string' },
      json: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const isEmpty = positionals.length === 0 && values.kills === undefined && values.powercuts === undefined;
  const command = COMMANDS[positionals[0] ?? 'mayhem'];
  if (values.help || isEmpty || command === undefined || positionals.length > 1) {
    process.stderr.write(usage());
    return 2;
  }
  const context: CommandContext = {
    seed: number('seed', values.seed) ?? Math.floor(Math.random() * 1_000_000),
    signal: interruption(),
    console: { progress: (line) => process.stderr.write(`${line}\n`), isVerbose: values.verbose },
  };
  const startedMs = performance.now();
  try {
    const numbers = {
      kills: number('kills', values.kills),
      powercuts: number('powercuts', values.powercuts),
      rounds: number('rounds', values.rounds),
      nodes: number('nodes', values.nodes),
      minutes: number('minutes', values.minutes),
      flips: number('flips', values.flips),
    };
    const report = await command.run(context, numbers, values.exhaustive);
    for (const what of report.skipped) process.stderr.write(`SKIPPED: ${what}\n`);
    if (values.json !== undefined) writeReport(values.json, report);
    process.stdout.write(`${lastLine(report, performance.now() - startedMs)}\n`);
    return report.violations.length === 0 ? 0 : 1;
  } catch (error) {
    if (!context.signal.aborted) throw error;
    return 130;
  }
}

/** Aborts at the first Ctrl-C, so that everything is cleaned up; a second one ends the process where it stands. */
function interruption(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (interrupted.signal.aborted) process.exit(130);
      process.stderr.write('interrupted: ending the processes\n');
      interrupted.abort();
    });
  }
  return interrupted.signal;
}

function number(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d+(\.\d+)?$/.test(text)) throw new Error(`--${name} takes a number, not ${text}`);
  return Number(text);
}

process.exitCode = await main();

/** `tidemark sql`: the SQL shell, at a terminal, on a script from stdin, or on `-e`. */
import type { Command } from 'commander';
import { TidemarkError } from '../../src/base/errors.ts';
import { HranaSqlClient } from '../client/hrana-client.ts';
import { parsePlace, type Target, targetUrl } from '../client/target.ts';
import { type CliContext, paced } from '../context.ts';
import { EXIT_FAILURE, EXIT_INTERRUPTED } from '../exit.ts';
import { defaultHistoryPath, History } from '../shell/history.ts';
import { MODES, type Mode } from '../shell/render/renderer.ts';
import { type Settings, Shell } from '../shell/shell.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface SqlFlags extends TargetFlags, ShellFlags {
  readonly execute: readonly string[];
}

export interface ShellFlags {
  readonly mode?: string;
  readonly json?: boolean;
  readonly csv?: boolean;
  readonly headers?: boolean;
  readonly history?: string;
}

export function addSqlCommand(program: Command, context: CliContext): void {
  const command = program
    .command('sql')
    .description('SQL shell on a volume. Runs stdin when it is not a terminal.')
    .argument(
      '[VOLUME]',
      'a volume or a moment of it, like dev or main@-15m; or a URL: http://127.0.0.1:8080/dev',
    )
    .option('-e, --execute <SQL>', 'run this and end; may be given several times', collect, []);
  addShellOptions(addTargetOptions(command)).action(async (place: string | undefined, flags: SqlFlags) => {
    const here = targetOf(flags, context);
    const target = place === undefined ? here : parsePlace(place, here);
    if (flags.execute.length > 0) {
      const script = flags.execute.map((text) => (/;\s*$|^\s*\./.test(text) ? `${text}\n` : `${text};\n`));
      await runShellScript(context, target, flags, script, null);
    } else if (context.stdin.isTTY === true) {
      await runShellInteractive(context, target, flags);
    } else {
      await runShellScript(context, target, flags, stdinText(context), null);
    }
  });
}

export function addShellOptions(command: Command): Command {
  return command
    .option('--mode <MODE>', `how results are shown: ${MODES.join(', ')}`)
    .option('--json', 'short for --mode json')
    .option('--csv', 'short for --mode csv')
    .option('--no-headers', 'leave out column names')
    .option('--history <FILE>', 'history file (TIDEMARK_HISTORY; default ~/.tidemark_history; "" for none)');
}

/** Sets the exit code: 1 when anything failed, 130 when it was interrupted. */
export async function runShellScript(
  context: CliContext,
  target: Target,
  flags: ShellFlags,
  script: AsyncIterable<string> | Iterable<string>,
  name: string | null,
): Promise<void> {
  const shell = await openShell(context, target, flags, false);
  let isInterrupted = false;
  const onInterrupt = (): void => {
    if (isInterrupted) process.exit(EXIT_INTERRUPTED);
    isInterrupted = true;
    shell.isQuitting = true;
    void shell.interrupt();
  };
  process.on('SIGINT', onInterrupt);
  try {
    await shell.runScript(script, name);
  } finally {
    process.removeListener('SIGINT', onInterrupt);
    shell.close();
  }
  if (isInterrupted) context.setExitCode(EXIT_INTERRUPTED);
  else if (shell.hasFailed) context.setExitCode(EXIT_FAILURE);
}

/** Resolves when the person left. `stopped`: leaves by itself. */
export async function runShellInteractive(
  context: CliContext,
  target: Target,
  flags: ShellFlags,
  stopped?: Promise<void>,
): Promise<void> {
  const shell = await openShell(context, target, flags, true);
  const { runInteractive } = await import('../shell/interactive.ts');
  const { bold, dim } = context.style;
  try {
    await runInteractive({
      shell,
      history: new History(flags.history ?? defaultHistoryPath(context.env)),
      input: context.stdin,
      output: context.stdout,
      greeting: `${bold('Tidemark')} at ${targetUrl(target)}   ${dim('.help shows commands, Ctrl-D leaves')}\n`,
      ...(stopped === undefined ? {} : { stopped }),
    });
  } finally {
    shell.close();
  }
}

export async function* stdinText(context: CliContext): AsyncGenerator<string> {
  context.stdin.setEncoding('utf8');
  for await (const chunk of context.stdin) yield String(chunk);
}

async function openShell(
  context: CliContext,
  target: Target,
  flags: ShellFlags,
  isInteractive: boolean,
): Promise<Shell> {
  const connect = (where: Target): Promise<HranaSqlClient> => HranaSqlClient.open(where);
  const settings: Partial<Settings> = { mode: modeOf(flags), headers: flags.headers !== false };
  const client = await connect(target);
  return new Shell({
    client,
    target,
    connect,
    write: paced(context.stdout),
    writeError: paced(context.stderr),
    style: context.style,
    errorStyle: context.errorStyle,
    isInteractive,
    settings,
    progress: context.stderr.isTTY === true ? context.stderr : null,
  });
}

function modeOf(flags: ShellFlags): Mode {
  if (flags.json === true) return 'json';
  if (flags.csv === true) return 'csv';
  if (flags.mode === undefined) return 'table';
  const mode = MODES.find((known) => known === flags.mode);
  if (mode !== undefined) return mode;
  throw new TidemarkError('BAD_REQUEST', `"${flags.mode}" is not a mode`, {
    nextStep: `Choose one of ${MODES.join(', ')}.`,
  });
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

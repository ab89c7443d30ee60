/** `tidemark clone`, `drop`, `backtrack` and `window`: copies of a volume, and its way back and forth in time. */
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { TidemarkError } from '../../src/base/errors.ts';
import { parseMoment, splitMoment } from '../../src/timeline/moment.ts';
import { checkVolume, DEFAULT_URL, type Target } from '../client/target.ts';
import { TimelinesClient } from '../client/timelines.ts';
import type { CliContext } from '../context.ts';
import { momentText } from '../terminal/moments.ts';
import { renderWindow } from '../timelines-report.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface TimelineFlags extends TargetFlags {
  readonly json?: boolean;
}

export function addTimelineCommands(program: Command, context: CliContext): void {
  addTargetOptions(
    program.command('clone').description('Make a writable copy of a volume, at once, whatever its size.'),
  )
    .argument('<SOURCE[@WHEN]>', 'a volume, or a moment of it: main@-15m, main@lsn:123, main@SNAPSHOT')
    .argument('<NEW>', 'name of the copy')
    .option('--json', 'as JSON')
    .action(async (source: string, name: string, flags: TimelineFlags) => {
      checkVolume(splitMoment(source).name);
      checkVolume(name);
      const target = targetOf(flags, context);
      const clone = await new TimelinesClient(target).clone(source, name);
      const { from } = clone;
      say(
        context,
        flags,
        clone,
        `Volume ${clone.name} is a clone of ${from.name} at ${momentText(from.point.lsn, from.committedAtMicros)}.\n` +
          `It is at ${target.httpOrigin}/${clone.name}, and shares with ${from.name} whatever neither changes.\n`,
      );
    });

  addTargetOptions(
    program
      .command('drop')
      .description('Drop a volume. Its clones keep what they need of it; nothing brings it back.'),
  )
    .argument('<VOLUME>')
    .option('--yes', 'do not ask')
    .option('--force', 'although it is open: its sessions end')
    .option('--json', 'as JSON')
    .action(
      async (name: string, flags: TimelineFlags & { readonly yes?: boolean; readonly force?: boolean }) => {
        checkVolume(name);
        const target = targetOf(flags, context);
        if (flags.yes !== true && !(await isConfirmed(name, context))) {
          context.stdout.write('Nothing was dropped.\n');
          return;
        }
        const dropped = await new TimelinesClient(target).drop(name, flags.force === true);
        say(context, flags, dropped, `Volume ${dropped.name} is dropped.\n`);
      },
    );

  addTargetOptions(
    program
      .command('backtrack')
      .description('Take a volume back to a moment, in place and at once; or forward again.'),
  )
    .argument('<VOLUME>')
    .requiredOption('--to <WHEN>', 'a time, -15m, lsn:N, or the name of a snapshot')
    .option('--json', 'as JSON')
    .action(async (name: string, flags: TimelineFlags & { readonly to: string }) => {
      checkVolume(name);
      parseMoment(flags.to);
      const target = targetOf(flags, context);
      const done = await new TimelinesClient(target).backtrack(name, flags.to);
      say(
        context,
        flags,
        done,
        `Volume ${done.name} is back at ${momentText(done.to.point.lsn, done.to.committedAtMicros)}.\n` +
          `It was at ${done.undo}. To go forward again:\n  tidemark backtrack ${done.name} --to ${done.undo}${urlOption(target)}\n`,
      );
    });

  addTargetOptions(
    program.command('window').description('Show or set how far back a volume can be read and taken back.'),
  )
    .argument('<VOLUME>')
    .argument('[DURATION]', 'up to 72h: 72h, 90m, 1d12h')
    .option('--json', 'as JSON')
    .action(async (name: string, duration: string | undefined, flags: TimelineFlags) => {
      checkVolume(name);
      const client = new TimelinesClient(targetOf(flags, context));
      const window =
        duration === undefined
          ? await client.window(name)
          : await client.setWindow(name, durationMs(duration));
      say(context, flags, window, renderWindow(name, window));
    });
}

function say(context: CliContext, flags: TimelineFlags, result: object, text: string): void {
  context.stdout.write(flags.json === true ? `${JSON.stringify(result)}\n` : text);
}

async function isConfirmed(name: string, context: CliContext): Promise<boolean> {
  if (context.stdin.isTTY !== true) {
    throw new TidemarkError(
      'BAD_REQUEST',
      `nobody is there to confirm that volume ${name} is to be dropped`,
      {
        nextStep: 'Add --yes.',
      },
    );
  }
  const readline = createInterface({ input: context.stdin, output: context.stderr });
  try {
    const answer = await readline.question(`Drop volume ${name}? Nothing brings it back. [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    readline.close();
  }
}

/** Written as a while ago is, without its minus. */
function durationMs(text: string): number {
  const moment = /^\d/.test(text) && !text.includes(':') ? tryMoment(`-${text}`) : null;
  if (moment?.kind === 'ago') return moment.micros / 1_000;
  throw new TidemarkError('BAD_REQUEST', `"${text}" is no duration`, {
    nextStep: 'Write it like 72h, 90m or 1d12h.',
  });
}

function tryMoment(text: string): ReturnType<typeof parseMoment> | null {
  try {
    return parseMoment(text);
  } catch {
    return null;
  }
}

/** What makes a printed command find the same compute node again. */
function urlOption({ httpOrigin }: Target): string {
  return httpOrigin === DEFAULT_URL ? '' : ` --url ${httpOrigin}`;
}

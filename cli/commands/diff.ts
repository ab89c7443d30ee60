/** `tidemark diff`: what two moments differ in, as text, JSON, or a changeset for SQLite. */
import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { TidemarkError } from '../../src/base/errors.ts';
import { splitMoment } from '../../src/timeline/moment.ts';
import { type Compared, DifferencesClient } from '../client/differences.ts';
import { checkVolume } from '../client/target.ts';
import { type CliContext, paced } from '../context.ts';
import { DiffText } from '../differences-report.ts';
import { formatBytes } from '../terminal/progress.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface DiffFlags extends TargetFlags {
  readonly table?: string;
  readonly json?: boolean;
  readonly changeset?: string;
  readonly force?: boolean;
}

export function addDiffCommand(program: Command, context: CliContext): void {
  addTargetOptions(
    program
      .command('diff')
      .description('What to change in one moment of a volume to have another: rows, and the schema.'),
  )
    .argument('<FROM[@WHEN]>', 'a volume, or a moment of it: main, main@-15m, main@lsn:123, main@SNAPSHOT')
    .argument('<TO[@WHEN]>', 'the same volume, or a clone of it, or what it was cloned from')
    .option('--table <NAME>', 'only this table')
    .option('--json', 'as JSON, one object per line')
    .option('--changeset <FILE>', 'as a changeset of SQLite’s session extension')
    .option('--force', 'overwrite the file')
    .action(async (from: string, to: string, flags: DiffFlags) => {
      for (const text of [from, to]) checkVolume(splitMoment(text).name);
      const compared: Compared = { from, to, ...(flags.table === undefined ? {} : { table: flags.table }) };
      const client = new DifferencesClient(targetOf(flags, context));
      if (flags.changeset === undefined) await show(client, compared, flags.json === true, context);
      else await save(client, compared, flags.changeset, flags, context);
    });
}

async function show(
  client: DifferencesClient,
  compared: Compared,
  isJson: boolean,
  context: CliContext,
): Promise<void> {
  const write = paced(context.stdout);
  const text = new DiffText(context.style);
  for await (const event of client.diff(compared)) {
    if (isJson) await write(`${JSON.stringify(event)}\n`);
    else await write(event.kind === 'end' ? text.end() : text.linesOf(event));
  }
}

async function save(
  client: DifferencesClient,
  compared: Compared,
  file: string,
  { force, json }: DiffFlags,
  context: CliContext,
): Promise<void> {
  const { bytes, rows, leftOut, schemaChanges } = await client.changeset(compared);
  try {
    await writeFile(file, bytes, { flag: force === true ? 'w' : 'wx' });
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    throw new TidemarkError(
      'IO_ERROR',
      exists ? `${file} exists` : `cannot write ${file}: ${(cause as Error).message}`,
      {
        cause,
        nextStep: exists ? 'Name another file, or add --force.' : 'Name a place that may be written to.',
      },
    );
  }
  if (json === true) {
    const summary = { ...compared, file, bytes: bytes.length, rows, leftOut, schemaChanges };
    context.stdout.write(`${JSON.stringify(summary)}\n`);
    return;
  }
  context.stdout.write(`${rows} changed rows into ${file} (${formatBytes(bytes.length)})\n`);
  if (leftOut > 0) context.stdout.write(`${leftOut} rows left out: no changeset can tell them apart\n`);
  if (schemaChanges > 0)
    context.stdout.write(`${schemaChanges} changes of the schema are not in it: see tidemark diff\n`);
}

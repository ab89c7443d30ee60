#!/usr/bin/env node
/** The `tidemark` command. Each subcommand is a module in commands/, which loads what it needs when it runs. */
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { BUILD_VERSION } from '../src/adapters/build-info.ts';
import { isTidemarkError } from '../src/base/errors.ts';
import { addBenchCommand } from './commands/bench.ts';
import { addComputeNodeCommand } from './commands/compute-node.ts';
import { addDiffCommand } from './commands/diff.ts';
import { addHealthCommand } from './commands/health.ts';
import { addMergeCommand } from './commands/merge.ts';
import { addNodeCommand } from './commands/node.ts';
import { addRestoreRowsCommand } from './commands/restore-rows.ts';
import { addScrubCommand } from './commands/scrub.ts';
import { addSnapshotCommand } from './commands/snapshot.ts';
import { addSqlCommand } from './commands/sql.ts';
import { addStatusCommand } from './commands/status.ts';
import { addStorageNodeCommand } from './commands/storage-node.ts';
import { addTimelineCommands } from './commands/timelines.ts';
import { addExportCommand, addImportCommand } from './commands/transfer.ts';
import { addUpCommand } from './commands/up.ts';
import { addVolumesCommand } from './commands/volumes.ts';
import type { CliContext } from './context.ts';
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE, errorBody, errorText } from './exit.ts';
import { styleFor } from './terminal/style.ts';

const context: CliContext = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  commandPath: fileURLToPath(import.meta.url),
  style: styleFor(process.stdout.isTTY === true, process.env),
  errorStyle: styleFor(process.stderr.isTTY === true, process.env),
  setExitCode: (code) => {
    process.exitCode = code;
  },
};

const program = new Command('tidemark')
  .description('A distributed SQL database: SQLite over a log-structured quorum store.')
  .version(BUILD_VERSION)
  .showHelpAfterError('(see --help)')
  .exitOverride();

addUpCommand(program, context);
addSqlCommand(program, context);
addStatusCommand(program, context);
addVolumesCommand(program, context);
addDiffCommand(program, context);
addMergeCommand(program, context);
addRestoreRowsCommand(program, context);
addTimelineCommands(program, context);
addSnapshotCommand(program, context);
addNodeCommand(program, context);
addScrubCommand(program, context);
addImportCommand(program, context);
addExportCommand(program, context);
addBenchCommand(program, context);
addStorageNodeCommand(program, context);
addComputeNodeCommand(program, context);
addHealthCommand(program, context);
overrideExits(program);

// A reader that has seen enough (`| head`) is no failure.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT_OK);
    throw error;
  });
}

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
// Nothing of a finished command may hold the process: a socket that lingers, a timer of a library.
process.stdout.write('', () => process.exit());

function report(error: unknown): number {
  // Commander has said it already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
  if (process.argv.includes('--json')) {
    process.stderr.write(`${JSON.stringify({ error: errorBody(error) })}\n`);
  } else {
    process.stderr.write(errorText(error, context.errorStyle));
  }
  return isTidemarkError(error, 'BAD_REQUEST') ? EXIT_USAGE : EXIT_FAILURE;
}

/** Subcommands do not inherit it. */
function overrideExits(command: Command): void {
  for (const sub of command.commands) {
    sub.exitOverride();
    overrideExits(sub);
  }
}

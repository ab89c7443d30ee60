/** `tidemark restore-rows`: rows of the past into the present, without going back with the rest. */
import type { Command } from 'commander';
import { splitMoment } from '../../src/timeline/moment.ts';
import { DifferencesClient } from '../client/differences.ts';
import { checkVolume } from '../client/target.ts';
import type { CliContext } from '../context.ts';
import { restoreText } from '../differences-report.ts';
import { EXIT_FAILURE } from '../exit.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface RestoreFlags extends TargetFlags {
  readonly overwrite?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

export function addRestoreRowsCommand(program: Command, context: CliContext): void {
  addTargetOptions(
    program
      .command('restore-rows')
      .description('Bring rows of the past back into the present, and leave the rest as it is.'),
  )
    .argument('<VOLUME@WHEN>', 'where the rows still are: main@-15m, main@lsn:123, main@SNAPSHOT')
    .argument('<SELECT>', "which, as of then: 'SELECT * FROM orders WHERE customer = 7'")
    .option('--overwrite', 'rows that have other values by now take their old ones')
    .option('--dry-run', 'only say what would happen')
    .option('--json', 'as JSON')
    .action(async (from: string, select: string, flags: RestoreFlags) => {
      checkVolume(splitMoment(from).name);
      const isDryRun = flags.dryRun === true;
      const client = new DifferencesClient(targetOf(flags, context));
      const restored = await client.restoreRows({
        from,
        select,
        overwrite: flags.overwrite === true,
        dryRun: isDryRun,
      });
      context.stdout.write(
        flags.json === true
          ? `${JSON.stringify(restored)}\n`
          : restoreText(restored, isDryRun, context.style),
      );
      if (restored.different > restored.overwritten) context.setExitCode(EXIT_FAILURE);
    });
}

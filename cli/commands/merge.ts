/** `tidemark merge`: what changed in a clone since it was made, into what it was made from; or the other way round. */
import { Option, type Command } from 'commander';
import type { ConflictPolicy } from '../../compute-node/engine/api.ts';
import { splitMoment } from '../../src/timeline/moment.ts';
import { DifferencesClient } from '../client/differences.ts';
import { checkVolume } from '../client/target.ts';
import type { CliContext } from '../context.ts';
import { mergeText } from '../differences-report.ts';
import { EXIT_FAILURE } from '../exit.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface MergeFlags extends TargetFlags {
  readonly policy: ConflictPolicy;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

export function addMergeCommand(program: Command, context: CliContext): void {
  addTargetOptions(
    program
      .command('merge')
      .description('Apply to one volume what changed in another since they parted: all of it, or nothing.'),
  )
    .argument('<FROM[@WHEN]>', 'the volume whose changes are taken')
    .argument('<INTO>', 'the volume that is written to')
    .addOption(
      new Option('--policy <POLICY>', 'rows that both changed: abort merges nothing')
        .choices(['abort', 'ours', 'theirs'])
        .default('abort'),
    )
    .option('--dry-run', 'only say what would happen')
    .option('--json', 'as JSON')
    .action(async (from: string, into: string, flags: MergeFlags) => {
      checkVolume(splitMoment(from).name);
      checkVolume(into);
      const isDryRun = flags.dryRun === true;
      const client = new DifferencesClient(targetOf(flags, context));
      const merged = await client.merge({ from, into, policy: flags.policy, dryRun: isDryRun });
      context.stdout.write(
        flags.json === true
          ? `${JSON.stringify(merged)}\n`
          : mergeText(merged, from, into, isDryRun, context.style),
      );
      if (merged.unsettled > 0) context.setExitCode(EXIT_FAILURE);
    });
}

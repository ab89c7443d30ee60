/** `tidemark status`: the cluster as a compute node sees it. */
import type { Command } from 'commander';
import { AdminClient } from '../client/admin.ts';
import { type CliContext, paced } from '../context.ts';
import { renderStatus } from '../status-report.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

export function addStatusCommand(program: Command, context: CliContext): void {
  addTargetOptions(
    program.command('status').description('Show nodes, zones, volumes, LSNs, epochs, lag, sizes.'),
  )
    .argument('[URL]', 'compute node')
    .option('--json', 'as JSON')
    .action(async (url: string | undefined, flags: TargetFlags & { readonly json?: boolean }) => {
      const report = await new AdminClient(targetOf(flags, context, url)).status();
      const text =
        flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : renderStatus(report, context.style);
      await paced(context.stdout)(text);
    });
}

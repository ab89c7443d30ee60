/** `tidemark volumes`: list and make volumes. */
import type { Command } from 'commander';
import { AdminClient } from '../client/admin.ts';
import { checkVolume } from '../client/target.ts';
import { TimelinesClient } from '../client/timelines.ts';
import type { CliContext } from '../context.ts';
import { renderVolumes } from '../timelines-report.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface VolumesFlags extends TargetFlags {
  readonly json?: boolean;
}

export function addVolumesCommand(program: Command, context: CliContext): void {
  const volumes = program.command('volumes').description('List and make volumes (databases).');
  addTargetOptions(
    volumes
      .command('list', { isDefault: true })
      .description(
        'List the volumes, each below the one it was cloned from, and what they take on six nodes.',
      ),
  )
    .option('--json', 'as JSON')
    .action(async (flags: VolumesFlags) => {
      const list = await new TimelinesClient(targetOf(flags, context)).volumes();
      context.stdout.write(
        flags.json === true
          ? `${JSON.stringify({ volumes: list }, null, 2)}\n`
          : renderVolumes(list, context.style),
      );
    });
  addTargetOptions(volumes.command('create').description('Make an empty volume.'))
    .argument('<NAME>', 'a–z, 0–9 and "-"')
    .option('--json', 'as JSON')
    .action(async (name: string, flags: VolumesFlags) => {
      checkVolume(name);
      const target = targetOf(flags, context);
      const created = await new AdminClient(target).createVolume(name);
      context.stdout.write(
        flags.json === true
          ? `${JSON.stringify(created)}\n`
          : `Volume ${name} is at ${target.httpOrigin}/${name}\n`,
      );
    });
}

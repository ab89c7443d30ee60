/** `tidemark snapshot`: moments of a volume that are kept under a name until they are dropped, however far the window moves on. */
import type { Command } from 'commander';
import { formatMoment, splitMoment } from '../../src/timeline/moment.ts';
import { checkVolume, DEFAULT_VOLUME } from '../client/target.ts';
import { TimelinesClient } from '../client/timelines.ts';
import type { CliContext } from '../context.ts';
import { momentText } from '../terminal/moments.ts';
import { renderSnapshots } from '../timelines-report.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface SnapshotFlags extends TargetFlags {
  readonly json?: boolean;
}

export function addSnapshotCommand(program: Command, context: CliContext): void {
  const snapshot = program.command('snapshot').description('Keep moments of a volume under a name.');
  const sub = (name: string, description: string): Command =>
    addTargetOptions(snapshot.command(name)).description(description).option('--json', 'as JSON');
  const say = (flags: SnapshotFlags, result: object, text: string): void => {
    context.stdout.write(flags.json === true ? `${JSON.stringify(result)}\n` : text);
  };

  sub('create', 'Keep a moment until the snapshot is dropped.')
    .argument('<VOLUME[@WHEN]>', 'now, or a moment in its window: main, main@-15m, main@lsn:123')
    .argument('<NAME>', 'a–z, 0–9 and "-"')
    .action(async (source: string, name: string, flags: SnapshotFlags) => {
      const { name: volume, moment } = splitMoment(source);
      checkVolume(volume);
      const made = await new TimelinesClient(targetOf(flags, context)).createSnapshot(
        volume,
        name,
        moment === null ? null : formatMoment(moment),
      );
      const where = `${made.volume}@${made.name}`;
      say(flags, made, `${where} is ${momentText(made.lsn, made.committedAtMicros)}, kept until dropped.\n`);
    });

  sub('list', 'List the snapshots of a volume.')
    .argument('[VOLUME]', 'the volume', DEFAULT_VOLUME)
    .action(async (volume: string, flags: SnapshotFlags) => {
      checkVolume(volume);
      const snapshots = await new TimelinesClient(targetOf(flags, context)).snapshots(volume);
      say(flags, { snapshots }, renderSnapshots(snapshots, volume, context.style));
    });

  sub('drop', 'Drop a snapshot: from then on its moment is kept no longer than the window says.')
    .argument('<VOLUME>')
    .argument('<NAME>')
    .action(async (volume: string, name: string, flags: SnapshotFlags) => {
      checkVolume(volume);
      const dropped = await new TimelinesClient(targetOf(flags, context)).dropSnapshot(volume, name);
      say(flags, dropped, `Snapshot ${dropped.name} of ${dropped.volume} is dropped.\n`);
    });
}

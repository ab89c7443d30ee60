/** `tidemark scrub`: every storage node looks at all it stores, compares it with the others, and repairs what is wrong. */
import type { Command } from 'commander';
import type { NodeScrub, ScrubProgress } from '../../compute-node/scrub-operation.ts';
import { AdminClient } from '../client/admin.ts';
import { checkVolume } from '../client/target.ts';
import type { CliContext } from '../context.ts';
import { EXIT_FAILURE } from '../exit.ts';
import { tableText } from '../status-report.ts';
import { formatBytes } from '../terminal/progress.ts';
import type { Style } from '../terminal/style.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface ScrubFlags extends TargetFlags {
  readonly json?: boolean;
  readonly node?: string;
}

export function addScrubCommand(program: Command, context: CliContext): void {
  addTargetOptions(
    program
      .command('scrub')
      .description('Check all that storage nodes keep against checksums and against each other; repair it.'),
  )
    .argument('[VOLUME]', 'only this one')
    .option('--node <ID>', 'on this storage node only')
    .option('--json', 'as JSON, one object per line')
    .action(async (volume: string | undefined, flags: ScrubFlags) => {
      if (volume !== undefined) checkVolume(volume);
      const isJson = flags.json === true;
      let shown = '';
      const onProgress = (progress: ScrubProgress): void => {
        if (isJson) {
          context.stdout.write(`${JSON.stringify(progress)}\n`);
          return;
        }
        const text = progressText(progress.nodes);
        if (text !== shown) context.stderr.write(`${text}\n`);
        shown = text;
      };
      const wishes = {
        ...(volume === undefined ? {} : { volume }),
        ...(flags.node === undefined ? {} : { node: flags.node }),
      };
      const end = await new AdminClient(targetOf(flags, context)).scrub(wishes, onProgress);
      context.stdout.write(isJson ? `${JSON.stringify(end)}\n` : endText(end.nodes, context.style));
      if (!end.nodes.every(isWhole)) context.setExitCode(EXIT_FAILURE);
    });
}

function isWhole({ error, scrub }: NodeScrub): boolean {
  return error === null && scrub !== null && scrub.pagesInDoubt === 0 && scrub.unequalRanges === 0;
}

function progressText(nodes: readonly NodeScrub[]): string {
  const sum = (of: (scrub: NonNullable<NodeScrub['scrub']>) => number): number =>
    nodes.reduce((all, { scrub }) => all + (scrub === null ? 0 : of(scrub)), 0);
  const [checked, total] = [sum((scrub) => scrub.checkedPages), sum((scrub) => scrub.totalPages)];
  const inDoubt = sum((scrub) => scrub.pagesInDoubt);
  const share = total === 0 ? 100 : Math.floor((100 * checked) / total);
  const repairing = inDoubt > 0 ? `, ${inDoubt} pages being repaired` : '';
  const silent = nodes.filter(({ error }) => error !== null).map(({ nodeId }) => nodeId);
  const waiting = silent.length > 0 ? `, waiting for ${silent.join(', ')}` : '';
  return `${share} %  ${checked} of ${total} pages${repairing}${waiting}`;
}

function endText(nodes: readonly NodeScrub[], style: Style): string {
  const head = ['node', 'outcome', 'pages', 'files', 'damaged', 'in doubt'];
  const rows = nodes.map((node) => [
    node.nodeId,
    outcomeText(node, style),
    String(node.scrub?.checkedPages ?? ''),
    node.scrub === null ? '' : formatBytes(node.scrub.checkedBytes),
    String(node.scrub?.damagedPages ?? ''),
    String(node.scrub?.pagesInDoubt ?? ''),
  ]);
  const findings = nodes.flatMap(({ nodeId, scrub }) =>
    (scrub?.findings ?? []).map((finding) => `  ${style.bold(nodeId)}  ${finding}\n`),
  );
  return `${tableText(head, rows, new Set([2, 3, 4, 5]), style)}${findings.join('')}`;
}

function outcomeText({ error, scrub }: NodeScrub, style: Style): string {
  if (error !== null || scrub === null) return style.red(`not reachable: ${error ?? 'no answer'}`);
  if (scrub.unequalRanges > 0) return style.red('copies differ, and no three agree');
  if (scrub.pagesInDoubt > 0) return style.yellow('repair not finished');
  return scrub.damagedPages > 0 ? style.yellow('repaired') : style.green('intact');
}

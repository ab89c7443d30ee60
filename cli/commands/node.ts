/** `tidemark node`: the storage nodes of a cluster: list them, add one, empty one, put one in the place of another. */
import type { Command } from 'commander';
import type { NodeSummary, OperationProgress } from '../../compute-node/node-operations.ts';
import { AdminClient, type OperationEnd } from '../client/admin.ts';
import type { CliContext } from '../context.ts';
import { tableText } from '../status-report.ts';
import { formatBytes } from '../terminal/progress.ts';
import type { Style } from '../terminal/style.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface NodeFlags extends TargetFlags {
  readonly json?: boolean;
  readonly cancel?: boolean;
  readonly revert?: boolean;
}

const NODE_FORM = 'NODE=AZ@HOST:PORT';

export function addNodeCommand(program: Command, context: CliContext): void {
  const node = program.command('node').description('List, add, empty and replace storage nodes.');
  const sub = (name: string, description: string): Command =>
    addTargetOptions(node.command(name, name === 'list' ? { isDefault: true } : {}))
      .description(description)
      .option('--json', 'as JSON, one object per line');

  sub('list', 'List the storage nodes.').action(async (flags: NodeFlags) => {
    const nodes = await new AdminClient(targetOf(flags, context)).nodes();
    context.stdout.write(
      flags.json === true ? `${JSON.stringify({ nodes }, null, 2)}\n` : nodesText(nodes, context.style),
    );
  });

  sub('add', 'Add a storage node that runs already; nothing moves to it by itself.')
    .argument(`<${NODE_FORM}>`, 'for example az1-c=az1@10.0.1.9:7100')
    .action(async (added: string, flags: NodeFlags) => {
      await new AdminClient(targetOf(flags, context)).addNode(added);
      const id = added.split('=')[0] ?? added;
      context.stdout.write(
        flags.json === true
          ? `${JSON.stringify({ added })}\n`
          : `${id} belongs to the cluster now. New volumes and protection groups are placed on it; move what is there with 'tidemark node replace OLD ${id}'.\n`,
      );
    });

  sub('drain', 'Move every segment of every volume off a storage node, to others of its zone.')
    .argument('<NODE>', 'its id')
    .option('--cancel', 'take back what has not ended, and let the node take segments again')
    .action(async (nodeId: string, flags: NodeFlags) => {
      const body = flags.cancel === true ? { cancel: true } : {};
      await changeNode(nodeId, 'drain', body, flags, context);
    });

  sub('replace', 'Move every segment from one storage node to another of its zone.')
    .argument('<OLD>', 'the id of the one that leaves')
    .argument('<NEW>', 'the id of the one that takes its place')
    .option('--revert', 'take back what has not ended')
    .action(async (nodeId: string, by: string, flags: NodeFlags) => {
      await changeNode(nodeId, 'replace', { by, revert: flags.revert === true }, flags, context);
    });
}

async function changeNode(
  nodeId: string,
  how: 'drain' | 'replace',
  body: object,
  flags: NodeFlags,
  context: CliContext,
): Promise<void> {
  const isJson = flags.json === true;
  let shown = '';
  const onProgress = (progress: OperationProgress): void => {
    if (isJson) {
      context.stdout.write(`${JSON.stringify(progress)}\n`);
      return;
    }
    const text = progressText(nodeId, progress);
    if (text !== shown) context.stderr.write(`${text}\n`);
    shown = text;
  };
  const end = await new AdminClient(targetOf(flags, context)).changeNode(nodeId, how, body, onProgress);
  context.stdout.write(isJson ? `${JSON.stringify(end)}\n` : endText(end));
}

function progressText(nodeId: string, progress: OperationProgress): string {
  if (progress.kind === 'end') return '';
  if (progress.kind === 'registers') return `${progress.volume}: its registers moved`;
  if (progress.kind === 'clearing')
    return `${nodeId} deletes ${count(progress.segments, 'segment')} it has left`;
  const { volume, pg, phase, to, doneSegments, totalSegments } = progress;
  const what = `${volume} PG ${pg}`;
  const where = to === null ? '' : ` to ${to}`;
  const doing = {
    waiting: `${what}: waits for another change of its members`,
    proposing: `${what}: proposes the move${where}`,
    filling: `${what}: copies${where}`,
    ending: `${what}: ends the move${where}`,
    done: `${what}: moved`,
  }[phase];
  return `[${doneSegments}/${totalSegments}] ${doing}`;
}

function endText({ node, movedSegments, revertedChanges, notes }: OperationEnd): string {
  const outcome =
    revertedChanges > 0
      ? `${count(revertedChanges, 'change')} taken back; what had been moved stays where it is.`
      : movedSegments > 0
        ? `${count(movedSegments, 'segment')} moved off ${node}.`
        : `Nothing was left to do for ${node}.`;
  return `${[outcome, ...notes].join('\n')}\n`;
}

function nodesText(nodes: readonly NodeSummary[], style: Style): string {
  const head = ['az', 'node', 'address', 'state', 'registers', 'segments', 'disk', 'version'];
  const rows = [...nodes]
    .sort((a, b) => (a.az < b.az ? -1 : a.az > b.az ? 1 : a.nodeId < b.nodeId ? -1 : 1))
    .map((node) => [
      node.az,
      node.nodeId,
      node.address,
      stateText(node, style),
      node.bootstrap ? 'cluster' : '',
      node.segments === null ? '' : String(node.segments),
      node.diskBytes === null ? '' : formatBytes(node.diskBytes),
      node.version ?? '',
    ]);
  return tableText(head, rows, new Set([5, 6]), style);
}

function stateText({ reachable, draining, segments }: NodeSummary, style: Style): string {
  if (!reachable) return style.red(draining ? 'unreachable, draining' : 'unreachable');
  if (!draining) return style.green('up');
  return segments === 0 ? style.yellow('drained') : style.yellow('draining');
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

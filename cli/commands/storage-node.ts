/** `tidemark storage-node`: one storage node in this process. */
import type { Command } from 'commander';
import { parseAz, parseHostPort, parseNodeId, parseNodeList } from '../../src/base/node-list.ts';
import type { CliContext } from '../context.ts';
import { LOG_SETTINGS, loggerOf } from '../process/log-settings.ts';
import { serve } from '../process/serve.ts';
import { addFlags, byteCount, required, resolveSettings, text } from '../process/settings.ts';

const SETTINGS = {
  nodeId: { key: 'nodeId', placeholder: 'ID', help: 'its name in the list of nodes', parse: parseNodeId },
  az: {
    key: 'az',
    placeholder: 'AZ',
    help: 'its availability zone; default: as in the list',
    parse: parseAz,
  },
  listen: {
    key: 'listen',
    placeholder: 'HOST:PORT',
    help: 'where it listens; default: its address in the list',
    parse: checkedAddress({ allowPortZero: true }),
  },
  advertise: {
    key: 'advertise',
    placeholder: 'HOST:PORT',
    help: 'where others reach it, when that is elsewhere',
    parse: checkedAddress({}),
  },
  dataDir: { key: 'dataDir', flag: 'data', placeholder: 'DIR', help: 'where its data is', parse: text() },
  nodes: {
    key: 'nodes',
    placeholder: 'LIST',
    help: 'all storage nodes: az1-a=az1@host:7100,…',
    parse: parseNodeList,
  },
  journalBytes: {
    key: 'journalBytes',
    placeholder: 'BYTES',
    help: 'size of its journal ring; default 64MiB',
    parse: byteCount(),
  },
  ...LOG_SETTINGS,
} as const;

export function addStorageNodeCommand(program: Command, context: CliContext): void {
  const command = program
    .command('storage-node')
    .description('Run one storage node. Prints one line of JSON when ready; logs to stderr.');
  addFlags(command, SETTINGS);
  command.action(async (flags: Record<string, unknown>) => {
    const settings = resolveSettings(SETTINGS, flags, context.env);
    const nodeId = required(settings.nodeId, SETTINGS.nodeId);
    const logger = loggerOf(settings).with({ nodeId });
    await serve('storage-node', logger, async () => {
      const nodes = required(settings.nodes, SETTINGS.nodes);
      const self = nodes.find((node) => node.nodeId === nodeId);
      const { startStorageNode } = await import('../../storage-node/start.ts');
      const running = await startStorageNode({
        nodeId,
        az: settings.az ?? self?.az ?? '',
        listen: required(settings.listen ?? self?.address, SETTINGS.listen),
        dataDir: required(settings.dataDir, SETTINGS.dataDir),
        nodes,
        logger,
        ...(settings.advertise === undefined ? {} : { advertise: settings.advertise }),
        ...(settings.journalBytes === undefined ? {} : { journalBytes: settings.journalBytes }),
      });
      return {
        ready: { ready: true, kind: 'storage-node', nodeId: running.nodeId, address: running.address },
        close: () => running.close(),
      };
    });
  });
}

function checkedAddress(options: { readonly allowPortZero?: boolean }): (value: string) => string {
  return (value) => {
    parseHostPort(value, options);
    return value;
  };
}

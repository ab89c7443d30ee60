/** `tidemark compute-node`: one compute node in this process. */
import { hostname } from 'node:os';
import type { Command } from 'commander';
import type { ComputeNodeConfig } from '../../compute-node/start.ts';
import { parseNodeList } from '../../src/base/node-list.ts';
import type { CliContext } from '../context.ts';
import { LOG_SETTINGS, loggerOf } from '../process/log-settings.ts';
import { serve } from '../process/serve.ts';
import { addFlags, byteCount, required, resolveSettings, text, wholeNumber } from '../process/settings.ts';

const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = 8080;

const SETTINGS = {
  computeId: {
    key: 'computeId',
    placeholder: 'ID',
    help: 'its name, the same at every start; default: the host name and port',
    parse: text(),
  },
  host: { key: 'host', placeholder: 'HOST', help: 'address it listens on; default 127.0.0.1', parse: text() },
  port: {
    key: 'port',
    placeholder: 'N',
    help: 'port of the client protocols, 0 for any; default 8080',
    parse: wholeNumber(0, 65_535),
  },
  advertiseUrl: {
    key: 'advertiseUrl',
    placeholder: 'URL',
    help: 'where other compute nodes and clients reach it',
    parse: text(),
  },
  nodes: {
    key: 'nodes',
    placeholder: 'LIST',
    help: 'all storage nodes: az1-a=az1@host:7100,…',
    parse: parseNodeList,
  },
  authToken: { key: 'authToken', placeholder: 'TOKEN', help: 'token that clients must show', parse: text() },
  pageCacheBytes: {
    key: 'pageCacheBytes',
    placeholder: 'BYTES',
    help: 'page cache of each open volume; default 256MiB',
    parse: byteCount(),
  },
  maxOpenVolumes: {
    key: 'maxOpenVolumes',
    placeholder: 'N',
    help: 'volumes open at once; default 64',
    parse: wholeNumber(1),
  },
  pgPages: {
    key: 'pgPages',
    placeholder: 'PAGES',
    help: 'pages of a protection group of new volumes; default 2621440 (10 GiB)',
    parse: wholeNumber(1),
  },
  windowMs: {
    key: 'windowMs',
    placeholder: 'MS',
    help: 'history kept of new volumes; default 24 h',
    parse: wholeNumber(0),
  },
  commitTimeoutMs: {
    key: 'commitTimeoutMs',
    placeholder: 'MS',
    help: 'how long a commit waits for its quorum; default 10000',
    parse: wholeNumber(1),
  },
  statementTimeoutMs: {
    key: 'statementTimeoutMs',
    placeholder: 'MS',
    help: 'longest run of a statement, 0 for no limit; default 0',
    parse: wholeNumber(0),
  },
  transactionTimeoutMs: {
    key: 'transactionTimeoutMs',
    placeholder: 'MS',
    help: 'longest life of a transaction; default 300000',
    parse: wholeNumber(1),
  },
  busyTimeoutMs: {
    key: 'busyTimeoutMs',
    placeholder: 'MS',
    help: 'how long a writer waits for its turn; default 5000',
    parse: wholeNumber(0),
  },
  maxTransactionBytes: {
    key: 'maxTransactionBytes',
    placeholder: 'BYTES',
    help: 'largest transaction; default 256MiB',
    parse: byteCount(),
  },
  maxConnections: {
    key: 'maxConnections',
    placeholder: 'N',
    help: 'SQL connections of each volume; default 10000',
    parse: wholeNumber(1),
  },
  ...LOG_SETTINGS,
} as const;

export function addComputeNodeCommand(program: Command, context: CliContext): void {
  const command = program
    .command('compute-node')
    .description('Run one compute node. Prints one line of JSON when ready; logs to stderr.');
  addFlags(command, SETTINGS);
  command.action(async (flags: Record<string, unknown>) => {
    const { logLevel, logFormat, nodes, computeId, host, port, ...rest } = resolveSettings(
      SETTINGS,
      flags,
      context.env,
    );
    // With the port: two compute nodes of one machine are two, and must not take each other's volumes as their own.
    const id = computeId ?? `${hostname()}:${port ?? DEFAULT_PORT}`;
    const logger = loggerOf({
      ...(logLevel === undefined ? {} : { logLevel }),
      ...(logFormat === undefined ? {} : { logFormat }),
    }).with({ computeId: id });
    await serve('compute-node', logger, async () => {
      const config: ComputeNodeConfig = {
        ...rest,
        computeId: id,
        host: host ?? DEFAULT_HOST,
        port: port ?? DEFAULT_PORT,
        nodes: required(nodes, SETTINGS.nodes),
        logger,
      };
      const { startComputeNode } = await import('../../compute-node/start.ts');
      const running = await startComputeNode(config);
      return {
        ready: { ready: true, kind: 'compute-node', url: running.url },
        close: () => running.close(),
      };
    });
  });
}

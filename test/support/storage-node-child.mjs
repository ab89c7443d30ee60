// Runs one storage node as a process of its own: node storage-node-child.mjs DIST CONFIG_JSON. Tells its address on stdout.
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const [dist, json] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(dist, path)));
const { startStorageNode } = await load('storage-node/start.js');
const { createLogger } = await load('src/adapters/logger.js');
const { parseNodeList } = await load('src/base/node-list.js');
const config = JSON.parse(json);
const node = await startStorageNode({
  ...config,
  nodes: parseNodeList(config.nodes),
  logger: createLogger(),
});
process.stdout.write(`${JSON.stringify({ ready: true, address: node.address })}\n`);
process.on('SIGTERM', () => void node.close().then(() => process.exit(0)));
process.on('disconnect', () => process.exit(0));

/**
 * Stands in for the `tidemark` script in tests of what starts processes: says ready as a node would, then does what its data directory or
 * environment asks of it. FAKE_FAIL=code: fails to start. FAKE_FAIL_TIMES=n: only so often.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const [kind, ...flags] = process.argv.slice(2);
const flag = (name) => flags.find((text) => text.startsWith(`--${name}=`))?.slice(name.length + 3);
const name = flag('node-id') ?? 'compute';
const folder = process.env.FAKE_FOLDER;
mkdirSync(folder, { recursive: true });
appendFileSync(`${folder}/events`, `start ${name} ${process.pid}\n`);

const failures = `${folder}/failures-${name}`;
const failed = existsSync(failures) ? Number(readFileSync(failures, 'utf8')) : 0;
if (process.env.FAKE_FAIL !== undefined && failed < Number(process.env.FAKE_FAIL_TIMES ?? Infinity)) {
  writeFileSync(failures, String(failed + 1));
  console.error(`${name} cannot`);
  const error = { code: process.env.FAKE_FAIL, message: 'told to fail', nextStep: 'do not' };
  process.stdout.write(`${JSON.stringify({ ready: false, kind, error })}\n`, () => process.exit(1));
} else {
  const end = (reason) => {
    appendFileSync(`${folder}/events`, `end ${name} ${reason}\n`);
    process.exit(0);
  };
  if (process.env.FAKE_STUBBORN !== name) process.on('SIGTERM', () => end('SIGTERM'));
  else process.on('SIGTERM', () => {});
  process.on('SIGINT', () => end('SIGINT'));
  process.on('disconnect', () => end('disconnect'));
  const ready =
    kind === 'storage-node'
      ? { ready: true, kind, nodeId: name, address: flag('listen') }
      : { ready: true, kind, url: `http://127.0.0.1:${flag('port') === '0' ? 4321 : flag('port')}` };
  console.log('not the line you want');
  console.log(JSON.stringify(ready));
  setInterval(() => {}, 1_000);
}

/** The commands about timelines, through the administration interface, over volumes that are plain lists. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addSnapshotCommand } from '../../../cli/commands/snapshot.ts';
import { addTimelineCommands } from '../../../cli/commands/timelines.ts';
import { addVolumesCommand } from '../../../cli/commands/volumes.ts';
import type { CliContext } from '../../../cli/context.ts';
import { PLAIN } from '../../../cli/terminal/style.ts';
import { errorBody, sendJson, statusOf } from '../../../compute-node/admin-http.ts';
import { answerTimelines } from '../../../compute-node/admin-timelines.ts';
import { MemoryTimelines } from '../../support/memory-timelines.ts';

let timelines: MemoryTimelines;
let server: Server;
let url: string;

beforeEach(async () => {
  timelines = new MemoryTimelines();
  server = createServer(async (request, response) => {
    try {
      if (!(await answerTimelines(timelines, request, response))) sendJson(response, 404, {});
    } catch (error) {
      sendJson(response, statusOf(error), errorBody(error));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(() => new Promise((resolve) => server.close(resolve)));

/** What the command wrote. `answer`: a person at a terminal says it when asked. */
async function run(args: readonly string[], answer: string | null = null): Promise<string> {
  let out = '';
  const stdin = new PassThrough() as PassThrough & { isTTY?: boolean };
  if (answer !== null) stdin.isTTY = true;
  const sink = (take: (text: string) => void): PassThrough => {
    const stream = new PassThrough();
    stream.setEncoding('utf8').on('data', take);
    return stream;
  };
  const context: CliContext = {
    stdin,
    stdout: sink((text) => {
      out += text;
    }),
    stderr: sink((text) => {
      out += text;
      if (text.includes('[y/N]')) stdin.write(`${answer}\n`);
    }),
    env: { TIDEMARK_URL: url },
    commandPath: '',
    style: PLAIN,
    errorStyle: PLAIN,
    setExitCode: () => {},
  };
  const program = new Command().exitOverride();
  addTimelineCommands(program, context);
  addSnapshotCommand(program, context);
  addVolumesCommand(program, context);
  await program.parseAsync(args, { from: 'user' });
  await new Promise((resolve) => setImmediate(resolve));
  return out;
}

const json = async (...args: string[]): Promise<unknown> => JSON.parse(await run([...args, '--json']));
const code = (expected: string) => expect.objectContaining({ code: expected });

describe('commands', () => {
  it('clone volumes and moments of them', async () => {
    expect(await run(['clone', 'main@-40s', 'dev'])).toBe(
      'Volume dev is a clone of main at lsn:60 (1970-01-01T00:01:00Z).\n' +
        `It is at ${url}/dev, and shares with main whatever neither changes.\n`,
    );
    expect(await json('clone', 'dev', 'dev-2')).toEqual({
      name: 'dev-2',
      volume: 'volume3',
      from: {
        name: 'dev',
        point: { volume: 'volume2', run: 0, lsn: 60 },
        committedAtMicros: 60_000_000,
      },
    });
    expect(timelines.calls).toEqual(['clone main@-40s dev', 'clone dev dev-2']);
  });

  it('take a volume back, and tell how to go forward again', async () => {
    const out = await run(['backtrack', 'main', '--to', 'lsn:50']);
    expect(out).toBe(
      'Volume main is back at lsn:50 (1970-01-01T00:00:50Z).\n' +
        `It was at lsn:100. To go forward again:\n  tidemark backtrack main --to lsn:100 --url ${url}\n`,
    );
    const again = out.trim().split('\n').at(-1)!.trim().split(' ').slice(1);
    expect(await run(again)).toContain('Volume main is back at lsn:100');
    expect(await json('backtrack', 'main', '--to', '-1m')).toMatchObject({ undo: 'lsn:100' });
  });

  it('drop only what is confirmed', async () => {
    await run(['clone', 'main', 'dev']);
    await expect(run(['drop', 'dev'])).rejects.toEqual(
      expect.objectContaining({ code: 'BAD_REQUEST', nextStep: 'Add --yes.' }),
    );
    expect(await run(['drop', 'dev'], 'no')).toContain('Nothing was dropped.');
    expect(timelines.calls).not.toContain('drop dev');
    expect(await run(['drop', 'dev'], 'y')).toContain('Volume dev is dropped.');
    await expect(run(['drop', 'dev', '--yes'])).rejects.toEqual(code('VOLUME_NOT_FOUND'));
    timelines.inUse.add('main');
    await expect(run(['drop', 'main', '--yes'])).rejects.toEqual(code('IN_USE'));
    expect(await json('drop', 'main', '--yes', '--force')).toEqual({ name: 'main' });
  });

  it('keep, list and drop snapshots', async () => {
    expect(await run(['snapshot', 'list'])).toBe('main has no snapshots.\n');
    expect(await run(['snapshot', 'create', 'main@-10s', 'before'])).toBe(
      'main@before is lsn:90 (1970-01-01T00:01:30Z), kept until dropped.\n',
    );
    await expect(run(['snapshot', 'create', 'main', 'before'])).rejects.toEqual(code('SNAPSHOT_EXISTS'));
    await expect(run(['snapshot', 'create', 'main', 'B'])).rejects.toEqual(code('BAD_NAME'));
    expect(await run(['snapshot', 'list', 'main'])).toContain('before    lsn:90  1970-01-01T00:01:30Z');
    expect(await json('snapshot', 'list')).toEqual({
      snapshots: [{ name: 'before', volume: 'main', lsn: 90, committedAtMicros: 90_000_000 }],
    });
    expect(await run(['snapshot', 'drop', 'main', 'before'])).toBe('Snapshot before of main is dropped.\n');
    await expect(run(['snapshot', 'drop', 'main', 'before'])).rejects.toEqual(code('SNAPSHOT_NOT_FOUND'));
  });

  it('show and set the window', async () => {
    expect(await run(['window', 'main'])).toBe(
      'main keeps 1h of history.\n' +
        'It can be read and taken back from lsn:10 (1970-01-01T00:00:10Z) to lsn:100 (1970-01-01T00:01:40Z).\n',
    );
    expect(await run(['window', 'main', '1d12h'])).toContain('main keeps 36h of history.');
    expect(await json('window', 'main', '90m')).toMatchObject({ windowMs: 5_400_000, floorLsn: 10 });
    await expect(run(['window', 'main', '73h'])).rejects.toEqual(code('BAD_REQUEST'));
    for (const bad of ['soon', '-1h', '5', 'lsn:4', '2026-11-21'])
      await expect(run(['window', 'main', '--', bad])).rejects.toEqual(code('BAD_REQUEST'));
    expect(timelines.windowMs).toBe(5_400_000);
  });

  it('show volumes as a tree, those of dropped parents too', async () => {
    for (const [from, to] of [
      ['main', 'a'],
      ['a', 'b'],
      ['main', 'z'],
      ['z', 'orphan'],
      ['b', 'c'],
    ] as const)
      await timelines.clone({ name: from, moment: null }, to);
    await timelines.drop('z');
    await timelines.createSnapshot('a', 's', null);
    expect(await run(['volumes'])).toBe(
      [
        '  volume                  own   shared  window  snapshots  cloned at',
        '  main                4.0 KiB               1h',
        '  └─ a                4.0 KiB  8.0 KiB      1h          1  lsn:100',
        '     └─ b             4.0 KiB  8.0 KiB      1h             lsn:100',
        '        └─ c          4.0 KiB  8.0 KiB      1h             lsn:100',
        '  (dropped: volume4)',
        '  └─ orphan           4.0 KiB  8.0 KiB      1h             lsn:100',
        '',
      ].join('\n'),
    );
    expect(await json('volumes', 'list')).toMatchObject({
      volumes: [{ name: 'main', parent: null }, {}, {}, {}, {}],
    });
  });

  it('refuse what names nothing, each with a code of its own, before anything is asked', async () => {
    await expect(run(['clone', 'main@15 minutes ago', 'dev'])).rejects.toEqual(code('BAD_REQUEST'));
    await expect(run(['clone', 'main', 'Dev'])).rejects.toEqual(code('BAD_NAME'));
    await expect(run(['clone', 'main', 'v2'])).rejects.toEqual(code('BAD_NAME'));
    await expect(run(['backtrack', 'main', '--to', 'then'.repeat(20)])).rejects.toEqual(code('BAD_REQUEST'));
    expect(timelines.calls).toEqual([]);
    await expect(run(['clone', 'main@lsn:3', 'dev'])).rejects.toEqual(code('GONE'));
    await expect(run(['clone', 'main', 'main'])).rejects.toEqual(code('VOLUME_EXISTS'));
  });
});

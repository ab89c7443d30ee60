/**
 * `npm run chaos -- disks --rounds N`: disks that are full (one, three, all, one that is restarted so) and disks whose writes and syncs fail. A full disk stops writes with
 * a clear code where it takes the quorum, reads go on, another writer can take over, and all is well once there is room. A failed write or sync ends the
 * process: nothing is tried again, nothing is acknowledged.
 */
import { readdir, readlink } from 'node:fs/promises';
import { STORAGE_NODES, type StorageNodeName } from '../../support/real-cluster.ts';
import { SmallDisks } from '../places/small-disks.ts';
import { FailingCalls } from '../places/system-calls.ts';
import {
  type CommandContext,
  outcomeText,
  type Report,
  recoveryText,
  totals,
  trialFigures,
} from '../report.ts';
import { runSeries, violationsOf } from '../series.ts';
import { COMPUTE_NODES } from '../stage.ts';
import { SteadyReader } from '../steady-reader.ts';
import type { Trial, TrialResult } from '../trial.ts';

const ROUNDS_PER_TRIAL = 7;
/** A node looks at its disk every two seconds (gauges.ts). */
const NOTICE_MS = 2_500;
/** From the failed call to the end of the process. */
const END_LIMIT_MS = 5_000;

/** Syncs are rare. */
const STRIKE_LIMIT_MS = 6_000;

type Scene = (trial: Trial, disks: SmallDisks) => Promise<void>;

export async function runDisks(context: CommandContext, rounds: number): Promise<Report> {
  const skipped: string[] = [];
  const [noDisks, noCalls] = [await SmallDisks.missing(), await FailingCalls.missing()];
  if (noDisks !== null) skipped.push(`full disks: ${noDisks}`);
  if (noCalls !== null) skipped.push(`failing calls: ${noCalls}`);
  const scenes: Scene[] = [];
  if (noDisks === null) scenes.push(oneFull, threeFull, allFull);
  if (noDisks === null && noCalls === null)
    scenes.push(journalWriteFails, storeWriteFails, syncFails, journalFull);
  const counts: Record<string, number> = {};
  const trials: TrialResult[] = [];
  for (let first = 0; scenes.length > 0 && first < rounds; first += ROUNDS_PER_TRIAL) {
    const disks = await SmallDisks.open();
    try {
      const [trial] = await runSeries(
        { ...context, seed: context.seed + first },
        {
          rounds: Math.min(ROUNDS_PER_TRIAL, rounds - first),
          roundsPerTrial: ROUNDS_PER_TRIAL,
          trial: {
            cluster: {
              environment: { TIDEMARK_JOURNAL_BYTES: '8MiB', TIDEMARK_WINDOW_MS: '500' },
              placeOf: (name) => {
                const node = STORAGE_NODES.find((known) => known === name);
                return node === undefined ? {} : { dataDirectory: disks.directoryOf(node) };
              },
            },
          },
          round: async (trial, round) => {
            const scene = scenes[round % scenes.length] as Scene;
            counts[scene.name] = (counts[scene.name] ?? 0) + 1;
            trial.stage.tell(`${scene.name}:`);
            await scene(trial, disks);
          },
        },
      );
      trials.push(trial as TrialResult);
      if ((trial as TrialResult).violations.length > 0) break;
    } finally {
      await disks.close();
    }
  }
  return {
    command: 'disks',
    summary: `rounds from seed ${context.seed} ${JSON.stringify(counts)}; ${outcomeText(trials)}; ${recoveryText(trials)}`,
    skipped,
    violations: violationsOf(trials),
    figures: { ...totals(trials), scenes: counts, trials: trials.map(trialFigures) },
  };
}

async function oneFull(trial: Trial, disks: SmallDisks): Promise<void> {
  const { stage, random, report } = trial;
  const node = random.pick(STORAGE_NODES);
  await fill(trial, disks, [node]);
  if ((await trial.served('all')) === null) report(`clients were not served with the disk of ${node} full`);
  // Restarted with a full disk: it reads, fences and collects as before.
  await stage.kill([node]);
  await stage.start(node);
  if ((await trial.served('all')) === null)
    report(`clients were not served after ${node} was restarted with a full disk`);
  await empty(trial, disks, [node]);
}

async function threeFull(trial: Trial, disks: SmallDisks): Promise<void> {
  const { stage, random } = trial;
  const nodes = [...STORAGE_NODES].sort(() => random.next() - 0.5).slice(0, 3);
  await fill(trial, disks, nodes);
  await withoutWrites(trial);
  // Fencing and installing need no room: another writer can take over.
  await stage.kill([random.pick(COMPUTE_NODES)]);
  await withoutWrites(trial);
  await empty(trial, disks, nodes);
}

async function allFull(trial: Trial, disks: SmallDisks): Promise<void> {
  const { stage, random } = trial;
  await fill(trial, disks, STORAGE_NODES);
  await withoutWrites(trial);
  const one = random.pick(STORAGE_NODES);
  await stage.kill([one]);
  await stage.start(one);
  await withoutWrites(trial);
  await empty(trial, disks, STORAGE_NODES);
}

function journalWriteFails(trial: Trial): Promise<void> {
  return failing(trial, { calls: 'pwrite64', error: 'EIO' });
}

function journalFull(trial: Trial): Promise<void> {
  return failing(trial, { calls: 'pwrite64', error: 'ENOSPC' });
}

/** LevelDB's log; other writes of the process are its sockets'. */
function storeWriteFails(trial: Trial): Promise<void> {
  return failing(trial, { calls: 'write', error: 'EIO', in: /\/store\/.*\.log$/ });
}

function syncFails(trial: Trial): Promise<void> {
  return failing(trial, { calls: 'fsync,fdatasync', error: 'EIO' });
}

async function fill({ stage }: Trial, disks: SmallDisks, nodes: readonly StorageNodeName[]): Promise<void> {
  stage.tell(`fill the disks of ${nodes.join(' ')}`);
  for (const node of nodes) await disks.fill(node);
  await stage.sleep(NOTICE_MS);
}

async function empty({ stage }: Trial, disks: SmallDisks, nodes: readonly StorageNodeName[]): Promise<void> {
  stage.tell('room again');
  for (const node of nodes) await disks.empty(node);
  await stage.sleep(NOTICE_MS);
}

/** Nothing is acknowledged, and strong reads are answered, for a while. */
async function withoutWrites({ stage, load, urls, report }: Trial): Promise<void> {
  await stage.sleep(3_500);
  const acknowledged = sum(load.acknowledged());
  const reader = new SteadyReader(urls);
  await stage.sleep(1_500);
  if (sum(load.acknowledged()) > acknowledged)
    report('writes were acknowledged although three disks or more are full');
  const { answers } = await reader.finish();
  if (answers === 0) report('no reads were answered while disks were full');
}

async function failing(
  { stage, random, report }: Trial,
  {
    calls,
    error,
    in: files,
  }: { readonly calls: string; readonly error: 'EIO' | 'ENOSPC'; readonly in?: RegExp },
): Promise<void> {
  const node = random.pick(STORAGE_NODES);
  const what = `${calls} of ${node} fails with ${error}`;
  stage.tell(what);
  const pid = stage.cluster.pid(node);
  const paths =
    files === undefined ? {} : { files: (await openFiles(pid)).filter((file) => files.test(file)) };
  const failing = await FailingCalls.inject(pid, { calls, error, first: 1 + random.below(5), ...paths });
  try {
    const end = await stage.mayEnd(node, END_LIMIT_MS, async () => {
      for (let waitedMs = 0; waitedMs < STRIKE_LIMIT_MS; waitedMs += 10) {
        if (await failing.hasStruck()) return true;
        await stage.sleep(10);
      }
      return false;
    });
    stage.tell(`${node}: ${end}`);
    if (end === 'would not end') report(`${node} went on for ${END_LIMIT_MS} ms although ${what}`);
  } finally {
    await failing.stop();
  }
}

async function openFiles(pid: number): Promise<string[]> {
  const files = await readdir(`/proc/${pid}/fd`);
  return Promise.all(files.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}

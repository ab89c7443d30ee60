/**
 * Commit latency while storage nodes are slow or do not answer at all: stopped (SIGSTOP) like one whose machine hangs, which is worse than one that is
 * gone. Each fault is measured beside healthy phases right before and after it, from one second after it began.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { contenderOf } from '../ways/crew.ts';
import { measure, median } from '../contest.ts';
import type { LoadResult } from '../load.ts';
import { figure } from '../report.ts';
import type { OwnCluster, Suite } from '../suite.ts';
import { ratio } from '../target.ts';
import { openWays } from '../ways/open.ts';
import { updates } from '../workloads/update.ts';
import { prepareWorkload } from '../workloads/workload.ts';

const CLIENTS = 32;
const SETTLE_MS = 1_000;
/** What piled up for a stopped node must have been taken before the next is stopped. */
const RECOVER_MS = 2_000;
/** A slow node stands still for half of the time. */
const SLOW_STOP_MS = 50;

interface Fault {
  readonly name: string;
  /** Ends it. */
  begin(own: OwnCluster): () => void;
  readonly isTarget: boolean;
}

const FAULTS: readonly Fault[] = [
  { name: 'one slow node', begin: (own) => slow(own, 'az1-a'), isTarget: false },
  { name: 'one node stopped', begin: (own) => stop(own, ['az1-a']), isTarget: false },
  { name: 'an AZ stopped', begin: (own) => stop(own, ['az1-a', 'az1-b']), isTarget: true },
  { name: 'two nodes stopped', begin: (own) => stop(own, ['az1-a', 'az2-a']), isTarget: true },
];

export const faults: Suite = {
  name: 'faults',
  about: 'commit latency with slow and dead storage nodes, 32 clients over WebSocket',
  run: async (context) => {
    const { own } = await context.cluster();
    if (own === null) {
      throw new TidemarkError('UNSUPPORTED', 'storage nodes of a cluster at --url are not stopped', {
        nextStep: 'Leave out --url: the benchmark then starts a cluster of its own.',
      });
    }
    const [way] = await openWays(context, ['WebSocket']);
    const workload = updates('bench_faults', 10_000);
    await prepareWorkload(workload, way!);
    const contender = contenderOf(way!, (client, index) => workload.operation(client, index));
    const phase = (settleMs: number): Promise<LoadResult> =>
      measure(contender, CLIENTS, { warmUpMs: settleMs, durationMs: context.load.durationMs * 2 });
    const healthy: LoadResult[] = [];
    const found: { readonly fault: Fault; readonly result: LoadResult }[] = [];
    for (const fault of FAULTS) {
      context.say('healthy…');
      healthy.push(await phase(SETTLE_MS));
      context.say(`${fault.name}…`);
      const end = fault.begin(own);
      try {
        found.push({ fault, result: await phase(SETTLE_MS) });
      } finally {
        end();
      }
      await new Promise((resolve) => setTimeout(resolve, RECOVER_MS));
    }
    const usual = median(healthy.map(({ p99Ms }) => p99Ms));
    const row = (name: string, { perSecond, p50Ms, p99Ms, maxMs }: LoadResult, to: string) => [
      name,
      figure(perSecond),
      p50Ms.toFixed(2),
      p99Ms.toFixed(2),
      maxMs.toFixed(2),
      to,
    ];
    return {
      tables: [
        {
          title: `Updates by ${CLIENTS} clients`,
          head: ['', 'commits/s', 'p50 ms', 'p99 ms', 'max ms', 'p99 to healthy'],
          rows: [
            ...healthy.map((result) => row('healthy', result, '')),
            ...found.map(({ fault, result }) => row(fault.name, result, `${figure(result.p99Ms / usual)} ×`)),
          ],
        },
      ],
      targets: found
        .filter(({ fault }) => fault.isTarget)
        .map(({ fault, result }) => ({
          name: `p99 with ${fault.name}, to healthy`,
          wanted: 1.3,
          is: 'at-most',
          unit: '×',
          found: ratio(result.p99Ms, usual),
        })),
      results: { healthy, found: found.map(({ fault, result }) => ({ fault: fault.name, result })) },
    };
  },
};

function stop(own: OwnCluster, names: readonly string[]): () => void {
  const pids = names.map((name) => own.pid(name));
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  return () => {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  };
}

function slow(own: OwnCluster, name: string): () => void {
  const pid = own.pid(name);
  let isStopped = false;
  const timer = setInterval(() => {
    isStopped = !isStopped;
    process.kill(pid, isStopped ? 'SIGSTOP' : 'SIGCONT');
  }, SLOW_STOP_MS);
  return () => {
    clearInterval(timer);
    process.kill(pid, 'SIGCONT');
  };
}

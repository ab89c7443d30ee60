/** All suites, in the order in which they run, each loaded when it is wanted: what one needs may be missing where another runs. */
import { TidemarkError } from '../src/base/errors.ts';
import type { Suite } from './suite.ts';

const LOADERS: Readonly<Record<string, () => Promise<Suite>>> = {
  micro: async () => (await import('./suites/micro.ts')).micro,
  quorum: async () => (await import('./suites/quorum.ts')).quorum,
  wire: async () => (await import('./suites/wire.ts')).wire,
  faults: async () => (await import('./suites/faults.ts')).faults,
  latency: async () => (await import('./suites/latency.ts')).latency,
  select: async () => (await import('./suites/select.ts')).select,
  scan: async () => (await import('./suites/scan.ts')).scan,
  sysbench: async () => (await import('./suites/sysbench.ts')).sysbench,
  ycsb: async () => (await import('./suites/ycsb.ts')).ycsb,
  tpcb: async () => (await import('./suites/tpcb.ts')).tpcb,
  hotrow: async () => (await import('./suites/connections.ts')).hotrow,
  connections: async () => (await import('./suites/connections.ts')).connections,
  load: async () => (await import('./suites/load.ts')).load,
  recovery: async () => (await import('./suites/recovery.ts')).recovery,
  memory: async () => (await import('./suites/memory.ts')).memory,
  timeline: async () => (await import('./suites/timeline.ts')).timeline,
};

export const SUITE_NAMES: readonly string[] = Object.keys(LOADERS);

/** In their own order, whatever the order of `names`; all when it is empty. */
export function loadSuites(names: readonly string[]): Promise<readonly Suite[]> {
  for (const name of names) {
    if (Object.hasOwn(LOADERS, name)) continue;
    throw new TidemarkError('BAD_REQUEST', `there is no benchmark '${name}'`, {
      nextStep: `Choose of: ${SUITE_NAMES.join(', ')}.`,
    });
  }
  const wanted = SUITE_NAMES.filter((name) => names.length === 0 || names.includes(name));
  return Promise.all(wanted.map((name) => LOADERS[name]!()));
}

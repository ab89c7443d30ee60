/** The arenas by name. The cluster's is the simulator; it is loaded only when asked for. */
import type { ArenaName } from '../mutant.ts';
import type { Arena } from './arena.ts';

export async function arenaOf(name: ArenaName, hint: Readonly<Record<string, unknown>> = {}): Promise<Arena> {
  switch (name) {
    case 'pages':
      return (await import('./pages.ts')).pages;
    case 'members':
      return (await import('./members.ts')).members;
    case 'take-over':
      return (await import('./take-over.ts')).takeOver;
    case 'copies':
      return (await import('./copies.ts')).copies;
    case 'engine':
      return (await import('./engine.ts')).engine;
    case 'output':
      return (await import('./output.ts')).output;
    case 'codec':
      return (await import('./codec.ts')).codec;
    case 'memory':
      return (await import('./memory.ts')).memory;
    case 'cluster':
      return (await import('./cluster.ts')).cluster(hint);
  }
}

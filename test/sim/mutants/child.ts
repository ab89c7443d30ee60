/**
 * One process, one mutant (or none): runs an arena's seeds until one is caught. Arguments: arena, first seed, number of seeds, hint as JSON.
 * Says one line of JSON per seed on its standard output; the parent (trial.ts) reads them.
 */
import type { ArenaName } from './mutant.ts';
import { arenaOf } from './arenas/arenas.ts';

export type ChildLine =
  | { readonly kind: 'quiet'; readonly seed: number }
  | { readonly kind: 'caught'; readonly seed: number; readonly why: string };

const MAX_WHY_CHARS = 400;

function say(line: ChildLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function caught(seed: number, error: unknown): void {
  const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  say({ kind: 'caught', seed, why: why.slice(0, MAX_WHY_CHARS) });
}

async function main(): Promise<void> {
  const [name, first, count, hint] = process.argv.slice(2);
  let seed = Number(first);
  const end = seed + Number(count);
  // A bug that surfaces in a timer or an unawaited promise is caught all the same.
  process.on('uncaughtException', (error) => {
    caught(seed, error);
    process.exit(0);
  });
  try {
    const arena = await arenaOf(name as ArenaName, JSON.parse(hint ?? '{}') as Record<string, unknown>);
    for (; seed < end; seed += 1) {
      const violations = await arena.runSeed(seed);
      if (violations.length > 0) {
        caught(seed, violations.join('; '));
        return;
      }
      say({ kind: 'quiet', seed });
    }
  } catch (error) {
    caught(seed, error);
  }
}

await main();
process.exit(0);

/** What the product's processes log goes to the run's trace. */
import type { LogFields, Logger } from '../../../src/adapters/logger.ts';
import type { World } from '../world/world.ts';

export function simLogger(world: World, who: string, bound: LogFields = {}): Logger {
  return {
    log(level, message, fields = {}) {
      world.note(who, () => `${level}: ${message} ${describe({ ...bound, ...fields })}`);
    },
    with: (fields) => simLogger(world, who, { ...bound, ...fields }),
  };
}

function describe(fields: LogFields): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}=${value instanceof Error ? value.message : JSON.stringify(value)}`)
    .join(' ');
}

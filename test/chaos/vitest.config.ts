import { defineConfig } from 'vitest/config';

/** Long, random, and hard on the machine: not part of `npm test`. */
export default defineConfig({
  test: { include: ['test/chaos/*.chaos.ts'], pool: 'forks', disableConsoleIntercept: true },
});

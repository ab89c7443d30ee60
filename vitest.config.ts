import { defineConfig } from 'vitest/config';

const SIMULATOR = 'test/sim/sim.test.ts';

export default defineConfig({
  test: {
    // Only to end what hangs: a busy machine takes long for what takes seconds.
    testTimeout: 120_000,
    hookTimeout: 180_000,
    pool: 'forks',
    setupFiles: ['test/support/property-seed.ts'],
    // The simulator's thousand seeds keep every core busy: alone, after the tests that start real processes.
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: ['test/**/*.test.ts'],
          exclude: ['**/node_modules/**', SIMULATOR],
          sequence: { groupOrder: 0 },
        },
      },
      { extends: true, test: { name: 'simulator', include: [SIMULATOR], sequence: { groupOrder: 1 } } },
    ],
  },
});

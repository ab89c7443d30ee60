import { defineConfig } from 'vitest/config';

/** The compose file for real; needs a Docker engine, so it is not part of `npm test`. */
export default defineConfig({
  test: { include: ['test/compose/*.compose.ts'], testTimeout: 600_000, hookTimeout: 900_000, bail: 1 },
});

/** One short round of `npm run chaos`, with a fixed seed: enough to notice when the harness or the basics break. */
import { expect, it } from 'vitest';
import { runChaos } from '../chaos/run.ts';

it('keeps what it promised through a short round of kills and pauses', async () => {
  const { violations, story, directory, acknowledged, reads } = await runChaos({
    seed: 20_261_121,
    seconds: 12,
  });
  expect(violations, [...story, directory].join('\n')).toEqual([]);
  expect(acknowledged).toBeGreaterThan(20);
  expect(reads).toBeGreaterThan(20);
}, 120_000);

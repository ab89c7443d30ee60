/** A little of `npm run chaos`, with fixed seeds: enough to notice when the harness or the basics break. */
import { expect, it } from 'vitest';
import { mayhem } from '../chaos/mayhem.ts';
import { runTrial } from '../chaos/trial.ts';

it('keeps what it promised through a short round of kills and pauses', async () => {
  const { violations, story, directory, acknowledged, reads } = await runTrial({
    seed: 20_261_121,
    signal: new AbortController().signal,
    scenario: async ({ stage, random, recovered }) => {
      const endMs = performance.now() + 10_000;
      await mayhem({
        stage,
        random,
        powerShare: 0,
        isOver: () => performance.now() >= endMs,
        onHealed: async () => {
          await recovered();
        },
      });
    },
  });
  expect(violations, [...story, directory].join('\n')).toEqual([]);
  expect(acknowledged).toBeGreaterThan(20);
  expect(reads).toBeGreaterThan(20);
}, 120_000);

/** A little of `npm run chaos`, with fixed seeds: enough to notice when the harness or the basics break. */
import { expect, it, type TestContext } from 'vitest';
import { runMayhem } from '../chaos/commands/mayhem.ts';
import { runRollbacks } from '../chaos/commands/rollback.ts';
import { runZombies } from '../chaos/commands/zombie.ts';
import { PowerSupply } from '../chaos/places/power.ts';
import type { CommandContext, Report } from '../chaos/report.ts';

/** Each takes about ten seconds of a machine of its own. */
const LIMIT_MS = 240_000;

const said: string[] = [];

function context(seed: number, { signal }: TestContext): CommandContext {
  said.length = 0;
  return {
    seed,
    signal,
    console: { progress: (line) => said.push(line), isVerbose: false },
  };
}

function expectKept({ violations, figures }: Report): void {
  expect(violations, said.join('\n')).toEqual([]);
  expect(figures).toMatchObject({ lost: 0, duplicated: 0, invented: 0 });
  expect(Number(figures.acknowledged)).toBeGreaterThan(10);
}

it(
  'keeps what it promised through kills and pauses',
  async (test) => {
    const goals = { kills: 1_000, powerCuts: 0, roundMs: 6_000, rounds: 1 };
    expectKept(await runMayhem(context(20_261_121, test), goals));
  },
  LIMIT_MS,
);

it(
  'keeps what it promised through power cuts',
  async (test) => {
    const missing = await PowerSupply.missing();
    test.skip(missing !== null, `NO POWER CUTS ON THIS MACHINE: ${missing}`);
    const report = await runMayhem(context(3, test), { kills: 0, powerCuts: 2 });
    expect(report.figures).toMatchObject({ powerCuts: 2 });
    expectKept(report);
  },
  LIMIT_MS,
);

it(
  'gives no stale answer by a writer that slept, and was usurped',
  async (test) => {
    expectKept(await runZombies(context(4, test), 2));
  },
  LIMIT_MS,
);

it(
  'finds out a node that has an old disk, when everything depends on it',
  async (test) => {
    expectKept(await runRollbacks(context(5, test), 1));
  },
  LIMIT_MS,
);

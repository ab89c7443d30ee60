/** `npm run chaos`: TIDEMARK_CHAOS_ROUNDS rounds of TIDEMARK_CHAOS_SECONDS from seed TIDEMARK_CHAOS_SEED on (drawn when not given). */
import { writeSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type ChaosResult, runChaos, summaryLine } from './run.ts';

const rounds = Number(process.env.TIDEMARK_CHAOS_ROUNDS ?? 5);
const seconds = Number(process.env.TIDEMARK_CHAOS_SECONDS ?? 30);
/** Its story is printed, too. */
const SLOW_RECOVERY_MS = 8_000;
const first = Number(process.env.TIDEMARK_CHAOS_SEED ?? Math.floor(Math.random() * 1_000_000));

it(`keeps what it promised through ${rounds} rounds of ${seconds} s`, async () => {
  const results: ChaosResult[] = [];
  try {
    for (let round = 0; round < rounds; round += 1) {
      const result = await runChaos({ seed: first + round, seconds });
      results.push(result);
      writeSync(
        1,
        `${summaryLine([result])}\n   ${[...result.codes].map((entry) => entry.join(': ')).join(', ')}\n`,
      );
      for (const [complaint, times] of result.complaints) writeSync(1, `   ${times} × ${complaint}\n`);
      if (result.violations.length === 0 && result.recoveryMs < SLOW_RECOVERY_MS) continue;
      writeSync(1, `${result.story.join('\n')}\n`);
      if (result.violations.length === 0) continue;
      writeSync(1, `${[...result.violations, '', `see ${result.directory}`].join('\n')}\n`);
      break;
    }
  } finally {
    if (results.length > 0) writeSync(1, `${summaryLine(results)}\n`);
  }
  expect(results.flatMap(({ violations }) => violations)).toEqual([]);
}, 3_600_000);

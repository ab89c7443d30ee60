/** `npm run chaos -- --kills N --powercuts N`: rounds of random faults under load until that many processes were killed and that often power was cut. */
import { mayhem } from '../mayhem.ts';
import { PowerSupply } from '../places/power.ts';
import {
  type CommandContext,
  outcomeText,
  type Report,
  recoveryText,
  tellTrial,
  totals,
  trialFigures,
} from '../report.ts';
import { runTrial, type TrialResult } from '../trial.ts';

/** A round ends here, so that many seeds, and clusters made anew, have their turn. */
const ROUND_MS = 30_000;
/** Among power cuts there are kills and pauses, too. */
const POWER_SHARE = 0.6;

export interface MayhemGoals {
  readonly kills: number;
  readonly powerCuts: number;
  readonly roundMs?: number;
  /** At most. */
  readonly rounds?: number;
}

export async function runMayhem(context: CommandContext, goals: MayhemGoals): Promise<Report> {
  const { console } = context;
  const trials: TrialResult[] = [];
  const skipped: string[] = [];
  const missing = goals.powerCuts > 0 ? await PowerSupply.missing() : null;
  if (missing !== null) skipped.push(`power cuts: ${missing}`);
  const powerCuts = missing === null ? goals.powerCuts : 0;
  for (let seed = context.seed; ; seed += 1) {
    const done = totals(trials);
    const missingKills = goals.kills - done.kills;
    const missingCuts = powerCuts - done.powerCuts;
    const isEnough = (missingKills <= 0 && missingCuts <= 0) || trials.length === goals.rounds;
    if (isEnough || trials.some(({ violations }) => violations.length > 0)) break;
    const isPowered = missingCuts > 0 && (missingKills <= 0 || trials.length % 2 === 1);
    const trial = await round(context, seed, isPowered, {
      ...goals,
      kills: missingKills,
      powerCuts: missingCuts,
    });
    trials.push(trial);
    const all = totals(trials);
    tellTrial(
      console,
      `seed ${seed}, ${all.kills} of ${goals.kills} kills, ${all.powerCuts} of ${powerCuts} power cuts`,
      trial,
    );
  }
  const all = totals(trials);
  return {
    command: 'mayhem',
    summary: `${all.kills} kills, ${all.pauses} pauses, ${all.powerCuts} power cuts in ${trials.length} rounds from seed ${context.seed}; ${outcomeText(trials)}; ${recoveryText(trials)}`,
    skipped,
    violations: trials.flatMap(({ seed, violations }) => violations.map((what) => `seed ${seed}: ${what}`)),
    figures: { ...all, rounds: trials.map(trialFigures) },
  };
}

async function round(
  context: CommandContext,
  seed: number,
  isPowered: boolean,
  missing: MayhemGoals,
): Promise<TrialResult> {
  const power = isPowered ? await PowerSupply.open() : null;
  try {
    return await runTrial({
      seed,
      signal: context.signal,
      ...(power === null ? {} : { power }),
      scenario: async ({ stage, random, recovered }) => {
        const endMs = performance.now() + (missing.roundMs ?? ROUND_MS);
        await mayhem({
          stage,
          random,
          powerShare: isPowered ? POWER_SHARE : 0,
          isOver: () =>
            performance.now() >= endMs ||
            (isPowered ? stage.powerCuts >= missing.powerCuts : stage.kills >= missing.kills),
          onHealed: async () => {
            await recovered();
          },
        });
      },
    });
  } finally {
    await power?.close();
  }
}

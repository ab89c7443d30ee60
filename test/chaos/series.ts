/**
 * Rounds of one kind, a few in each trial: what most commands are made of. The places (networks, disks) are opened for each trial and closed after it,
 * whatever happens.
 */
import { Networks } from './places/networks.ts';
import { type CommandContext, tellTrial } from './report.ts';
import { ALL } from './stage.ts';
import { runTrial, type Trial, type TrialOptions, type TrialResult } from './trial.ts';

export interface SeriesOptions {
  readonly rounds: number;
  readonly roundsPerTrial: number;
  /** Every process in a network namespace of its own. */
  readonly inNetworks?: boolean;
  readonly trial?: Partial<Pick<TrialOptions, 'cluster' | 'power' | 'writers' | 'readers'>>;
  /** Before the first round of each trial, and after its last. */
  readonly prepare?: (trial: Trial) => Promise<void>;
  readonly round: (trial: Trial, round: number, networks: Networks | null) => Promise<void>;
  readonly conclude?: (trial: Trial) => Promise<void>;
}

/** Ends early when a trial broke a rule. */
export async function runSeries(context: CommandContext, options: SeriesOptions): Promise<TrialResult[]> {
  const trials: TrialResult[] = [];
  for (let first = 0; first < options.rounds; first += options.roundsPerTrial) {
    const end = Math.min(options.rounds, first + options.roundsPerTrial);
    const networks = options.inNetworks === true ? await Networks.open(ALL) : null;
    try {
      const trial = await runTrial({
        ...options.trial,
        seed: context.seed + first,
        signal: context.signal,
        cluster: {
          ...options.trial?.cluster,
          ...(networks === null ? {} : { placeOf: (name) => networks.placeOf(name) }),
        },
        scenario: async (trial) => {
          await options.prepare?.(trial);
          for (let round = first; round < end; round += 1) {
            await options.round(trial, round, networks);
            await networks?.heal();
            await trial.stage.heal();
            await trial.recovered();
          }
          await options.conclude?.(trial);
        },
      });
      trials.push(trial);
      tellTrial(
        context.console,
        `seed ${trial.seed}, rounds ${first + 1} to ${end} of ${options.rounds}`,
        trial,
      );
      if (trial.violations.length > 0) break;
    } finally {
      await networks?.close();
    }
  }
  return trials;
}

export function violationsOf(trials: readonly TrialResult[]): string[] {
  return trials.flatMap(({ seed, violations }) => violations.map((what) => `seed ${seed}: ${what}`));
}

/** One figure or two of the suite `timeline`, measured by itself. */
import type { SuiteOutcome } from '../suite.ts';
import type { Target } from '../target.ts';
import type { Setting } from './setting.ts';

export interface Part {
  readonly name: string;
  run(setting: Setting): Promise<SuiteOutcome>;
}

export function atMost(name: string, wanted: number, unit: string, found: number | null): Target {
  return { name, wanted, is: 'at-most', unit, found };
}

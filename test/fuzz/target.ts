/** What is fuzzed: something that takes inputs, each made from a random source of its own, so that any one can be made again. */
import type { SeededRandom } from '../support/seeded-random.ts';

export interface Target {
  readonly name: string;
  /** Share of all inputs, relative to the other targets'. */
  readonly weight: number;
  /** Inputs given at a time; 1: one after the other. */
  readonly concurrency: number;
  open(): Promise<OpenTarget>;
}

export interface OpenTarget {
  /** One input. Throws, or rejects, when something happened that must not: then it is a finding. */
  input(random: SeededRandom): void | Promise<void>;
  /** Throws when the target is not as sound as it should be after all it took. */
  check(): void | Promise<void>;
  close(): Promise<void>;
}

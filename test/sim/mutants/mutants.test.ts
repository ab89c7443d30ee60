/** The table fits the source: every text to find is there exactly once, and what comes of it is a module. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compileMutant } from './compile.ts';
import { MUTANTS } from './table.ts';

const root = join(import.meta.dirname, '../../..');

describe('the table of mutants', () => {
  it('has a name, a rule and a section for each', () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(50);
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
    for (const { name, rule, section, edits } of MUTANTS) {
      expect(name).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
      expect(rule.length, name).toBeGreaterThan(20);
      expect(section, name).toMatch(/^\d+(, \d+)*$/);
      expect(edits.length, name).toBeGreaterThan(0);
    }
  });

  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))(
    '%s fits the source',
    async (_, mutant) => {
      for (const { file, source } of await compileMutant(root, mutant)) {
        expect(source.length, file).toBeGreaterThan(100);
        expect(source, file).not.toMatch(/from ["']\.[^"']*\.ts["']/);
      }
    },
  );
});

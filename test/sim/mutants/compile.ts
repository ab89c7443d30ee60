/** A mutated module as plain JavaScript, the way the build makes it: types stripped, imports of `.ts` files leading to their `.js`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { transformWithEsbuild } from 'vite';
import { applyEdits, editsByFile, type Mutant } from './mutant.ts';

export interface MutatedModule {
  /** From the project's root, `.ts`. */
  readonly file: string;
  readonly source: string;
}

/** Throws when an edit does not fit its file, or what comes of it is no module. */
export async function compileMutant(root: string, mutant: Mutant): Promise<readonly MutatedModule[]> {
  const modules: MutatedModule[] = [];
  for (const [file, edits] of editsByFile(mutant)) {
    const mutated = applyEdits(readFileSync(join(root, file), 'utf8'), edits);
    const { code } = await transformWithEsbuild(mutated, file, {
      target: 'es2023',
      sourcemap: false,
      tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
    });
    modules.push({ file, source: code.replace(/(from\s+|import\s+)(["'])(\.[^"']+)\.ts\2/g, '$1$2$3.js$2') });
  }
  return modules;
}

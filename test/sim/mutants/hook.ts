/**
 * The module loader that makes one mutant: it answers for the mutated modules with their changed source, for everything else it stands aside.
 * Runs in Node's loader thread. `loadedFile` is told of every mutated module that was really loaded: one that is not proves nothing.
 */
import { appendFileSync } from 'node:fs';
import type { LoadHook } from 'node:module';

export interface HookData {
  /** Changed source by module URL. */
  readonly sources: Readonly<Record<string, string>>;
  readonly loadedFile: string;
}

let sources: HookData['sources'] = {};
let loadedFile = '';

export function initialize(data: HookData): void {
  sources = data.sources;
  loadedFile = data.loadedFile;
}

export const load: LoadHook = (url, context, nextLoad) => {
  const source = sources[url];
  if (source === undefined) return nextLoad(url, context);
  appendFileSync(loadedFile, `${url}\n`);
  return { format: 'module', source, shortCircuit: true };
};

/** Given to `node --import`: puts the loader of hook.ts in front, with the mutant that TIDEMARK_MUTANT (a file) describes. */
import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import type { HookData } from './hook.ts';

const file = process.env.TIDEMARK_MUTANT;
if (file !== undefined) {
  const data = JSON.parse(readFileSync(file, 'utf8')) as HookData;
  register(new URL('./hook.js', import.meta.url), { data });
}

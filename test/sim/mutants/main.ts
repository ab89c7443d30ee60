/** The command behind `npm run sim -- mutants`. */
import { fileURLToPath } from 'node:url';
import { runMutants } from './run.ts';

const compiled = fileURLToPath(new URL('../../..', import.meta.url));
process.exitCode = await runMutants(process.argv.slice(2), { root: process.cwd(), compiled });

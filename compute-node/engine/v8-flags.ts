/**
 * V8 as Node 20 has it (11.3) compiles calls from JavaScript into WebAssembly inline, and gets it wrong: with SQLite's column readers in a
 * hot loop, the first row with a column type not seen before ends the process with SIGSEGV (seen on v20.20.2: dumping a table of texts
 * and then one of reals and blobs, twice). Without that optimisation it does not happen.
 */
import { setFlagsFromString } from 'node:v8';

/** First V8 without the flag is not known; on newer ones an unknown flag would only make noise. */
const LAST_AFFECTED_NODE_MAJOR = 20;

/** Before SQLite runs in this process. */
export function avoidWasmInliningBug(): void {
  const major = Number(process.versions.node.split('.')[0]);
  if (major <= LAST_AFFECTED_NODE_MAJOR) setFlagsFromString('--no-turbo-inline-js-wasm-calls');
}

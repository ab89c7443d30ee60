/** The built SQL worker: `npm run build` puts it there (npm test does so first). */
export const engineWorkerUrl = new URL('../../dist/compute-node/engine/worker/main.js', import.meta.url);

import { runSeed } from './run-seed.ts';
setImmediate(() => {
  const [from = '1', count = '1', trace] = process.argv.slice(2);
  for (let seed = Number(from); seed < Number(from) + Number(count); seed += 1) {
    const started = performance.now();
    const r = runSeed(seed, trace ? { trace: (l) => console.log(l.atMs.toFixed(2), l.who, l.text) } : {});
    console.log(JSON.stringify(r).slice(0, 1500), `${Math.round(performance.now() - started)} ms`);
    if (r.violation) console.log(r.violation.message);
  }
});

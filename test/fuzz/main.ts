/**
 * `npm run fuzz -- --inputs N [--seed S] [--target NAME] [--at NUMBER] [--json FILE]`: one line per target, one at the end; exits non-zero on any
 * finding.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fuzz, TARGETS, type TargetReport } from './run.ts';

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    target: { type: 'string' },
    at: { type: 'string' },
    json: { type: 'string' },
  },
});
if (values.target !== undefined && !TARGETS.some(({ name }) => name === values.target)) {
  console.error(`there is no target ${values.target}: ${TARGETS.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const seed = Number(values.seed);
const startedAt = performance.now();
const { reports, findings } = await fuzz({
  inputs: Number(values.inputs),
  seed,
  only: values.target ?? null,
  at: values.at === undefined ? null : Number(values.at),
  onProgress: (report) => console.log(lineOf(report)),
});
for (const { target, kind, at, what } of findings.slice(0, 20)) {
  console.log(
    `${kind.toUpperCase()} ${target} at ${at} (--seed ${seed} --target ${target} --at ${at}): ${what}`,
  );
}
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ seed, reports, findings }, null, 2)}\n`);
const inputs = reports.reduce((sum, report) => sum + report.inputs, 0);
const tookS = Math.round((performance.now() - startedAt) / 1_000);
console.log(`fuzz: ${inputs} inputs, seed ${seed}, ${findings.length} findings, ${tookS} s`);
process.exit(findings.length === 0 ? 0 : 1);

function lineOf({ target, inputs, tookMs, longestMs, grownBytes }: TargetReport): string {
  const perSecond = Math.round(inputs / (tookMs / 1_000));
  const grown = (grownBytes / (1024 * 1024)).toFixed(1);
  return `${target.padEnd(11)} ${inputs} inputs, ${perSecond}/s, longest ${longestMs.toFixed(1)} ms, memory +${grown} MiB`;
}

/** `npm run chaos -- bitrot`: one flipped bit in every byte (`--exhaustive`), or in so many, of a stopped node's files (bitrot/). */
import { type BitrotResult, flipBits } from '../bitrot/run.ts';
import type { CommandContext, Report } from '../report.ts';

const REPORT_EVERY_MS = 5_000;

/** `flips` null: one bit of every byte. */
export async function runBitrot(context: CommandContext, flips: number | null): Promise<Report> {
  const startedMs = performance.now();
  let reportedMs = startedMs;
  const result = await flipBits({
    seed: context.seed,
    flips,
    signal: context.signal,
    onProgress: (done, total) => {
      const nowMs = performance.now();
      if (nowMs - reportedMs < REPORT_EVERY_MS) return;
      reportedMs = nowMs;
      const perSecond = Math.round((1_000 * done) / (nowMs - startedMs));
      context.console.progress(`${done} of ${total} bits flipped, ${perSecond} a second`);
    },
  });
  for (const { path, sizeBytes, flips: tried, harmless, repaired } of result.files) {
    context.console.progress(
      `${path} (${sizeBytes} bytes): ${tried} flips, ${harmless} harmless, ${repaired} repaired`,
    );
  }
  return {
    command: 'bitrot',
    summary: summaryOf(result),
    skipped: [],
    violations: result.violations,
    figures: {
      ...result,
      exhaustive: flips === null,
      msPerFlip: (performance.now() - startedMs) / result.flips,
    },
  };
}

function summaryOf({ flips, files, trials, slowestHealingMs, violations }: BitrotResult): string {
  const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const sum = (of: (file: BitrotResult['files'][number]) => number): number =>
    files.reduce((all, file) => all + of(file), 0);
  return (
    `${flips} bits flipped in ${files.length} files of ${bytes} bytes: ${sum((file) => file.harmless)} harmless, ` +
    `${sum((file) => file.repaired) - violations.length} found and repaired (${trials} different findings, ` +
    `whole again within ${slowestHealingMs} ms)`
  );
}

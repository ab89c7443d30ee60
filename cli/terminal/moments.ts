/** Moments and stretches of time as people read them. */
import { formatTime } from '../../src/timeline/moment.ts';

/** `lsn:12 (2026-11-21T10:00:00Z)`. */
export function momentText(lsn: number, committedAtMicros: number | null): string {
  return committedAtMicros === null ? `lsn:${lsn}` : `lsn:${lsn} (${formatTime(committedAtMicros)})`;
}

/** As `tidemark window` takes it: 24h, 90m, 1d12h. */
export function formatWindow(ms: number): string {
  let seconds = Math.round(ms / 1_000);
  if (seconds === 0) return '0s';
  let text = '';
  for (const [unit, size] of [
    ['h', 3_600],
    ['m', 60],
    ['s', 1],
  ] as const) {
    const count = Math.floor(seconds / size);
    if (count > 0) text += `${count}${unit}`;
    seconds -= count * size;
  }
  return text;
}

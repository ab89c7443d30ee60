/** A progress bar that redraws one line of a terminal. Off a terminal it draws nothing: a log full of bars helps nobody. */

export interface ProgressTarget {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const REDRAW_INTERVAL_MS = 100;
const BAR_CELLS = 24;

export class ProgressBar {
  private readonly target: ProgressTarget;
  private readonly label: string;
  private readonly unit: 'bytes' | 'rows';
  private readonly startedMs = performance.now();
  private drawnMs = 0;
  private isDrawn = false;

  constructor(target: ProgressTarget, label: string, unit: 'bytes' | 'rows') {
    this.target = target;
    this.label = label;
    this.unit = unit;
  }

  /** `total` null: not known. */
  update(done: number, total: number | null): void {
    if (this.target.isTTY !== true) return;
    const nowMs = performance.now();
    if (nowMs - this.drawnMs < REDRAW_INTERVAL_MS && done !== total) return;
    this.drawnMs = nowMs;
    this.isDrawn = true;
    const perSecond = done / Math.max(0.001, (nowMs - this.startedMs) / 1000);
    const amount = this.unit === 'bytes' ? formatBytes(done) : done.toLocaleString('en');
    const rate = this.unit === 'bytes' ? formatBytes(perSecond) : Math.round(perSecond).toLocaleString('en');
    const bar = total === null || total === 0 ? '' : `${barText(done / total)} ${percent(done / total)}  `;
    const line = `${this.label}  ${bar}${amount}  ${rate}/s`;
    this.target.write(`\r\u001b[2K${line.slice(0, Math.max(20, (this.target.columns ?? 80) - 1))}`);
  }

  /** Takes the bar away, before other output. */
  clear(): void {
    if (this.isDrawn) this.target.write('\r\u001b[2K');
    this.isDrawn = false;
  }
}

function barText(share: number): string {
  const cells = Math.round(Math.min(1, share) * BAR_CELLS);
  return `[${'█'.repeat(cells)}${'·'.repeat(BAR_CELLS - cells)}]`;
}

function percent(share: number): string {
  return `${Math.floor(Math.min(1, share) * 100)}%`.padStart(4);
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  let value = bytes;
  for (const unit of ['KiB', 'MiB', 'GiB']) {
    value /= 1024;
    if (value < 1024) return `${value.toFixed(1)} ${unit}`;
  }
  return `${(value / 1024).toFixed(1)} TiB`;
}

export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

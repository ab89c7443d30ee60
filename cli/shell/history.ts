/** The shell's history: one line each, appended as typed, so that shells side by side and a killed one lose nothing. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** Lines kept; the file is cut back to these at start once it has twice as many. */
const KEPT_LINES = 2_000;

export function defaultHistoryPath(env: Readonly<Record<string, string | undefined>>): string {
  return env.TIDEMARK_HISTORY ?? join(homedir(), '.tidemark_history');
}

export class History {
  private readonly path: string | null;

  /** `null` or an empty path: nothing is kept. */
  constructor(path: string | null) {
    this.path = path === '' ? null : path;
  }

  /** Newest first, as readline wants it. An unreadable file is an empty history. */
  load(): string[] {
    if (this.path === null || !existsSync(this.path)) return [];
    try {
      const lines = readFileSync(this.path, 'utf8')
        .split('\n')
        .filter((line) => line !== '');
      if (lines.length > 2 * KEPT_LINES) {
        writeFileSync(this.path, `${lines.slice(-KEPT_LINES).join('\n')}\n`, { mode: 0o600 });
      }
      return lines.slice(-KEPT_LINES).reverse();
    } catch {
      return [];
    }
  }

  /** Lines that begin with a blank are not kept (a way to type a secret). Failing to write never stops the shell. */
  add(line: string): void {
    if (this.path === null || line.trim() === '' || line.startsWith(' ')) return;
    try {
      mkdirSync(dirname(this.path), { recursive: true });
      appendFileSync(this.path, `${line.replaceAll('\n', ' ')}\n`, { mode: 0o600 });
    } catch {
      // A read-only home directory is no reason to fail.
    }
  }
}

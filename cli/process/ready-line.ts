/** The one line that a process command prints on stdout: that it is ready, or why it never will be. `up` and scripts wait for it. */
import type { ErrorBody } from '../exit.ts';

export type ProcessKind = 'storage-node' | 'compute-node';

export type ReadyLine =
  | { readonly ready: true; readonly kind: 'storage-node'; readonly nodeId: string; readonly address: string }
  | { readonly ready: true; readonly kind: 'compute-node'; readonly url: string }
  | { readonly ready: false; readonly kind: ProcessKind; readonly error: ErrorBody };

export function formatReadyLine(line: ReadyLine): string {
  return `${JSON.stringify(line)}\n`;
}

/** Null: not such a line. */
export function parseReadyLine(text: string): ReadyLine | null {
  if (!text.startsWith('{')) return null;
  try {
    const parsed = JSON.parse(text) as ReadyLine;
    return typeof parsed.ready === 'boolean' && typeof parsed.kind === 'string' ? parsed : null;
  } catch {
    return null;
  }
}

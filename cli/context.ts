/** What commands get from the process they run in. Handed in, so that tests need no process. */
import type { Style } from './terminal/style.ts';

export interface OutputStream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface CliContext {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** This command's own script, for commands that start others. */
  readonly commandPath: string;
  /** For stdout and for stderr. */
  readonly style: Style;
  readonly errorStyle: Style;
  /** Sets what the process exits with once all is done. */
  setExitCode(code: number): void;
}

/** Writes with the reader's pace. */
export function paced(stream: NodeJS.WritableStream): (text: string) => void | Promise<void> {
  return (text) => {
    if (text === '' || stream.write(text)) return;
    return new Promise((resolve) => {
      // A reader that went away (`| head`) never drains.
      const done = (): void => {
        stream.removeListener('drain', done);
        stream.removeListener('close', done);
        resolve();
      };
      stream.once('drain', done);
      stream.once('close', done);
    });
  };
}

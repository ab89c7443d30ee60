/** Exit codes of every command, and how an error becomes words and a code. */
import { TidemarkError } from '../src/base/errors.ts';
import type { Style } from './terminal/style.ts';

export const EXIT_OK = 0;
export const EXIT_FAILURE = 1;
/** The command line itself was wrong. */
export const EXIT_USAGE = 2;
/** 128 + SIGINT, as shells count. */
export const EXIT_INTERRUPTED = 130;

export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly nextStep: string | null;
}

export function errorBody(error: unknown): ErrorBody {
  if (error instanceof TidemarkError) {
    return { code: error.code, message: error.message, nextStep: error.nextStep ?? null };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'INTERNAL', message, nextStep: null };
}

export function errorText(error: unknown, style: Style): string {
  const { code, message, nextStep } = errorBody(error);
  const head = `${style.red('Error:')} ${message} ${style.dim(`(${code})`)}\n`;
  // Not one of ours: whoever mends it needs to know where it came from.
  const stack = error instanceof TidemarkError || !(error instanceof Error) ? '' : (error.stack ?? '');
  return `${head}${nextStep === null ? '' : `  ${nextStep}\n`}${stack === '' ? '' : `${style.dim(stack)}\n`}`;
}

/** Cuts the words of a dot-command: separated by blanks, quoted by '…' or "…" (a backslash escapes inside double quotes). */
import { TidemarkError } from '../../src/base/errors.ts';

export function splitWords(text: string): string[] {
  const words: string[] = [];
  const pattern = /\s*(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([^\s'"]\S*))/gy;
  let at = 0;
  while (at < text.trimEnd().length) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) {
      throw new TidemarkError('BAD_REQUEST', `a quote is not closed: ${text.slice(at).trim()}`, {
        nextStep: 'Close it with the same quote.',
      });
    }
    const [whole, single, double, bare] = match;
    words.push(single ?? double?.replace(/\\(.)/g, '$1') ?? bare ?? '');
    at += whole.length;
  }
  return words;
}

/**
 * Interaction scripts: text files that tell a protocol story step by step, with what every node did (after etcd-io/raft's). A script is a list of
 * blocks:
 *
 *     # why this happens
 *     command arguments
 *     ----
 *     what came of it
 *
 * The test runs the commands and compares. With UPDATE_SCRIPTS=1 it writes what it saw; such a change must be understood before it is
 * committed.
 */
import { readFileSync, writeFileSync } from 'node:fs';

export type Commands = (line: string) => readonly string[];

interface Block {
  readonly comments: readonly string[];
  readonly commands: readonly string[];
  readonly expected: readonly string[];
}

const SEPARATOR = '----';

/** Returns the script as it is and as it ran. */
export function runScript(
  path: string,
  commands: Commands,
): { readonly expected: string; readonly actual: string } {
  const expected = readFileSync(path, 'utf8');
  const blocks = parse(expected).map((block) => ({
    ...block,
    expected: block.commands.length === 0 ? [] : block.commands.flatMap((command) => commands(command)),
  }));
  const actual = format(blocks);
  if (process.env.UPDATE_SCRIPTS === '1' && actual !== expected) writeFileSync(path, actual);
  return { expected, actual };
}

function parse(text: string): Block[] {
  return text
    .trimEnd()
    .split(/\n\n+/)
    .map((chunk) => {
      const lines = chunk.split('\n');
      const at = lines.indexOf(SEPARATOR);
      const head = at < 0 ? lines : lines.slice(0, at);
      return {
        comments: head.filter((line) => line.startsWith('#')),
        commands: head.filter((line) => !line.startsWith('#')),
        expected: at < 0 ? [] : lines.slice(at + 1),
      };
    });
}

function format(blocks: readonly Block[]): string {
  const chunks = blocks.map(({ comments, commands, expected }) => {
    if (commands.length === 0) return comments.join('\n');
    return [...comments, ...commands, SEPARATOR, ...expected].join('\n');
  });
  return `${chunks.join('\n\n')}\n`;
}

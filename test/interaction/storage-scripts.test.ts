import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { runScript } from './script-runner.ts';
import { storageCommands } from './storage-commands.ts';

const SCRIPTS = fileURLToPath(new URL('./storage-node/', import.meta.url));

describe('storage node stories', () => {
  test.each(readdirSync(SCRIPTS).filter((name) => name.endsWith('.txt')))('%s', (name) => {
    const { expected, actual } = runScript(`${SCRIPTS}${name}`, storageCommands());
    expect(actual).toBe(expected);
  });
});

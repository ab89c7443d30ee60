import { describe, expect, it } from 'vitest';
import { BUILD_VERSION } from '../../../src/adapters/build-info.ts';
import { createLogger } from '../../../src/adapters/logger.ts';
import { TidemarkError } from '../../../src/base/errors.ts';

function capture(
  format: 'json' | 'text',
  level?: 'debug',
): { lines: string[]; logger: ReturnType<typeof createLogger> } {
  const lines: string[] = [];
  const logger = createLogger({
    format,
    ...(level === undefined ? {} : { level }),
    fields: { node: 'az1-a' },
    write: (line) => lines.push(line),
    nowMs: () => 0,
  });
  return { lines, logger };
}

describe('logger', () => {
  it('writes one JSON line per happening, with errors down to their causes', () => {
    const { lines, logger } = capture('json');
    const cause = new TidemarkError('IO_ERROR', 'disk', { nextStep: 'Replace it.', cause: new Error('EIO') });
    logger
      .with({ volume: 'v' })
      .log('error', 'stopped', { error: new TidemarkError('INTERNAL', 'gone', { cause }) });
    logger.log('debug', 'not written');
    expect(lines).toHaveLength(1);
    expect(lines[0]!.endsWith('\n')).toBe(true);
    const line = JSON.parse(lines[0]!);
    expect(line).toMatchObject({ level: 'error', message: 'stopped', node: 'az1-a', volume: 'v' });
    expect(line.error.cause).toMatchObject({
      code: 'IO_ERROR',
      nextStep: 'Replace it.',
      cause: { message: 'EIO' },
    });
  });

  it('writes text for people', () => {
    const { lines, logger } = capture('text', 'debug');
    logger.log('debug', 'ready', { bytes: new Uint8Array(3), why: 'two words' });
    expect(lines).toEqual(['00:00:00.000 debug ready node=az1-a bytes="3 bytes" why="two words"\n']);
  });
});

describe('build info', () => {
  it('knows the version of the package', () => expect(BUILD_VERSION).toMatch(/^\d+\.\d+\.\d+/));
});

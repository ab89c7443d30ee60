/** Flags before environment before file. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  byteCount,
  required,
  resolveSettings,
  text,
  variableOf,
  wholeNumber,
} from '../../../cli/process/settings.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-test-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'config.json');

const SETTINGS = {
  dataDir: { key: 'dataDir', flag: 'data', placeholder: 'DIR', help: '', parse: text() },
  pageCacheBytes: { key: 'pageCacheBytes', placeholder: 'BYTES', help: '', parse: byteCount() },
  port: { key: 'port', placeholder: 'N', help: '', parse: wholeNumber(0, 65_535) },
};

describe('settings', () => {
  it('come from flags, then the environment, then the file', () => {
    writeFileSync(file, JSON.stringify({ dataDir: 'file', pageCacheBytes: '1MiB', port: 3 }));
    const env = { TIDEMARK_PAGE_CACHE_BYTES: '2K', TIDEMARK_DATA_DIR: 'env', TIDEMARK_PORT: '' };
    expect(resolveSettings(SETTINGS, { data: 'flag', config: file }, env)).toEqual({
      dataDir: 'flag',
      pageCacheBytes: 2_048,
      port: 3,
    });
    expect(resolveSettings(SETTINGS, {}, { TIDEMARK_CONFIG: file })).toMatchObject({
      pageCacheBytes: 1_048_576,
    });
    expect(resolveSettings(SETTINGS, {}, {})).toEqual({});
  });

  it('name the source of a wrong value', () => {
    expect(() => resolveSettings(SETTINGS, { port: '99999' }, {})).toThrow(
      /--port: "99999" is not a whole number/,
    );
    expect(() => resolveSettings(SETTINGS, {}, { TIDEMARK_PAGE_CACHE_BYTES: 'x' })).toThrow(
      /TIDEMARK_PAGE_CACHE_BYTES/,
    );
    expect(() => required(undefined, SETTINGS.dataDir)).toThrow(
      expect.objectContaining({ nextStep: expect.stringContaining('--data DIR') }),
    );
    expect(variableOf(SETTINGS.pageCacheBytes)).toBe('TIDEMARK_PAGE_CACHE_BYTES');
  });

  it.each([
    ['{"dataDri":"x"}', /unknown settings: dataDri/],
    ['[]', /not a JSON object/],
    ['{', /cannot be read/],
  ])('refuse the file %s', (content, message) => {
    writeFileSync(file, content);
    expect(() => resolveSettings(SETTINGS, { config: file }, {})).toThrow(message);
  });

  it('refuse a file that is not there', () => {
    expect(() => resolveSettings(SETTINGS, { config: join(folder, 'none') }, {})).toThrow(/ENOENT/);
  });
});

/**
 * Data written by format version 1 is read for ever: the files in v1/ are never changed once a release has written such data, and today's code
 * must read them as what they were, and write the very same bytes.
 *
 * A case without a file gets one with `UPDATE_GOLDEN=1 npx vitest run test/golden`, which also renews those that differ: to be used only for a
 * format that no release has written yet. A later format gets a folder of its own beside v1/.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GOLDEN_CASES, type GoldenCase } from './cases.ts';

const FOLDER = join(import.meta.dirname, 'v1');
const BYTES_PER_LINE = 32;
const isUpdating = process.env.UPDATE_GOLDEN === '1';

function fileOf({ name }: GoldenCase): string {
  return join(FOLDER, `${name}.hex`);
}

/** As text, so that a change can be seen in a diff. */
function toText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return `${hex.match(new RegExp(`.{1,${BYTES_PER_LINE * 2}}`, 'g'))?.join('\n') ?? ''}\n`;
}

function fromText(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'));
}

/** Every byte string as a plain Uint8Array: some codecs give views, some Buffers. */
function normal(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (value instanceof Map) return new Map([...value].map(([key, each]) => [key, normal(each)]));
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, normal(each)]));
}

describe('format version 1', () => {
  it.each(GOLDEN_CASES.map((golden) => [golden.name, golden] as const))('%s', (_, golden) => {
    const file = fileOf(golden);
    const written = golden.encode();
    if (isUpdating && (!existsSync(file) || readFileSync(file, 'utf8') !== toText(written))) {
      writeFileSync(file, toText(written));
    }
    const stored = fromText(readFileSync(file, 'utf8'));
    expect(normal(golden.decode(stored)), 'what is read').toEqual(normal(golden.value));
    expect(toText(written), 'what is written').toBe(toText(stored));
  });

  it('has a case for every file', () => {
    const files = readdirSync(FOLDER).sort();
    expect(files).toEqual(GOLDEN_CASES.map(({ name }) => `${name}.hex`).sort());
  });
});

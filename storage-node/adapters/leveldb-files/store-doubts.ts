/**
 * Which keys of the store may have lost their newest value, as found by earlier starts and not made good yet: one small file beside the store,
 * replaced whole. When it cannot be read, all keys are in doubt.
 *
 *     {"format": 1, "crc32": …, "ranges": [["<first key, hex>", "<end, hex>"], …]}
 */
import { readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import type { KeyRange } from '../../core/effects.ts';
import { replaceFile, syncDirectory } from '../journal-disk.ts';
import { EVERYTHING } from './store-survey.ts';

const FORMAT = 1;

export class StoreDoubts {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  static beside(storeDirectory: string): StoreDoubts {
    return new StoreDoubts(`${storeDirectory}.doubts`);
  }

  async read(): Promise<readonly KeyRange[]> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT' ? [] : [EVERYTHING];
    }
    return decode(text) ?? [EVERYTHING];
  }

  /** Durable on return. */
  async write(ranges: readonly KeyRange[]): Promise<void> {
    const hex = ranges.map(({ gte, lt }) => [
      Buffer.from(gte).toString('hex'),
      Buffer.from(lt).toString('hex'),
    ]);
    await replaceFile(
      this.#path,
      Buffer.from(JSON.stringify({ format: FORMAT, crc32: checksum(hex), ranges: hex })),
    );
  }

  async clear(): Promise<void> {
    await rm(this.#path, { force: true });
    await syncDirectory(dirname(this.#path));
  }
}

function decode(text: string): readonly KeyRange[] | null {
  try {
    const { format, crc32, ranges } = JSON.parse(text) as {
      format: unknown;
      crc32: unknown;
      ranges: unknown;
    };
    if (format !== FORMAT || crc32 !== checksum(ranges) || !Array.isArray(ranges)) return null;
    return ranges.map(([gte, lt]: [string, string]) => ({ gte: fromHex(gte), lt: fromHex(lt) }));
  } catch {
    return null;
  }
}

function checksum(ranges: unknown): number {
  return nodeCrc32(Buffer.from(JSON.stringify(ranges)));
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}

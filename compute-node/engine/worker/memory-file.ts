/** SQLite's temporary files (sorting, materialized views with temp_store=FILE): bytes in this worker's memory, gone on close. */
import { TidemarkError } from '../../../src/base/errors.ts';
import { MIB } from '../../../src/base/limits.ts';
import type { PlainFile } from './vfs.ts';

/** One temporary file; what SQLite keeps in its own memory instead is bounded by that. */
const MAX_BYTES = 512 * MIB;
const FIRST_BYTES = 64 * 1024;

export class MemoryFile implements PlainFile {
  #bytes: Uint8Array;
  #sizeBytes: number;

  /** Takes `bytes` over. */
  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#bytes = bytes;
    this.#sizeBytes = bytes.length;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  read(into: Uint8Array, offset: number): boolean {
    const available = Math.max(0, Math.min(into.length, this.#sizeBytes - offset));
    into.set(this.#bytes.subarray(offset, offset + available));
    if (available === into.length) return true;
    into.fill(0, available);
    return false;
  }

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) this.#grow(end);
    this.#bytes.set(bytes, offset);
    this.#sizeBytes = Math.max(this.#sizeBytes, end);
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.#sizeBytes) this.#bytes.fill(0, sizeBytes, this.#sizeBytes);
    this.#sizeBytes = Math.min(this.#sizeBytes, sizeBytes);
  }

  /** Everything written so far; shares memory with the file. */
  content(): Uint8Array {
    return this.#bytes.subarray(0, this.#sizeBytes);
  }

  #grow(least: number): void {
    if (least > MAX_BYTES) {
      throw new TidemarkError(
        'TOO_LARGE',
        `a temporary file of a statement grew past ${MAX_BYTES / MIB} MiB`,
      );
    }
    const grown = new Uint8Array(Math.max(least, FIRST_BYTES, this.#bytes.length * 2));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}

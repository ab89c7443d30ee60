/** The tables of a store that is open: read beside LevelDB, which never changes one. */
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { TableFiles } from '../../driver/table-scrub.ts';
import { inspectTable } from './table-format.ts';

const TABLE_NAME = /^\d+\.(?:ldb|sst)$/;

export class LiveTables implements TableFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async list(): Promise<readonly { readonly name: string; readonly sizeBytes: number }[]> {
    const tables: { name: string; sizeBytes: number }[] = [];
    for (const name of await readdir(this.#directory)) {
      if (!TABLE_NAME.test(name)) continue;
      const sizeBytes = await stat(join(this.#directory, name)).then(({ size }) => size, goneIs(null));
      if (sizeBytes !== null) tables.push({ name, sizeBytes });
    }
    return tables;
  }

  async faultOf(name: string): Promise<string | null> {
    const bytes = await readFile(join(this.#directory, name)).catch(goneIs(null));
    if (bytes === null) return null;
    const verdict = inspectTable(bytes);
    return verdict.kind === 'intact' ? null : verdict.why;
  }
}

function goneIs<Value>(value: Value): (error: NodeJS.ErrnoException) => Value {
  return (error) => {
    if (error.code === 'ENOENT') return value;
    throw error;
  };
}

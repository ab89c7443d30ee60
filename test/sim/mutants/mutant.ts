/**
 * A mutant is the product with one safety rule taken out, as an edit of its source: product code has no switches, so nothing of this can be
 * reached in production. A rule that no mutant proves is not tested (design section 13).
 *
 * Where two lines keep the same rule (belt and braces), the mutant removes both and says so in its `rule`.
 */

export interface Edit {
  /** From the project's root. */
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly find: string;
  readonly replace: string;
}

import type { SeedOptions } from '../run-seed.ts';

/** How the simulator's scenario is bent. */
export type SeedBias = Pick<SeedOptions, 'weights' | 'faultCount' | 'scenario'>;

/**
 * Where the mutant must be caught.
 * - cluster: whole clusters in the simulator (test/sim).
 * - pages: storage cores under random timelines, with backtracks, pins and collection (arenas/pages.ts).
 * - members: storage cores while a PG's members change (arenas/members.ts).
 * - take-over: storage cores and take-overs over a bad network (arenas/take-over.ts).
 * - copies: copies of a segment's pages in parts (arenas/copies.ts).
 * - engine: the SQL engine against plain SQLite, over a volume that hardens late (arenas/engine.ts).
 * - output: what a program gives out, and when (arenas/output.ts).
 * - memory: storage nodes whose disks go back in time (arenas/memory.ts).
 * - codec: bytes of records and values, moved and flipped (arenas/codec.ts).
 */
export type ArenaName =
  | 'cluster'
  | 'pages'
  | 'members'
  | 'take-over'
  | 'copies'
  | 'engine'
  | 'output'
  | 'memory'
  | 'codec';

export interface Mutant {
  readonly name: string;
  /** The rule that is taken out, one sentence. */
  readonly rule: string;
  /** Of the design, e.g. '6' or '5, 9'. */
  readonly section: string;
  readonly arena: ArenaName;
  readonly edits: readonly Edit[];
  /** Bias of the simulator's scenario (SimOptions), so that the rule is put to the test often. */
  readonly hint?: SeedBias;
}

/** `source` with every edit of one file made. Throws when a text to find is not there exactly once. */
export function applyEdits(source: string, edits: readonly Edit[]): string {
  let mutated = source;
  for (const { file, find, replace } of edits) {
    const parts = mutated.split(find);
    if (parts.length !== 2) {
      throw new Error(`${file}: ${JSON.stringify(find)} occurs ${parts.length - 1} times, not once`);
    }
    mutated = parts.join(replace);
  }
  return mutated;
}

/** Edits by file. */
export function editsByFile(mutant: Mutant): ReadonlyMap<string, readonly Edit[]> {
  const byFile = new Map<string, Edit[]>();
  for (const edit of mutant.edits) byFile.set(edit.file, [...(byFile.get(edit.file) ?? []), edit]);
  return byFile;
}

/** Every key of a surveyed store with its newest intact value, in key order: what salvage copies. Deleted keys are left out. */
import { readFile } from 'node:fs/promises';
import { compareKeys } from '../../core/keys.ts';
import type { KvEntry } from '../../../src/env/env.ts';
import type { StoreSurvey, SurveyedTable } from './store-survey.ts';
import { tableEntries } from './table-format.ts';
import type { StoredEntry } from './write-batch.ts';

/** Entries by key, newest first within one. */
interface Source {
  readonly entries: Iterator<StoredEntry>;
  head: StoredEntry;
}

interface Unopened {
  readonly smallest: Uint8Array;
  readonly table: SurveyedTable;
}

export async function* newestEntries(survey: StoreSurvey): AsyncGenerator<KvEntry> {
  const sources: Source[] = [];
  const add = (entries: Iterator<StoredEntry>): void => {
    const first = entries.next();
    if (first.done !== true) sources.push({ entries, head: first.value });
  };
  add(loggedEntries(survey));
  const unopened = await bySmallestKey(survey);
  for (;;) {
    let source = smallestOf(sources);
    // A table joins in when the merge reaches its first key: few are open at a time.
    for (let next = unopened[0]; next !== undefined; next = unopened[0]) {
      if (source !== null && compareKeys(next.smallest, source.head.key) > 0) break;
      unopened.shift();
      add(await entriesOf(next.table));
      source = smallestOf(sources);
    }
    if (source === null) return;
    const { key } = source.head;
    let newest = source.head;
    for (const other of [...sources]) {
      while (compareKeys(other.head.key, key) === 0) {
        if (other.head.sequence > newest.sequence) newest = other.head;
        if (!advance(sources, other)) break;
      }
    }
    if (newest.value !== null) yield { key, value: newest.value };
  }
}

function advance(sources: Source[], source: Source): boolean {
  const next = source.entries.next();
  if (next.done !== true) {
    source.head = next.value;
    return true;
  }
  sources.splice(sources.indexOf(source), 1);
  return false;
}

function smallestOf(sources: readonly Source[]): Source | null {
  let smallest: Source | null = null;
  for (const source of sources) {
    if (smallest === null || compareKeys(source.head.key, smallest.head.key) < 0) smallest = source;
  }
  return smallest;
}

async function bySmallestKey({ tables }: StoreSurvey): Promise<Unopened[]> {
  const known: Unopened[] = [];
  for (const table of tables) {
    if (table.verdict.kind === 'unreadable') continue;
    const smallest = table.ref?.smallest ?? (await entriesOf(table)).next().value?.key;
    if (smallest !== undefined) known.push({ smallest, table });
  }
  return known.sort((a, b) => compareKeys(a.smallest, b.smallest));
}

async function entriesOf({ path, verdict }: SurveyedTable): Promise<Iterator<StoredEntry>> {
  if (verdict.kind === 'unreadable') return [].values();
  return tableEntries(await readFile(path), verdict.index);
}

function loggedEntries({ logs }: StoreSurvey): Iterator<StoredEntry> {
  const entries = logs.flatMap(({ batches }) => batches.flatMap((batch) => batch.entries));
  entries.sort((a, b) => compareKeys(a.key, b.key) || b.sequence - a.sequence);
  return entries.values();
}

/**
 * A storage node's disk for tests: store and journal in memory, with what a crash may do to them. The store loses any number of its newest
 * unsynced batches; the journal keeps what was synced and perhaps some of what was on its way; with `loseRound` the store loses a
 * batch in its middle, as LevelDB's write-ahead log does after a flipped bit.
 */
import type { KvEntry, KvOp, KvRange } from '../../src/env/env.ts';
import type {
  CoreEffect,
  DurableOp,
  JournalRecovery,
  StoreQuery,
  StoreResult,
} from '../../storage-node/core/effects.ts';

type HomeOp = Extract<DurableOp, { kind: 'home' }>;
type Persist = Extract<CoreEffect, { kind: 'persist' }>;

interface JournalEntry {
  readonly ops: readonly DurableOp[];
}

export interface CrashOptions {
  /** In [0, 1): how much of what may be lost is lost. */
  readonly chance: () => number;
  /** The journal reports damage and forgets its newest so many durable entries. */
  readonly loseDurableEntries?: number;
  /** Background batch of the store to lose in its middle, counted from the newest. */
  readonly loseWrite?: number;
}

export class TestDisk {
  private batches: { readonly ops: readonly KvOp[]; readonly isWrite: boolean }[] = [];
  private readonly synced = new Map<string, Uint8Array>();
  private current = new Map<string, Uint8Array>();
  private sortedKeys: string[] | null = null;

  private readonly checkpoint = new Map<string, Uint8Array>();
  private ring: JournalEntry[] = [];
  /** Of `ring`, the entries known durable. */
  private durable = 0;
  private readonly ringEntries: number;

  constructor(ringEntries = 1_000_000) {
    this.ringEntries = ringEntries;
  }

  /** A disk that holds just this, all of it durable. */
  static of(entries: readonly KvEntry[], recovery: JournalRecovery): TestDisk {
    const disk = new TestDisk();
    for (const { key, value } of entries) disk.synced.set(text(key), value);
    disk.current = new Map(disk.synced);
    for (const [key, value] of recovery.guard) disk.checkpoint.set(key, value);
    disk.ring = recovery.entries.map((ops) => ({ ops }));
    disk.durable = disk.ring.length;
    return disk;
  }

  /** The disk as it is, as an image that can be put back. */
  copy(): TestDisk {
    const copy = new TestDisk(this.ringEntries);
    copy.batches = [...this.batches];
    for (const [key, value] of this.synced) copy.synced.set(key, value);
    copy.current = new Map(this.current);
    for (const [key, value] of this.checkpoint) copy.checkpoint.set(key, value);
    copy.ring = [...this.ring];
    copy.durable = this.durable;
    return copy;
  }

  persist(effect: Persist): void {
    this.ring.push({ ops: effect.ops });
    const ops = effect.ops.filter((op): op is HomeOp => op.kind === 'home').map(kvOf);
    if (ops.length > 0) this.apply(ops, false);
  }

  /** The oldest entry that was not durable is now. */
  syncOne(): void {
    this.durable += 1;
    while (this.ring.length > this.ringEntries && this.durable > 1) {
      this.sync();
      const oldest = this.ring.shift();
      this.durable -= 1;
      for (const op of oldest?.ops ?? [])
        if (op.kind === 'guard') setOrDelete(this.checkpoint, op.key, op.value);
    }
  }

  write(ops: readonly KvOp[]): void {
    this.apply(ops, true);
  }

  query(queries: readonly StoreQuery[]): StoreResult[] {
    return queries.map((query) =>
      query.kind === 'range'
        ? { kind: 'range', entries: this.range(query) }
        : { kind: 'getMany', values: query.keys.map((key) => this.current.get(text(key))) },
    );
  }

  /** What is left, as the journal tells it; the store is reset to what survived. */
  crash(options: CrashOptions): JournalRecovery {
    const { chance, loseDurableEntries = 0, loseWrite } = options;
    if (loseWrite !== undefined) {
      const writes = this.batches.filter((batch) => batch.isWrite);
      const lost = writes[writes.length - 1 - loseWrite];
      this.batches = this.batches.filter((batch) => batch !== lost);
    }
    const keptBatches = this.batches.length - Math.floor(chance() * (this.batches.length + 1));
    for (const { ops } of this.batches.slice(0, keptBatches)) applyTo(this.synced, ops);
    this.batches = [];
    this.current = new Map(this.synced);
    this.sortedKeys = null;

    const onTheWay = this.ring.length - this.durable;
    const survived = Math.floor(chance() * (onTheWay + 1));
    const kept =
      loseDurableEntries > 0 ? Math.max(0, this.durable - loseDurableEntries) : this.durable + survived;
    this.ring = this.ring.slice(0, kept);
    this.durable = this.ring.length;
    const guard = new Map(this.checkpoint);
    for (const { ops } of this.ring) {
      for (const op of ops) if (op.kind === 'guard') setOrDelete(guard, op.key, op.value);
    }
    return {
      guard,
      entries: this.ring.map(({ ops }) => ops.filter((op): op is HomeOp => op.kind === 'home')),
      damaged: loseDurableEntries > 0,
      findings: loseDurableEntries > 0 ? [`${loseDurableEntries} entries lost`] : [],
    };
  }

  /** For tests that damage values. */
  *entries(): Generator<readonly [Uint8Array, Uint8Array]> {
    for (const [key, value] of this.current) yield [bytes(key), value];
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.write([{ type: 'put', key, value }]);
  }

  delete(key: Uint8Array): void {
    this.write([{ type: 'del', key }]);
  }

  /** What is read meanwhile lacks the entry; a crash knows nothing of it. */
  hide(key: Uint8Array, meanwhile: () => void): void {
    const value = this.current.get(text(key));
    this.current.delete(text(key));
    this.sortedKeys = null;
    meanwhile();
    if (value !== undefined && !this.current.has(text(key))) this.current.set(text(key), value);
    this.sortedKeys = null;
  }

  /** All that the store was given is durable. */
  sync(): void {
    for (const { ops } of this.batches) applyTo(this.synced, ops);
    this.batches = [];
  }

  private apply(ops: readonly KvOp[], isWrite: boolean): void {
    this.batches.push({ ops, isWrite });
    applyTo(this.current, ops);
    this.sortedKeys = null;
  }

  private range({ gte, lt, reverse = false, limit = Number.POSITIVE_INFINITY }: KvRange) {
    this.sortedKeys ??= [...this.current.keys()].sort();
    const [from, to] = [lowerBound(this.sortedKeys, text(gte)), lowerBound(this.sortedKeys, text(lt))];
    const count = Math.min(limit, Math.max(0, to - from));
    const keys = reverse
      ? this.sortedKeys.slice(to - count, to).reverse()
      : this.sortedKeys.slice(from, from + count);
    return keys.map((key) => ({ key: bytes(key), value: this.current.get(key) as Uint8Array }));
  }
}

function kvOf(op: HomeOp): KvOp {
  return op.value === null ? { type: 'del', key: op.key } : { type: 'put', key: op.key, value: op.value };
}

function applyTo(map: Map<string, Uint8Array>, ops: readonly KvOp[]): void {
  for (const op of ops) setOrDelete(map, text(op.key), op.type === 'put' ? op.value : null);
}

function setOrDelete(map: Map<string, Uint8Array>, key: string, value: Uint8Array | null): void {
  if (value === null) map.delete(key);
  else map.set(key, value);
}

/** One character per byte: strings that order as the bytes do. */
function text(key: Uint8Array): string {
  return String.fromCharCode(...key);
}

function bytes(key: string): Uint8Array {
  return Uint8Array.from(key, (character) => character.charCodeAt(0));
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Page reads of one open volume: cuts what the engine asks for into fetches, runs the pure router (volume/read-router.ts) over the page
 * streams, and puts the answers together in the order asked.
 */
import { assert, assertNever } from '../../src/base/assert.ts';
import type { TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Timer, Timers } from '../../src/env/env.ts';
import {
  type Lsn,
  NO_LSN,
  type NodeId,
  type PageNumber,
  pgOfPage,
  type PgIndex,
  type VolumeId,
} from '../../src/log/lsn.ts';
import type { PageVersion } from '../../src/messages/messages.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { readPointAt } from '../volume/read-point.ts';
import {
  type Fetch,
  MAX_PAGES_PER_FETCH,
  type ReadEffect,
  type ReadEvent,
  ReadRouter,
  type SegmentView,
} from '../volume/read-router.ts';
import type { StorageLinks } from './storage-links.ts';

/** What the reader needs to know of the volume; the writer core gives it. */
export interface ReadSource {
  readonly volume: VolumeId;
  readonly vdl: Lsn;
  readonly manifest: ManifestValue;
  segmentsOf(pg: PgIndex): readonly SegmentView[];
  requiredScl(pg: PgIndex, at: Lsn): Lsn;
  /** The node held all that a read of that PG needed. */
  onServed?(pg: PgIndex, node: NodeId): void;
}

interface PendingFetch {
  readonly resolve: (pages: readonly PageVersion[]) => void;
  readonly reject: (error: TidemarkError) => void;
}

const EMPTY = new Uint8Array(0);

export class PageReader {
  readonly #source: ReadSource;
  readonly #links: StorageLinks;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #router: ReadRouter;
  readonly #pending = new Map<number, PendingFetch>();
  readonly #leave: () => void;
  #nextFetch = 1;
  #timer: Timer | null = null;
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(options: {
    readonly source: ReadSource;
    readonly links: StorageLinks;
    readonly clock: Clock;
    readonly timers: Timers;
    readonly timeoutMs?: number;
  }) {
    const { source, links, clock, timers, timeoutMs } = options;
    this.#source = source;
    this.#links = links;
    this.#clock = clock;
    this.#timers = timers;
    this.#router = new ReadRouter({
      segmentsOf: (pg) => source.segmentsOf(pg),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    this.#leave = links.joinRead({
      onReadUp: (node) => this.#step({ kind: 'node-up', node }),
      onReadDown: (node) => this.#step({ kind: 'node-down', node }),
    });
  }

  readLatencyMs(node: NodeId): number | null {
    return this.#router.readLatencyMs(node);
  }

  async readPages(at: Lsn, pages: readonly PageNumber[]): Promise<readonly PageVersion[]> {
    const { manifest, vdl } = this.#source;
    assert(at <= vdl, `read at ${at}, above VDL ${vdl}`);
    const point = readPointAt(manifest, at);
    const versions: PageVersion[] = new Array(pages.length);
    const byPg = new Map<PgIndex, number[]>();
    for (const [index, page] of pages.entries()) {
      const pg = pgOfPage(page, manifest.pgPages);
      if (point === null || pg >= manifest.pgs.length) {
        versions[index] = { page, lsn: NO_LSN, data: EMPTY };
        continue;
      }
      const indexes = byPg.get(pg);
      if (indexes === undefined) byPg.set(pg, [index]);
      else indexes.push(index);
    }
    if (point === null) return versions;
    const fetches: Promise<void>[] = [];
    for (const [pg, indexes] of byPg) {
      const requiredScl = Math.min(point.lsn, this.#source.requiredScl(pg, at)) as Lsn;
      for (let from = 0; from < indexes.length; from += MAX_PAGES_PER_FETCH) {
        const slice = indexes.slice(from, from + MAX_PAGES_PER_FETCH);
        const fetch: Fetch = {
          pg,
          run: point.run,
          lsn: point.lsn,
          requiredScl,
          pages: slice.map((index) => pages[index]!),
        };
        fetches.push(
          this.#fetch(fetch).then((found) => {
            for (const [i, index] of slice.entries()) versions[index] = found[i]!;
          }),
        );
      }
    }
    await Promise.all(fetches);
    return versions;
  }

  /** Everything outstanding, and whatever is asked later, fails with `reason`. */
  stop(reason: TidemarkError): void {
    this.#step({ kind: 'stop', reason });
    this.#leave();
    this.#timer?.cancel();
    this.#timer = null;
  }

  #fetch(fetch: Fetch): Promise<readonly PageVersion[]> {
    return new Promise((resolve, reject) => {
      const fetchId = this.#nextFetch++;
      this.#pending.set(fetchId, { resolve, reject });
      this.#step({ kind: 'start', fetchId, fetch });
    });
  }

  #step(event: ReadEvent): void {
    const queue: ReadEffect[] = [...this.#router.step(event, this.#nowMs())];
    for (let effect = queue.shift(); effect !== undefined; effect = queue.shift()) {
      switch (effect.kind) {
        case 'send':
          if (!this.#send(effect)) {
            queue.push(...this.#router.step({ kind: 'lost', attempt: effect.attempt }, this.#nowMs()));
          }
          break;
        case 'done':
          this.#take(effect.fetchId)?.resolve(effect.pages);
          break;
        case 'failed':
          this.#take(effect.fetchId)?.reject(effect.error);
          break;
        default:
          assertNever(effect, 'read effect');
      }
    }
    this.#schedule();
  }

  #send({ attempt, node, fetch }: Extract<ReadEffect, { kind: 'send' }>): boolean {
    const { volume } = this.#source;
    const requestId = this.#links.sendRead(node, { volume, ...fetch }, (reply) => {
      if (reply.refusal === null) this.#source.onServed?.(fetch.pg, node);
      this.#step({ kind: 'reply', attempt, reply });
    });
    return requestId !== null;
  }

  #take(fetchId: number): PendingFetch | undefined {
    const pending = this.#pending.get(fetchId);
    this.#pending.delete(fetchId);
    return pending;
  }

  /** One timer, for the earliest deadline; a later one is found when it fires. */
  #schedule(): void {
    const nextMs = this.#router.nextDeadlineMs;
    if (nextMs === null || nextMs >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = nextMs;
    this.#timer = this.#timers.after(Math.max(0, Math.ceil(nextMs - this.#nowMs())), () => {
      this.#timer = null;
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      this.#step({ kind: 'tick' });
    });
  }

  #nowMs(): number {
    return this.#clock.now().monotonicMs;
  }
}

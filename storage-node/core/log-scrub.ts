/**
 * The scrub's walk over the stored log below what is in page form. This node needs it no more; peers that are behind do. A chunk that cannot be read,
 * and records that are missing between two chunks, are pulled from peers again, as long as one of them has them.
 *
 * (Chunks above `coalesced` are in memory; what was lost of those is found at the start, by the SCL.)
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import type { KvOp } from '../../src/env/env.ts';
import { decodeBoxcar } from '../../src/log/codec.ts';
import { type Lsn, NO_LSN, type NodeId } from '../../src/log/lsn.ts';
import type { Boxcar } from '../../src/log/record.ts';
import { admits } from '../../src/timeline/visibility.ts';
import type { NodeContext } from './context.ts';
import { trailingLsn } from './keys.ts';
import { peersOf } from './manifests.ts';
import { callPeer, type Entries, type Program, readRange, writeStore } from './program.ts';
import type { Segment } from './segment.ts';

/** A chunk is a boxcar: 1 MiB at most. */
const CHUNKS_PER_STEP = 8;
/** Replies pulled for one hole: a longer one is not worth it. */
const MAX_PULLS = 16;

export class LogWalk {
  private readonly segment: Segment;
  /** What was in page form as the walk was planned: it ends there, however fast the log grows. */
  private readonly throughLsn: Lsn;
  /** Where the last readable chunk ended; null: none yet, and what came before may have been collected. */
  private before: Lsn | null = null;
  private nextLsn: Lsn = NO_LSN;

  constructor(segment: Segment) {
    this.segment = segment;
    this.throughLsn = segment.coalesced;
  }

  /** Looks at some chunks and mends what is wrong with them. Returns what was found; null at the end. */
  *step(ctx: NodeContext): Program<readonly string[] | null> {
    const { segment, throughLsn } = this;
    if (this.nextLsn >= throughLsn) return null;
    const chunks = yield* readRange({
      ...segment.keys.chunksAfter(this.nextLsn, throughLsn),
      limit: CHUNKS_PER_STEP,
    });
    if (chunks.length === 0) return null;
    const findings: string[] = [];
    for (const chunk of chunks) findings.push(...(yield* this.look(ctx, chunk)));
    this.nextLsn = trailingLsn(chunks[chunks.length - 1]?.key as Uint8Array);
    return findings;
  }

  private *look(ctx: NodeContext, { key, value }: Entries[number]): Program<readonly string[]> {
    const endLsn = trailingLsn(key);
    const boxcar = decoded(ctx, value);
    const first = boxcar?.records[0];
    if (boxcar === null || first === undefined) {
      const isMended = yield* this.pull(ctx, this.before ?? ((endLsn - 1) as Lsn), endLsn);
      if (isMended !== 'not') this.before = endLsn;
      if (isMended === 'under other keys') yield* writeStore([{ type: 'del', key }]);
      return [
        `the log of ${this.segment.name} cannot be read up to ${endLsn}${afterwards(isMended !== 'not')}`,
      ];
    }
    const { before } = this;
    this.before = Math.max(endLsn, before ?? NO_LSN) as Lsn;
    if (before === null || first.prevLsn <= before) return [];
    const isMended = (yield* this.pull(ctx, before, first.prevLsn)) !== 'not';
    return [`the log of ${this.segment.name} lacks records up to ${first.prevLsn}${afterwards(isMended)}`];
  }

  /** Pulls (afterLsn, throughLsn] from whoever has it. */
  private *pull(
    ctx: NodeContext,
    afterLsn: Lsn,
    throughLsn: Lsn,
  ): Program<'not' | 'under its key' | 'under other keys'> {
    const { manifest, pg } = this.segment;
    if (manifest === null) return 'not';
    for (const peer of peersOf(manifest.value, pg, ctx.options.nodeId)) {
      const ops: KvOp[] = [];
      let reached = afterLsn;
      for (let pulls = 0; pulls < MAX_PULLS && reached < throughLsn; pulls += 1) {
        const boxcars = yield* this.ask(ctx, peer, reached, throughLsn);
        const before = reached;
        for (const bytes of boxcars) {
          if (reached >= throughLsn) break;
          const boxcar = this.admitted(ctx, bytes);
          const [first, last] = [boxcar?.records[0], boxcar?.records[boxcar.records.length - 1]];
          if (first === undefined || last === undefined || first.prevLsn > reached) break;
          ops.push({ type: 'put', key: this.segment.keys.chunk(last.lsn), value: new Uint8Array(bytes) });
          reached = Math.max(reached, last.lsn) as Lsn;
        }
        if (reached === before) break;
      }
      if (reached < throughLsn) continue;
      yield* writeStore(ops);
      return reached === throughLsn ? 'under its key' : 'under other keys';
    }
    return 'not';
  }

  private *ask(
    ctx: NodeContext,
    peer: NodeId,
    afterLsn: Lsn,
    throughLsn: Lsn,
  ): Program<readonly Uint8Array[]> {
    const { volume, pg, scl, vdl, tail, configVersion } = this.segment;
    const { clusterId, limits } = ctx;
    const body = {
      clusterId,
      volume,
      pg,
      afterLsn,
      throughLsn,
      maxBytes: limits.gossipReplyBytes,
      scl,
      vdl,
      tail,
      configVersion,
    };
    try {
      const answer = yield* callPeer(peer, { method: 'pullRecords', body });
      return answer.method === 'pullRecords' ? answer.body.boxcars : [];
    } catch (error) {
      if (isTidemarkError(error, 'UNAVAILABLE')) return [];
      throw error;
    }
  }

  /** A peer's boxcar, if it is of this segment, all of it exists and is in page form here. */
  private admitted(ctx: NodeContext, bytes: Uint8Array): Boxcar | null {
    const { volume, pg, manifest, coalesced } = this.segment;
    const boxcar = decoded(ctx, bytes);
    if (boxcar === null || manifest === null || boxcar.volume !== volume || boxcar.pg !== pg) return null;
    const exists = boxcar.records.every(
      ({ lsn }) => lsn <= coalesced && admits(manifest.value.runs, lsn, boxcar.birthEpoch),
    );
    return exists ? boxcar : null;
  }
}

function decoded(ctx: NodeContext, bytes: Uint8Array): Boxcar | null {
  try {
    return decodeBoxcar(bytes, ctx.crc32);
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    return null;
  }
}

function afterwards(isMended: boolean): string {
  return isMended ? ': pulled again' : ', nor has any peer what is missing';
}

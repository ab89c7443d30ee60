/** What a moment of the past must name and show, by plain looking at everything that was ever written. */
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { type Lsn, toPageNumber, type VolumeId } from '../../../src/log/lsn.ts';
import { formatMoment, type Moment } from '../../../src/timeline/moment.ts';
import type { ReadPoint } from '../../../src/timeline/run.ts';
import { runById, runOf } from '../../../src/timeline/visibility.ts';
import type { ResolvedMoment } from '../../../compute-node/timelines/api.ts';
import type { MicroOperation } from '../../checkers/history.ts';
import { perform, type PlannedOperation } from '../cluster/objects.ts';
import type { Oracle } from './oracle.ts';

export interface Asked {
  readonly volume: VolumeId;
  readonly moment: Moment | null;
  /** The newest commit that was durable when it was asked, within the moment's time; NO_LSN: none. */
  readonly newestLsn: Lsn;
}

/** null: the point is what the moment names. */
export function checkResolved(oracle: Oracle, asked: Asked, resolved: ResolvedMoment): string | null {
  const { volume, moment, newestLsn } = asked;
  const { point, committedAtMicros, name } = resolved;
  const says = `${name}@${moment === null ? 'now' : formatMoment(moment)} was taken for lsn:${point.lsn} of run ${point.run}`;
  if (point.volume !== volume) return `${says} of another volume`;
  const runs = oracle.runsOf(volume);
  const run = runById(runs, point.run);
  if (run === null || point.lsn < run.firstLsn - 1 || point.lsn > (run.lastLsn ?? point.lsn))
    return `${says}, which does not end there`;
  if (moment === null || moment.kind === 'time') {
    if (point.lsn < newestLsn) return `${says}; lsn:${newestLsn} was durable by then`;
    const isLater = moment !== null && committedAtMicros !== null && committedAtMicros > moment.micros;
    return isLater ? `${says}, which was committed later` : null;
  }
  if (moment.kind !== 'lsn') return null;
  const { lsn } = moment;
  const named = runOf(runs, lsn);
  if (named === null) return point.lsn === lsn ? null : `${says}; it is cut`;
  const expected = oracle.newestCommit(volume, { fromLsn: named.firstLsn, throughLsn: lsn });
  const wanted = expected >= named.firstLsn ? expected : named.firstLsn - 1;
  return point.lsn === wanted ? null : `${says}; it is lsn:${wanted}`;
}

/** What a look at everything finds there. */
export function contentAt(
  oracle: Oracle,
  point: ReadPoint,
  operations: readonly PlannedOperation[],
): readonly MicroOperation[] {
  const found: MicroOperation[] = [];
  const read = (page: number): Uint8Array => {
    const bytes = new Uint8Array(PAGE_SIZE_BYTES);
    bytes.set(oracle.expected(point, toPageNumber(page)).data);
    return bytes;
  };
  perform(operations, { read, write: () => {} }, (operation) => found.push(operation));
  return found;
}

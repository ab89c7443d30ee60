/** What each statement about timelines answers with: named columns, and one row, or one for each volume or snapshot. */
import { assertNever } from '../../../src/base/assert.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { formatMoment, formatTime, type Moment, parseMoment } from '../../../src/timeline/moment.ts';
import type { Column, SqlValue } from '../../engine/api.ts';
import type { ResolvedMoment, Snapshot, Timelines } from '../api.ts';
import type { TimelineStatement } from './statement.ts';

export interface TimelineContext {
  readonly timelines: Timelines;
  /** The connection's own volume, and its moment when it is not the present. */
  readonly volume: string;
  readonly moment: Moment | null;
}

type Row = readonly SqlValue[];

const text = (name: string): Column => ({ name, declaredType: 'TEXT' });
const integer = (name: string): Column => ({ name, declaredType: 'INTEGER' });

const SNAPSHOT_COLUMNS = [text('snapshot'), text('volume'), integer('lsn'), text('committed_at')];

const COLUMNS: Readonly<Record<TimelineStatement['kind'], readonly Column[]>> = {
  'create-clone': [text('volume'), text('parent'), integer('parent_lsn'), text('committed_at')],
  'create-snapshot': SNAPSHOT_COLUMNS,
  'drop-volume': [text('dropped')],
  'drop-snapshot': SNAPSHOT_COLUMNS,
  backtrack: [text('volume'), integer('lsn'), text('committed_at'), text('undo'), text('forward_again')],
  'show-volumes': [
    text('volume'),
    text('id'),
    text('parent'),
    text('parent_id'),
    integer('parent_lsn'),
    integer('own_bytes'),
    integer('shared_bytes'),
    integer('window_ms'),
    integer('snapshots'),
  ],
  'show-snapshots': SNAPSHOT_COLUMNS,
};

export function timelineColumns(kind: TimelineStatement['kind']): readonly Column[] {
  return COLUMNS[kind];
}

/** Does what the statement says. Rejects as Timelines does, and BAD_REQUEST for words that name no moment. */
export async function runTimelineStatement(
  statement: TimelineStatement,
  context: TimelineContext,
): Promise<readonly Row[]> {
  const { timelines, volume } = context;
  switch (statement.kind) {
    case 'create-clone': {
      const source = sourceOf(statement.from, statement.at, context);
      const { name, from } = await timelines.clone(source, statement.name);
      return [[name, ...pointRow(from)]];
    }
    case 'create-snapshot': {
      const { name, moment } = sourceOf(statement.of, statement.at, context);
      return [snapshotRow(await timelines.createSnapshot(name, statement.name, moment))];
    }
    case 'drop-volume':
      return [[(await timelines.drop(statement.name)).name]];
    case 'drop-snapshot':
      return [snapshotRow(await timelines.dropSnapshot(statement.of ?? volume, statement.name))];
    case 'backtrack': {
      if (statement.volume === null && context.moment !== null) {
        throw new TidemarkError(
          'BAD_REQUEST',
          `${volume}@${formatMoment(context.moment)} is a moment of the past, which cannot go back`,
          { nextStep: `Say which volume is to go back: BACKTRACK ${volume} TO '…'.` },
        );
      }
      const { name, to, undo } = await timelines.backtrack(
        statement.volume ?? volume,
        parseMoment(statement.to),
      );
      return [
        [name, BigInt(to.point.lsn), timeText(to.committedAtMicros), undo, forwardStatement(name, undo)],
      ];
    }
    case 'show-volumes':
      return (await timelines.volumes()).map((node) => [
        node.name,
        String(node.volume),
        node.parent?.name ?? null,
        node.parent === null ? null : String(node.parent.volume),
        node.parent === null ? null : BigInt(node.parent.lsn),
        wholeNumber(node.ownBytes),
        wholeNumber(node.sharedBytes),
        BigInt(node.windowMs),
        BigInt(node.snapshots),
      ]);
    case 'show-snapshots':
      return (await timelines.snapshots(statement.of ?? volume)).map(snapshotRow);
    default:
      return assertNever(statement, 'statement about timelines');
  }
}

/** A connection to a moment means that moment where it names nothing else. */
function sourceOf(
  name: string | null,
  at: string | null,
  { volume, moment }: TimelineContext,
): { readonly name: string; readonly moment: Moment | null } {
  const asked = at === null ? null : parseMoment(at);
  return name === null ? { name: volume, moment: asked ?? moment } : { name, moment: asked };
}

function forwardStatement(volume: string, undo: string): string {
  return `BACKTRACK ${volume} TO '${undo}'`;
}

function pointRow({ name, point, committedAtMicros }: ResolvedMoment): Row {
  return [name, BigInt(point.lsn), timeText(committedAtMicros)];
}

function snapshotRow({ name, volume, lsn, committedAtMicros }: Snapshot): Row {
  return [name, volume, BigInt(lsn), timeText(committedAtMicros)];
}

function timeText(micros: number | null): string | null {
  return micros === null ? null : formatTime(micros);
}

function wholeNumber(value: number | null): bigint | null {
  return value === null ? null : BigInt(Math.round(value));
}

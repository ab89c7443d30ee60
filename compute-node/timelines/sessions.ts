/**
 * What clients connect to: a volume by its name, or a moment of one, `NAME@WHEN`, read-only. Sessions that go on with a moment name it by the
 * LSN it was resolved to (`name`), so that what a stream reads stays the same moment, however long ago it began.
 */
import { splitMoment } from '../../src/timeline/moment.ts';
import type { VolumeSessions } from '../session/volume-sessions.ts';
import type { OpenedVolume } from '../volume-registry.ts';
import { TimelineConnection } from './sql/connection.ts';
import type { TimelinesOnNode } from './timelines.ts';

export interface SessionSource {
  readonly timelines: TimelinesOnNode;
  volume(name: string): Promise<OpenedVolume>;
}

export async function sessionsOf(node: SessionSource, text: string): Promise<VolumeSessions> {
  const { name, moment } = splitMoment(text);
  const { timelines } = node;
  if (moment === null) {
    await node.volume(name);
    // Asked anew each time: after a backtrack the volume has another engine.
    const connect = async () => (await node.volume(name)).engine.connect({ readonly: false });
    return { name, connect: () => TimelineConnection.open(connect, { timelines, volume: name, moment }) };
  }
  const { engine, point, release } = await timelines.open(name, moment);
  const context = { timelines, volume: name, moment: { kind: 'lsn', lsn: point.lsn } as const };
  return {
    name: `${name}@lsn:${point.lsn}`,
    connect: async () => {
      try {
        return await TimelineConnection.open(() => engine.connect({ readonly: true }), context);
      } finally {
        release();
      }
    },
  };
}

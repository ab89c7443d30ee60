/**
 * What clients connect to: a volume by its name, or a moment of one, `NAME@WHEN`, read-only. Sessions that go on with a moment name it by the
 * LSN it was resolved to (`name`), so that what a stream reads stays the same moment, however long ago it began.
 */
import { splitMoment } from '../../src/timeline/moment.ts';
import type { VolumeSessions } from '../session/volume-sessions.ts';
import type { OpenedVolume } from '../volume-registry.ts';
import type { TimelinesOnNode } from './timelines.ts';

export interface SessionSource {
  readonly timelines: TimelinesOnNode;
  volume(name: string): Promise<OpenedVolume>;
}

export async function sessionsOf(node: SessionSource, text: string): Promise<VolumeSessions> {
  const { name, moment } = splitMoment(text);
  if (moment === null) {
    const { engine } = await node.volume(name);
    return { name, connect: () => engine.connect({ readonly: false }) };
  }
  const { engine, point, release } = await node.timelines.open(name, moment);
  return {
    name: `${name}@lsn:${point.lsn}`,
    connect: async () => {
      try {
        return await engine.connect({ readonly: true });
      } finally {
        release();
      }
    },
  };
}

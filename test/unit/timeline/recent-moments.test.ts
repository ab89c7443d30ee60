import { describe, expect, it } from 'vitest';
import type { ResolvedPoint } from '../../../compute-node/timelines/moment-resolver.ts';
import { RecentMoments } from '../../../compute-node/timelines/recent-moments.ts';
import { parseMoment } from '../../../src/timeline/moment.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const resolved = (name: string): ResolvedPoint => ({ name }) as ResolvedPoint;

describe('moments asked for a short while ago', () => {
  it('are known for two seconds, under every way to write them', () => {
    const clock = new ManualClock();
    const recent = new RecentMoments(clock);
    const main = resolved('main');
    recent.note(parseMoment('2026-11-21T10:00:00Z'), main);
    expect(recent.get('main', parseMoment('2026-11-21 12:00:00+02:00'))).toBe(main);
    expect(recent.get('main', parseMoment('2026-11-21T10:00:01Z'))).toBeNull();
    expect(recent.get('dev', parseMoment('2026-11-21T10:00:00Z'))).toBeNull();
    clock.advance(2_000);
    expect(recent.get('main', parseMoment('2026-11-21T10:00:00Z'))).toBeNull();
  });

  it('are only those that always name the same', () => {
    const recent = new RecentMoments(new ManualClock());
    for (const text of ['-15m', 'before-release']) {
      recent.note(parseMoment(text), resolved('main'));
      expect(recent.get('main', parseMoment(text))).toBeNull();
    }
  });

  it('are few, and forgotten with their volume', () => {
    const recent = new RecentMoments(new ManualClock());
    for (let lsn = 0; lsn <= 256; lsn += 1) recent.note(parseMoment(`lsn:${lsn}`), resolved('main'));
    expect(recent.get('main', parseMoment('lsn:0'))).toBeNull();
    expect(recent.get('main', parseMoment('lsn:256'))).not.toBeNull();
    recent.note(parseMoment('lsn:1'), resolved('main-2'));
    recent.forget('main');
    expect(recent.get('main', parseMoment('lsn:256'))).toBeNull();
    expect(recent.get('main-2', parseMoment('lsn:1'))).not.toBeNull();
  });
});

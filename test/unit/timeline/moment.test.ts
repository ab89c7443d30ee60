/** Moments as people write them: every form read, read back the same, and nonsense refused with the forms there are. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTidemarkError } from '../../../src/base/errors.ts';
import { formatMoment, formatTime, parseMoment, splitMoment } from '../../../src/timeline/moment.ts';

const at = (iso: string): number => Date.parse(iso) * 1_000;

describe('parseMoment', () => {
  it.each([
    ['2026-11-21T10:00:00Z', at('2026-11-21T10:00:00Z')],
    ['2026-11-21t10:00:00z', at('2026-11-21T10:00:00Z')],
    ['2026-11-21 10:00:00', at('2026-11-21T10:00:00Z')],
    ['2026-11-21T10:00', at('2026-11-21T10:00:00Z')],
    ['2026-11-21', at('2026-11-21T00:00:00Z')],
    ['2026-11-21T10:00:00.25Z', at('2026-11-21T10:00:00Z') + 250_000],
    ['2026-11-21T10:00:00.1234567Z', at('2026-11-21T10:00:00Z') + 123_456],
    ['2026-11-21T10:00:00+02:00', at('2026-11-21T08:00:00Z')],
    ['2026-11-21T10:00:00-0530', at('2026-11-21T15:30:00Z')],
  ])('reads the time %s', (text, micros) => {
    expect(parseMoment(text)).toEqual({ kind: 'time', micros });
  });

  it.each([
    ['-15m', 900],
    ['-2h30m', 9_000],
    ['-1d', 86_400],
    ['-90s', 90],
  ])('reads a while ago: %s', (text, seconds) => {
    expect(parseMoment(text)).toEqual({ kind: 'ago', micros: seconds * 1_000_000 });
  });

  it('reads LSNs and names of snapshots', () => {
    expect(parseMoment('lsn:123456')).toEqual({ kind: 'lsn', lsn: 123_456 });
    expect(parseMoment('before-release-2')).toEqual({ kind: 'snapshot', name: 'before-release-2' });
  });

  it.each([
    '',
    '-',
    '-15',
    '-15x',
    'lsn:',
    'lsn:-1',
    'lsn:99999999999999999',
    '2026-13-01',
    '2026-02-31',
    '2026-11-21T25:00',
    'Big Release',
    '1969-12-31T23:59:59Z',
    'a@b',
  ])('refuses %j and says which forms there are', (text) => {
    let thrown: unknown;
    try {
      parseMoment(text);
    } catch (error) {
      thrown = error;
    }
    expect(isTidemarkError(thrown, 'BAD_REQUEST')).toBe(true);
    expect((thrown as { nextStep?: string }).nextStep).toContain('-15m');
  });

  it('reads back every time that it formats', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_000_000_000_000_000 }), (micros) => {
        expect(parseMoment(formatTime(micros))).toEqual({ kind: 'time', micros });
      }),
    );
  });

  it('formats what it reads', () => {
    for (const text of ['lsn:7', 'nightly', '2026-11-21T10:00:00.25Z', '-900s'])
      expect(formatMoment(parseMoment(text))).toBe(text);
  });
});

describe('splitMoment', () => {
  it('takes the name before the first @', () => {
    expect(splitMoment('main')).toEqual({ name: 'main', moment: null });
    expect(splitMoment('main@-1h')).toEqual({ name: 'main', moment: { kind: 'ago', micros: 3_600_000_000 } });
  });
});

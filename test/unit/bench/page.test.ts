/** What charts are drawn by: axes, labels that do not lie on each other, text that cannot become markup. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chartSvg, spread } from '../../../bench/html/chart.ts';
import { escapeHtml } from '../../../bench/html/escape.ts';
import { makeScale, tickText } from '../../../bench/html/scale.ts';

describe('scales', () => {
  it.each([true, false])('keep order, hold every value, and have ticks within (logarithmic: %s)', (isLog) => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.001, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 20 }),
        (values) => {
          const scale = makeScale(values, isLog);
          const sorted = values.toSorted((a, b) => a - b);
          const places = sorted.map((value) => scale.position(value));
          expect(places).toEqual(places.toSorted((a, b) => a - b));
          for (const place of [...places, ...scale.ticks.map((tick) => scale.position(tick))]) {
            expect(place).toBeGreaterThanOrEqual(-1e-9);
            expect(place).toBeLessThanOrEqual(1 + 1e-9);
          }
          expect(scale.ticks.length).toBeLessThan(40);
        },
      ),
    );
  });

  it('write ticks short', () => {
    expect([0, 0.5, 1_000, 20_000, 3e6].map(tickText)).toEqual(['0', '0.5', '1000', '20k', '3M']);
  });
});

describe('labels', () => {
  it('stay apart, in their order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 14, max: 276 }), { maxLength: 12 }), (wanted) => {
        const placed = spread(wanted);
        const order = wanted.map((at, i) => ({ at, placed: placed[i]! })).sort((a, b) => a.placed - b.placed);
        for (let i = 1; i < order.length; i++) {
          expect(order[i]!.placed - order[i - 1]!.placed).toBeGreaterThanOrEqual(14 - 1e-9);
          expect(order[i]!.at).toBeGreaterThanOrEqual(order[i - 1]!.at);
        }
      }),
    );
  });
});

describe('charts', () => {
  const chart = { title: 't', xLabel: 'x', yLabel: 'y' };

  it('are nothing without points', () => {
    expect(chartSvg({ ...chart, series: [{ name: 'a', points: [] }] })).toBe('');
    expect(chartSvg({ ...chart, yLog: true, series: [{ name: 'a', points: [[1, 0]] }] })).toBe('');
    expect(chartSvg({ ...chart, series: [{ name: 'a', points: [[1, Number.NaN]] }] })).toBe('');
  });

  it('carry names as text', () => {
    const svg = chartSvg({ ...chart, series: [{ name: '<script>', points: [[1, 2]] }] });
    expect(svg).not.toContain('<script>');
    expect(svg).toContain(escapeHtml('<script>'));
  });
});

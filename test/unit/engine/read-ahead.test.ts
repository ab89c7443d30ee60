import { describe, expect, it } from 'vitest';
import { childrenOf } from '../../../compute-node/engine/worker/btree-page.ts';
import { ReadAhead } from '../../../compute-node/engine/worker/read-ahead.ts';

function interior(children: readonly number[]): Uint8Array {
  const data = new Uint8Array(4096);
  const view = new DataView(data.buffer);
  data[0] = 0x05;
  view.setUint16(3, children.length - 1);
  view.setUint32(8, children.at(-1) ?? 0);
  children.slice(0, -1).forEach((child, i) => {
    const cell = 4000 - i * 8;
    view.setUint16(12 + i * 2, cell);
    view.setUint32(cell, child);
  });
  return data;
}

const nothing = (): null => null;

describe('childrenOf', () => {
  it('lists the children of an interior page in key order', () => {
    expect(childrenOf(9, interior([40, 12, 99, 7]))).toEqual([40, 12, 99, 7]);
  });

  it('makes nothing of other pages, or of nonsense', () => {
    expect(childrenOf(9, new Uint8Array(4096).fill(0x0d))).toEqual([]);
    const cut = interior([1, 2, 3]);
    new DataView(cut.buffer).setUint16(12, 4095);
    expect(childrenOf(9, cut)).toEqual([]);
  });
});

describe('ReadAhead', () => {
  it('fetches a page that was missed out of order alone', () => {
    const ahead = new ReadAhead();
    ahead.noteRead(10, false);
    expect(ahead.planMiss(50, 1000, nothing)).toEqual({ now: [50], stream: null });
  });

  it('follows neighbours with a growing window, to the end of the database', () => {
    const ahead = new ReadAhead();
    ahead.noteRead(10, false);
    const plan = ahead.planMiss(11, 60, nothing);
    expect(plan.now).toEqual([11, 12, 13, 14]);
    if (plan.stream === null) throw new Error('no stream');
    expect(ahead.nextWindow(plan.stream)).toHaveLength(8);
    expect(ahead.nextWindow(plan.stream)).toHaveLength(16);
    expect(ahead.nextWindow(plan.stream).at(-1)).toBe(60);
    expect(ahead.nextWindow(plan.stream)).toEqual([]);
  });

  it('follows the children of an interior page, wherever they lie', () => {
    const children = [40, 12, 99, 7, 500, 3, 77, 78, 200, 201];
    const lookUp = (page: number): Uint8Array | null => (page === 9 ? interior(children) : null);
    const ahead = new ReadAhead();
    ahead.noteRead(9, true);
    expect(ahead.planMiss(40, 1000, lookUp).now).toEqual([40]);
    ahead.noteRead(40, false);
    const plan = ahead.planMiss(12, 1000, lookUp);
    expect(plan.now).toEqual([12, 99, 7, 500]);
    // The scan goes on under the next interior page without starting small.
    if (plan.stream === null) throw new Error('no stream');
    while (ahead.nextWindow(plan.stream).length > 0);
    const next = Array.from({ length: 100 }, (_, i) => 1000 + i * 3);
    ahead.noteRead(10, true);
    const further = ahead.planMiss(1000, 9000, (page) => (page === 10 ? interior(next) : lookUp(page)));
    expect(further.now.length).toBeGreaterThanOrEqual(8);
  });

  it('does not take random look-ups under one interior page for a scan', () => {
    const children = [40, 12, 99, 7, 500, 3];
    const lookUp = (page: number): Uint8Array | null => (page === 9 ? interior(children) : null);
    const ahead = new ReadAhead();
    ahead.noteRead(9, true);
    for (const page of [500, 12, 7, 40]) {
      expect(ahead.planMiss(page, 1000, lookUp).now).toEqual([page]);
      ahead.noteRead(page, false);
    }
  });

  it('stays within the window it was given', () => {
    const ahead = new ReadAhead(2);
    ahead.noteRead(10, false);
    const plan = ahead.planMiss(11, 1000, nothing);
    expect(plan.now).toHaveLength(2);
    if (plan.stream !== null) expect(ahead.nextWindow(plan.stream)).toHaveLength(2);
  });
});

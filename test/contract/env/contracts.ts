/** What every clock, source of chance and checksum must keep, whatever stands behind it. An adapter's test is one line. */
import { expect, it } from 'vitest';
import type { Clock, Crc32, Random, Timers } from '../../../src/env/env.ts';

export function clockContract(makeClock: () => Clock): void {
  it('never goes back in monotone time', () => {
    const clock = makeClock();
    let last = clock.now().monotonicMs;
    for (let i = 0; i < 1000; i += 1) {
      const { monotonicMs } = clock.now();
      expect(monotonicMs).toBeGreaterThanOrEqual(last);
      last = monotonicMs;
    }
  });

  it('tells the wall clock in whole microseconds of this century', () => {
    const { wallMicros } = makeClock().now();
    expect(Number.isSafeInteger(wallMicros)).toBe(true);
    expect(wallMicros).toBeGreaterThan(1_600_000_000_000_000);
    expect(wallMicros).toBeLessThan(4_102_444_800_000_000);
  });

  it('tells since when the machine runs, never going back', () => {
    const clock = makeClock();
    const first = clock.uptimeMs();
    expect(first).toBeGreaterThanOrEqual(0);
    expect(clock.uptimeMs()).toBeGreaterThanOrEqual(first);
  });
}

export function randomContract(makeRandom: () => Random): void {
  it('draws uniformly from [0, 1)', () => {
    const random = makeRandom();
    const buckets = new Array<number>(16).fill(0);
    for (let i = 0; i < 16_000; i += 1) {
      const value = random.next();
      expect(value >= 0 && value < 1).toBe(true);
      buckets[Math.floor(value * 16)] = (buckets[Math.floor(value * 16)] ?? 0) + 1;
    }
    // 1000 expected each, standard deviation about 31: nine of them apart would be broken, not bad luck.
    for (const count of buckets) expect(Math.abs(count - 1000)).toBeLessThan(280);
  });

  it('makes ids of the length asked, over all of [0-9a-v], that do not repeat', () => {
    const random = makeRandom();
    const ids = Array.from({ length: 2000 }, () => random.id(16));
    for (const id of ids) expect(id).toMatch(/^[0-9a-v]{16}$/);
    expect(new Set(ids).size).toBe(ids.length);
    expect(new Set(ids.join('')).size).toBe(32);
    expect(random.id(0)).toBe('');
  });
}

export function crc32Contract(crc32: Crc32): void {
  const text = new TextEncoder().encode('123456789');

  it('is CRC-32 as in zlib, by its published check value', () => {
    expect(crc32(text)).toBe(0xcbf43926);
    expect(crc32(new Uint8Array(0))).toBe(0);
  });

  it('continues from a seed: the parts give what the whole gives', () => {
    expect(crc32(text.subarray(4), crc32(text.subarray(0, 4)))).toBe(0xcbf43926);
    expect(crc32(text, 1)).not.toBe(crc32(text, 2));
  });

  it('sees only the bytes of the view it is given', () => {
    const wide = new Uint8Array(32).fill(0xff);
    wide.set(text, 7);
    expect(crc32(wide.subarray(7, 16))).toBe(0xcbf43926);
  });
}

export function timersContract(makeTimers: () => Timers): void {
  const passed = (timers: Timers, delayMs: number) =>
    new Promise<void>((resolve) => timers.after(delayMs, resolve));

  it('calls back once, later, in the order of the delays', async () => {
    const timers = makeTimers();
    const calls: string[] = [];
    timers.after(20, () => calls.push('after 20'));
    timers.after(1, () => calls.push('after 1'));
    timers.soon(() => calls.push('soon'));
    expect(calls).toEqual([]);
    await passed(timers, 60);
    expect(calls).toEqual(['soon', 'after 1', 'after 20']);
  });

  it('calls again and again until cancelled', async () => {
    const timers = makeTimers();
    let calls = 0;
    const timer = timers.every(5, () => {
      calls += 1;
      if (calls === 3) timer.cancel();
    });
    await passed(timers, 100);
    expect(calls).toBe(3);
  });

  it('does not call what was cancelled', async () => {
    const timers = makeTimers();
    const calls: string[] = [];
    timers.after(5, () => calls.push('after')).cancel();
    timers.every(5, () => calls.push('every')).cancel();
    timers.soon(() => calls.push('soon')).cancel();
    await passed(timers, 40);
    expect(calls).toEqual([]);
  });
}

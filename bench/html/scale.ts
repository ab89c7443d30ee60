/** Axes: where a value lies between two ends, and which values to write beside the axis. */

export interface Scale {
  /** 0 at the low end, 1 at the high end. */
  position(value: number): number;
  readonly ticks: readonly number[];
}

/** `values`: those that are to fit. A linear scale begins at 0. */
export function makeScale(values: readonly number[], isLog: boolean): Scale {
  return isLog && values.every((value) => value > 0) ? logScale(values) : linearScale(values);
}

const LINEAR_TICKS = 5;

function linearScale(values: readonly number[]): Scale {
  const largest = Math.max(...values, 0) || 1;
  const step = niceStep(largest / LINEAR_TICKS);
  const top = Math.ceil(largest / step - 1e-9) * step;
  const count = Math.round(top / step);
  return {
    position: (value) => value / top,
    ticks: Array.from({ length: count + 1 }, (_, i) => i * step),
  };
}

/** 1, 2 or 5 times a power of ten, not below `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  const times = [1, 2, 5, 10].find((factor) => factor * power >= least - 1e-12) ?? 10;
  return times * power;
}

function logScale(values: readonly number[]): Scale {
  const low = Math.min(...values) / 1.15;
  const high = Math.max(...values) * 1.15;
  const span = Math.log(high / low);
  const factors = high / low > 200 ? [1] : high / low > 20 ? [1, 3] : [1, 2, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return { position: (value) => Math.log(value / low) / span, ticks };
}

/** As short as it can be said: 12k, 0.5, 3M. */
export function tickText(value: number): string {
  const [divisor, unit] = value >= 1e6 ? [1e6, 'M'] : value >= 1e4 ? [1e3, 'k'] : [1, ''];
  return `${Number((value / divisor).toPrecision(3))}${unit}`;
}

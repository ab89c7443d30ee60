/**
 * A chart of lines as SVG, drawn on the server's side: it needs no script, prints well, and follows the page's light or dark colours. Each line
 * carries its name at its end, where there is room, and every point its figures in a tooltip.
 */
import { figure } from '../report.ts';
import type { Chart, ChartSeries } from '../suite.ts';
import { escapeHtml } from './escape.ts';
import { makeScale, type Scale, tickText } from './scale.ts';

const WIDTH = 620;
const HEIGHT = 320;
const LEFT = 58;
const RIGHT = 184;
const TOP = 14;
const BOTTOM = 44;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT = HEIGHT - TOP - BOTTOM;
/** Lines of text beside each other's ends do not overlap at this distance. */
const LABEL_PITCH = 14;
/** Colours are the page's, `--s0` to `--s7`. */
const COLOURS = 8;

export function chartSvg(chart: Chart): string {
  const series = chart.series
    .map((one) => ({ ...one, points: one.points.filter(isDrawable(chart)) }))
    .filter(({ points }) => points.length > 0);
  if (series.length === 0) return '';
  const xs = distinct(series.flatMap(({ points }) => points.map(([x]) => x)));
  const ys = series.flatMap(({ points }) => points.map(([, y]) => y));
  const x = makeScale(xs, chart.xLog === true);
  const y = makeScale(ys, chart.yLog === true);
  const xTicks = xs.length <= 8 ? xs : x.ticks;
  const labels = spread(series.map(({ points }) => toY(y, points.at(-1)![1])));
  const body =
    y.ticks.map((tick) => yTick(toY(y, tick), tick)).join('') +
    xTicks.map((tick) => xTick(toX(x, tick), tick)).join('') +
    series.map((one, i) => line(one, i, x, y, labels[i]!, chart)).join('');
  return (
    `<figure><figcaption>${escapeHtml(chart.title)}</figcaption>` +
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(chart.title)}">${body}` +
    `<text class="axis" x="${LEFT + PLOT_WIDTH / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeHtml(chart.xLabel)}</text>` +
    `<text class="axis" transform="translate(12 ${TOP + PLOT_HEIGHT / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(chart.yLabel)}</text>` +
    '</svg></figure>'
  );
}

/** A logarithm's axis has no place for 0. */
function isDrawable(chart: Chart): (point: readonly [number, number]) => boolean {
  return ([x, y]) =>
    Number.isFinite(x) &&
    Number.isFinite(y) &&
    (chart.xLog !== true || x > 0) &&
    (chart.yLog !== true || y > 0);
}

function line(
  { name, points }: ChartSeries,
  index: number,
  x: Scale,
  y: Scale,
  labelY: number,
  chart: Chart,
): string {
  const colour = `var(--s${index % COLOURS})`;
  const at = points.map(([px, py]) => [toX(x, px), toY(y, py)] as const);
  const path = at.map(([px, py], i) => `${i === 0 ? 'M' : 'L'}${px.toFixed(1)} ${py.toFixed(1)}`).join('');
  const dots = at
    .map(([px, py], i) => {
      const [vx, vy] = points[i]!;
      const tip = `${name}: ${figure(vy)} ${chart.yLabel} at ${figure(vx)} ${chart.xLabel}`;
      return `<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="3.5"><title>${escapeHtml(tip)}</title></circle>`;
    })
    .join('');
  const end = at.at(-1)!;
  return (
    `<g style="--c:${colour}"><path class="line" d="${path}"/>${dots}` +
    `<path class="lead" d="M${(end[0] + 5).toFixed(1)} ${end[1].toFixed(1)}L${LEFT + PLOT_WIDTH + 12} ${labelY.toFixed(1)}"/>` +
    `<text class="name" x="${LEFT + PLOT_WIDTH + 15}" y="${(labelY + 4).toFixed(1)}">${escapeHtml(name)}</text></g>`
  );
}

function yTick(at: number, value: number): string {
  return (
    `<path class="grid" d="M${LEFT} ${at.toFixed(1)}H${LEFT + PLOT_WIDTH}"/>` +
    `<text class="tick" x="${LEFT - 7}" y="${(at + 4).toFixed(1)}" text-anchor="end">${tickText(value)}</text>`
  );
}

function xTick(at: number, value: number): string {
  return (
    `<path class="grid faint" d="M${at.toFixed(1)} ${TOP}V${TOP + PLOT_HEIGHT}"/>` +
    `<text class="tick" x="${at.toFixed(1)}" y="${TOP + PLOT_HEIGHT + 17}" text-anchor="middle">${tickText(value)}</text>`
  );
}

function toX(scale: Scale, value: number): number {
  return LEFT + 6 + scale.position(value) * (PLOT_WIDTH - 12);
}

function toY(scale: Scale, value: number): number {
  return TOP + (1 - scale.position(value)) * PLOT_HEIGHT;
}

function distinct(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

/** Moves labels apart that would lie on each other, keeping their order. */
export function spread(wanted: readonly number[]): number[] {
  const order = wanted.map((at, index) => ({ at, index })).sort((a, b) => a.at - b.at);
  for (let i = 1; i < order.length; i++) {
    order[i]!.at = Math.max(order[i]!.at, order[i - 1]!.at + LABEL_PITCH);
  }
  let lowest = TOP + PLOT_HEIGHT;
  for (const label of order.toReversed()) {
    label.at = Math.min(label.at, lowest);
    lowest = label.at - LABEL_PITCH;
  }
  const placed = new Array<number>(wanted.length);
  for (const { at, index } of order) placed[index] = at;
  return placed;
}

/** Volumes, their past and their clones as text for people. */
import type { HistoryWindow, Snapshot, VolumeNode } from '../compute-node/timelines/api.ts';
import { formatTime } from '../src/timeline/moment.ts';
import { tableText } from './status-report.ts';
import { formatWindow, momentText } from './terminal/moments.ts';
import { formatBytes } from './terminal/progress.ts';
import type { Style } from './terminal/style.ts';

/** Volumes below those they were cloned from. A volume whose parent was dropped stands below what is left of it. */
export function renderVolumes(volumes: readonly VolumeNode[], style: Style): string {
  if (volumes.length === 0) return 'There are no volumes yet.\n';
  const head = ['volume', 'own', 'shared', 'window', 'snapshots', 'cloned at'];
  const rows = treeRows(volumes, style).map(({ title, node }) =>
    node === null
      ? [title]
      : [
          title,
          bytesText(node.ownBytes),
          node.parent === null ? '' : bytesText(node.sharedBytes),
          formatWindow(node.windowMs),
          node.snapshots === 0 ? '' : String(node.snapshots),
          node.parent === null ? '' : `lsn:${node.parent.lsn}`,
        ],
  );
  return tableText(head, rows, new Set([1, 2, 3, 4]), style);
}

export function renderSnapshots(snapshots: readonly Snapshot[], volume: string, style: Style): string {
  if (snapshots.length === 0) return `${volume} has no snapshots.\n`;
  const rows = snapshots.map(({ name, lsn, committedAtMicros }) => [
    name,
    `lsn:${lsn}`,
    timeText(committedAtMicros),
  ]);
  return tableText(['snapshot', 'moment', 'committed'], rows, new Set(), style);
}

export function renderWindow(volume: string, window: HistoryWindow): string {
  const { windowMs, floorLsn, oldestMicros, newestLsn, newestMicros } = window;
  const kept =
    windowMs === 0
      ? `${volume} keeps no history but its snapshots.`
      : `${volume} keeps ${formatWindow(windowMs)} of history.`;
  return `${kept}\nIt can be read and taken back from ${momentText(floorLsn, oldestMicros)} to ${momentText(newestLsn, newestMicros)}.\n`;
}

interface TreeRow {
  readonly title: string;
  /** Null: dropped, and kept for its clones. */
  readonly node: VolumeNode | null;
}

function treeRows(volumes: readonly VolumeNode[], style: Style): TreeRow[] {
  const known = new Set(volumes.map(({ volume }) => volume));
  const children = new Map<string, VolumeNode[]>();
  const roots: VolumeNode[] = [];
  for (const node of [...volumes].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (node.parent === null) roots.push(node);
    else children.set(node.parent.volume, [...(children.get(node.parent.volume) ?? []), node]);
  }
  const rows: TreeRow[] = [];
  const addChildren = (volume: string, indent: string): void => {
    const below = children.get(volume) ?? [];
    for (const [i, node] of below.entries()) {
      const isLast = i === below.length - 1;
      rows.push({ title: `${style.dim(`${indent}${isLast ? '└─ ' : '├─ '}`)}${node.name}`, node });
      addChildren(node.volume, `${indent}${isLast ? '   ' : '│  '}`);
    }
  };
  for (const node of roots) {
    rows.push({ title: node.name, node });
    addChildren(node.volume, '');
  }
  for (const volume of [...children.keys()].filter((parent) => !known.has(parent as VolumeNode['volume']))) {
    rows.push({ title: style.dim(`(dropped: ${volume})`), node: null });
    addChildren(volume, '');
  }
  return rows;
}

function bytesText(bytes: number | null): string {
  return bytes === null ? '?' : formatBytes(bytes);
}

function timeText(micros: number | null): string {
  return micros === null ? '' : formatTime(micros);
}

/** The status of a cluster as text for people. */
import type { ClusterReport, NodeReport, VolumeReport } from './client/admin.ts';
import { formatWindow, momentText } from './terminal/moments.ts';
import { formatBytes, formatDuration } from './terminal/progress.ts';
import type { Style } from './terminal/style.ts';
import { displayWidth, padEnd, padStart } from './terminal/width.ts';

export function renderStatus(report: ClusterReport, style: Style): string {
  const reachable = report.nodes.filter((node) => node.reachable).length;
  const health = reachable === report.nodes.length ? style.green : reachable >= 4 ? style.yellow : style.red;
  const parts = [
    `${style.bold('cluster')} ${report.clusterId}   ${health(`${reachable} of ${report.nodes.length} storage nodes reachable`)}`,
    `${style.bold('compute node')} ${report.computeId}   ${report.url}   version ${report.version}   up ${formatDuration(report.uptimeMs)}`,
    '',
    style.bold('Storage nodes'),
    nodeTable(report, style),
    style.bold('Volumes'),
    report.volumes.length === 0
      ? '  none yet\n'
      : report.volumes.map((volume) => volumeText(report, volume, style)).join('\n'),
  ];
  return `${parts.join('\n')}`;
}

function nodeTable(report: ClusterReport, style: Style): string {
  const head = ['az', 'node', 'address', 'state', 'version', 'up', 'disk', 'memory', 'segments', 'scrubbed'];
  const nodes = [...report.nodes].sort((a, b) => compare(a.az, b.az) || compare(a.nodeId, b.nodeId));
  let lastAz: string | null = null;
  const rows = nodes.map((node) => {
    const az = node.az === lastAz ? '' : node.az;
    lastAz = node.az;
    const { status } = node;
    return [
      az,
      node.nodeId,
      node.address,
      stateText(node, style),
      status?.version ?? '',
      status === null ? '' : formatDuration(status.uptimeMs),
      status === null ? '' : formatBytes(status.diskBytes),
      status === null ? '' : formatBytes(status.memoryBytes),
      status === null ? '' : String(status.segments.length),
      status === null ? '' : scrubText(status.lastScrubMicros),
    ];
  });
  return tableText(head, rows, new Set([5, 6, 7, 8]), style);
}

function stateText(node: NodeReport, style: Style): string {
  if (!node.reachable) return style.red(`unreachable${node.error ? `: ${node.error}` : ''}`);
  const segments = node.status?.segments ?? [];
  const hydrating = segments.filter((segment) => !segment.hydrated);
  const quarantined = segments.filter((segment) => segment.quarantined && segment.hydrated).length;
  const doubted = segments.reduce((sum, { pagesInDoubt }) => sum + pagesInDoubt, 0);
  const troubles = [
    ...(quarantined > 0 ? [`${quarantined} quarantined`] : []),
    ...(doubted > 0 ? [`${doubted} pages in doubt`] : []),
    ...(hydrating.length > 0 ? [`${hydrating.length} hydrating${shareText(hydrating)}`] : []),
  ];
  return troubles.length > 0 ? style.yellow(troubles.join(', ')) : style.green('up');
}

/** When the last full scrub ended. */
function scrubText(micros: number): string {
  return micros === 0 ? '' : `${formatDuration(Math.max(0, Date.now() - micros / 1_000))} ago`;
}

/** Of the pages to be copied. */
function shareText(hydrating: readonly { hydratedPages: number; hydrationPages: number }[]): string {
  const done = hydrating.reduce((sum, { hydratedPages }) => sum + hydratedPages, 0);
  const total = hydrating.reduce((sum, { hydrationPages }) => sum + hydrationPages, 0);
  return total === 0 ? '' : ` (${Math.floor((100 * done) / total)} %)`;
}

function volumeText(report: ClusterReport, volume: VolumeReport, style: Style): string {
  const { status, engine } = volume;
  if (status === null) {
    return `  ${style.bold(volume.name)}   ${style.dim(volume.open ? 'opening' : 'not open at this compute node')}\n`;
  }
  const lines = [
    `  ${style.bold(volume.name)}   VDL ${status.vdl}   VCL ${status.vcl}   head ${status.headLsn}   floor ${status.floor}   ` +
      `epoch ${status.epoch.number}.${status.epoch.writerId}   ${status.pgCount} PG   ` +
      `read lease ${status.hasReadLease ? style.green('held') : style.yellow('not held')}`,
  ];
  if (engine !== null) {
    const { pageCache } = engine;
    const asked = pageCache.hits + pageCache.misses;
    const hitShare = asked === 0 ? '' : ` (${((100 * pageCache.hits) / asked).toFixed(1)} % hits)`;
    lines.push(
      `  ${formatBytes(engine.databasePages * 4096)} database   ` +
        `page cache ${formatBytes(pageCache.bytes)} of ${formatBytes(pageCache.limitBytes)}${hitShare}   ` +
        `${engine.commits} commits   ${engine.statements} statements   ${engine.connections} connections   ` +
        `${engine.openTransactions} open transactions`,
    );
  }
  lines.push(`  ${historyText(report, volume)}`);
  const rows = status.nodes.map((node) => [
    node.az,
    node.nodeId,
    node.connected ? style.green('connected') : style.red('down'),
    sclText(node.scls),
    String(node.lagRecords),
    formatBytes(node.queuedBytes),
    node.ackLatencyMs === null ? '' : `${node.ackLatencyMs.toFixed(2)} ms`,
    node.readLatencyMs === null ? '' : `${node.readLatencyMs.toFixed(2)} ms`,
  ]);
  const head = ['az', 'node', 'stream', 'SCL', 'lag', 'queued', 'ack', 'page read'];
  return `${lines.join('\n')}\n${tableText(head, rows, new Set([3, 4, 5, 6, 7]), style)}`;
}

/** What the volume's past takes: all that is stored of it but one copy of its pages on each node. */
function historyText({ nodes, windows }: ClusterReport, { name, status, engine }: VolumeReport): string {
  const window = windows[name];
  const keepers = nodes.flatMap((node) => {
    const kept = (node.status?.segments ?? []).filter(({ volume }) => volume === status?.volume);
    return kept.length === 0 ? [] : [kept];
  });
  const segments = keepers.flat();
  const logBytes = segments.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
  const pageBytes = segments.reduce((sum, segment) => sum + segment.pageBytes, 0);
  // Every PG has six segments; with more than six nodes each keeps some of them.
  const copies = segments.length / Math.max(1, status?.pgCount ?? 1);
  const presentBytes = copies * (engine?.databasePages ?? 0) * 4096;
  // How large the database is, an engine learns with the first page it reads.
  const past =
    presentBytes === 0 ? '' : `history ${formatBytes(logBytes + Math.max(0, pageBytes - presentBytes))}   `;
  const kept =
    window === undefined
      ? ''
      : `window ${formatWindow(window.windowMs)}, back to ${momentText(window.floorLsn, window.oldestMicros)}   `;
  const stored = `stored on ${keepers.length} nodes: log ${formatBytes(logBytes)}, pages ${formatBytes(pageBytes)}`;
  return `${kept}${past}${stored}`;
}

/** One PG: its SCL. Several: the span, as a list would be long. */
function sclText(scls: readonly { readonly scl: number }[]): string {
  const values = scls.map(({ scl }) => scl);
  if (values.length === 0) return '';
  const low = Math.min(...values);
  const high = Math.max(...values);
  return low === high ? String(low) : `${low}–${high}`;
}

export function tableText(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  alignRight: ReadonlySet<number>,
  style: Style,
): string {
  const widths = head.map((name, i) =>
    Math.max(name.length, ...rows.map((row) => displayWidth(plain(row[i] ?? '')))),
  );
  const line = (cells: readonly string[]): string =>
    `  ${cells
      .map((cell, i) => {
        const invisible = cell.length - plain(cell).length;
        const width = widths[i]! + invisible;
        return alignRight.has(i) ? padStart(cell, width) : padEnd(cell, width);
      })
      .join('  ')}`.trimEnd();
  return `${style.dim(line(head))}\n${rows.map((row) => `${line(row)}\n`).join('')}`;
}

function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour sequences begin with ESC
  return text.replace(/\u001b\[\d+m/g, '');
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

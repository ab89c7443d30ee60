/** The compute node's figures in Prometheus' text format (version 0.0.4). */
import type { ComputeNode } from './node.ts';

type Labels = Readonly<Record<string, string>>;
interface Metric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly samples: readonly (readonly [Labels, number])[];
}

export function metricsText(
  node: ComputeNode,
  sessions: { readonly streams: number; readonly webSockets: number },
): string {
  const volumes = node
    .opened()
    .map(({ name, log, engine }) => ({ volume: name, log: log.status(), engine: engine.status() }));
  const perVolume = (pick: (volume: (typeof volumes)[number]) => number): Metric['samples'] =>
    volumes.map((volume) => [{ volume: volume.volume }, pick(volume)]);
  const perNode = (
    pick: (node: (typeof volumes)[number]['log']['nodes'][number]) => number | null,
  ): Metric['samples'] =>
    volumes.flatMap(({ volume, log }) =>
      log.nodes.flatMap((storageNode) => {
        const value = pick(storageNode);
        return value === null
          ? []
          : [[{ volume, node: storageNode.nodeId, az: storageNode.az }, value] as const];
      }),
    );
  const metrics: readonly Metric[] = [
    gauge('streams', 'Client streams open.', [[{}, sessions.streams]]),
    gauge(
      'engines',
      'SQL engines: of volumes, of moments of the past, and one kept ready for the next.',
      Object.entries(node.engines).map(([kind, count]) => [{ kind }, count]),
    ),
    gauge('websockets', 'WebSockets open.', [[{}, sessions.webSockets]]),
    gauge(
      'vcl',
      'Volume complete LSN.',
      perVolume(({ log }) => log.vcl),
    ),
    gauge(
      'vdl',
      'Volume durable LSN.',
      perVolume(({ log }) => log.vdl),
    ),
    gauge(
      'head_lsn',
      'LSN of the newest handed-over commit.',
      perVolume(({ log }) => log.headLsn),
    ),
    gauge(
      'read_lease',
      '1 while the read lease is held.',
      perVolume(({ log }) => (log.hasReadLease ? 1 : 0)),
    ),
    counter(
      'redo_bytes_total',
      'Redo written, which is sent to each of six segments.',
      perVolume(({ log }) => log.redoBytes),
    ),
    counter(
      'commits_total',
      'Mini-transactions handed over.',
      perVolume(({ engine }) => engine.commits),
    ),
    counter('append_messages_total', 'Messages with redo records, to all storage nodes together.', [
      [{}, node.appendsSent],
    ]),
    counter(
      'statements_total',
      'Statements run.',
      perVolume(({ engine }) => engine.statements),
    ),
    gauge(
      'connections',
      'Engine connections.',
      perVolume(({ engine }) => engine.connections),
    ),
    gauge(
      'page_cache_bytes',
      'Bytes of pages cached.',
      perVolume(({ engine }) => engine.pageCache.bytes),
    ),
    counter(
      'page_cache_hits_total',
      'Page reads served by the cache.',
      perVolume(({ engine }) => engine.pageCache.hits),
    ),
    counter(
      'page_cache_misses_total',
      'Page reads that asked storage.',
      perVolume(({ engine }) => engine.pageCache.misses),
    ),
    gauge(
      'storage_node_connected',
      '1 while the append stream is up.',
      perNode((n) => (n.connected ? 1 : 0)),
    ),
    gauge(
      'storage_node_lag_records',
      'Records the node is behind the head.',
      perNode((n) => n.lagRecords),
    ),
    gauge(
      'storage_node_queued_bytes',
      'Bytes sent or queued and not acknowledged.',
      perNode((n) => n.queuedBytes),
    ),
    gauge(
      'storage_node_ack_seconds',
      'Average acknowledgement latency.',
      perNode((n) => seconds(n.ackLatencyMs)),
    ),
    gauge(
      'storage_node_read_seconds',
      'Average page read latency.',
      perNode((n) => seconds(n.readLatencyMs)),
    ),
  ];
  return metrics.map(render).join('');
}

function gauge(name: string, help: string, samples: Metric['samples']): Metric {
  return { name: `tidemark_${name}`, type: 'gauge', help, samples };
}

function counter(name: string, help: string, samples: Metric['samples']): Metric {
  return { name: `tidemark_${name}`, type: 'counter', help, samples };
}

function seconds(milliseconds: number | null): number | null {
  return milliseconds === null ? null : milliseconds / 1000;
}

/** Label values are volume names, node ids and zones: none of them can hold a quote or a backslash. */
function render({ name, type, help, samples }: Metric): string {
  const lines = samples.map(([labels, value]) => {
    const inner = Object.entries(labels).map(([key, label]) => `${key}="${label}"`);
    return `${name}${inner.length === 0 ? '' : `{${inner.join(',')}}`} ${value}\n`;
  });
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

/** What a benchmark runs against, as the command hands it in: the benchmarks themselves start nothing. */
import type { ClusterNode } from '../src/register/values.ts';
import type { WsTarget } from './drivers/ws.ts';

export interface BenchSubject {
  readonly target: WsTarget;
  /** Storage nodes as the volume's log client sees them: acknowledgement latency and lag. */
  nodeLatencies(): Promise<readonly NodeLatency[]>;
  /** Bytes that the compute node has written to files and sockets since it began; null where that cannot be known. */
  computeBytesWritten(): number | null;
  /** A fresh compute node process on the same storage nodes; null when it is not ours to restart. */
  readonly restartCompute: (() => Promise<void>) | null;
}

export interface NodeLatency {
  readonly nodeId: string;
  readonly az: string;
  readonly ackLatencyMs: number | null;
  readonly lagRecords: number;
}

/** For benchmarks without a compute node process: the storage nodes alone. */
export interface StorageSubject {
  readonly nodes: readonly ClusterNode[];
}

export type Say = (text: string) => void;

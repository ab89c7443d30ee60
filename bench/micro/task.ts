/** One thing measured: what a call does, how much of it, and the least that is good enough on one core of a small machine. */
export interface MicroTask {
  readonly name: string;
  readonly perCall: number;
  readonly unit: 'pages' | 'records' | 'commits';
  readonly leastPerS: number;
  readonly run: () => unknown;
}

export interface MicroResult {
  readonly name: string;
  readonly unit: MicroTask['unit'];
  readonly perS: number;
  readonly leastPerS: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
}

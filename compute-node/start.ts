/** A whole compute node: volumes, sessions, the client protocol and administration, from a configuration. */
import { BUILD_VERSION } from '../src/adapters/build-info.ts';
import type { Logger } from '../src/adapters/logger.ts';
import { isTidemarkError, TidemarkError } from '../src/base/errors.ts';
import { DEFAULT_COMMIT_TIMEOUT_MS, DEFAULT_PG_PAGES, DEFAULT_WINDOW_MS, MIB } from '../src/base/limits.ts';
import type { ClusterNode } from '../src/register/values.ts';
import { adminHandler } from './admin.ts';
import type { EngineLimits } from './engine/api.ts';
import { startHttpServer } from './hrana/http-server.ts';
import { DEFAULT_HRANA_LIMITS } from './hrana/limits.ts';
import { DEFAULT_VOLUME } from './hrana/routes.ts';
import { metricsText } from './metrics.ts';
import { ComputeNode } from './node.ts';
import { DEFAULT_SESSION_LIMITS } from './session/limits.ts';
import { nodeScheduler } from './session/scheduler.ts';
import { Sessions } from './session/sessions.ts';
import { sessionsOf } from './timelines/sessions.ts';

export interface ComputeNodeConfig {
  readonly computeId: string;
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Default: the address listened on. */
  readonly advertiseUrl?: string;
  readonly nodes: readonly ClusterNode[];
  /** Clients must show it; absent: none needed. */
  readonly authToken?: string;
  /** Memory for pages, per open volume. */
  readonly pageCacheBytes?: number;
  readonly maxOpenVolumes?: number;
  readonly pgPages?: number;
  readonly windowMs?: number;
  readonly commitTimeoutMs?: number;
  readonly statementTimeoutMs?: number;
  readonly transactionTimeoutMs?: number;
  readonly busyTimeoutMs?: number;
  readonly maxTransactionBytes?: number;
  readonly maxConnections?: number;
  readonly logger: Logger;
}

export interface RunningComputeNode {
  readonly url: string;
  /** For programs that run the compute node in their own process. */
  readonly node: ComputeNode;
  close(): Promise<void>;
}

/** Where the build puts the engine's worker, beside this module. */
export const ENGINE_WORKER_URL = new URL('./engine/worker/main.js', import.meta.url);
export const DEFAULT_MAX_OPEN_VOLUMES = 64;

export function engineLimits(config: Partial<Omit<ComputeNodeConfig, 'nodes'>>): EngineLimits {
  return {
    pageCacheBytes: config.pageCacheBytes ?? 256 * MIB,
    maxTransactionBytes: config.maxTransactionBytes ?? 256 * MIB,
    statementTimeoutMs: config.statementTimeoutMs ?? 0,
    busyTimeoutMs: config.busyTimeoutMs ?? 5_000,
    writableTimeoutMs: config.commitTimeoutMs ?? DEFAULT_COMMIT_TIMEOUT_MS,
    transactionTimeoutMs: config.transactionTimeoutMs ?? 300_000,
    maxRowBytes: 64 * MIB,
    maxSqlBytes: 4 * MIB,
    maxConnections: config.maxConnections ?? 10_000,
  };
}

/** Ready to serve when it resolves: the cluster is joined, `main` exists and is open. Rejects IN_USE, NO_QUORUM, WRONG_CLUSTER … */
export async function startComputeNode(config: ComputeNodeConfig): Promise<RunningComputeNode> {
  const { logger } = config;
  const startedMs = performance.now();
  let node: ComputeNode | null = null;
  let isReady = false;
  const opened = (): ComputeNode => {
    if (node === null) {
      throw new TidemarkError('UNAVAILABLE', 'the compute node is starting', {
        nextStep: 'Try again in a moment.',
      });
    }
    return node;
  };
  const sessions = new Sessions(DEFAULT_SESSION_LIMITS, nodeScheduler);
  // The port is taken first: a second process on it must not depose the first one's volumes.
  const server = await startHttpServer({
    host: config.host,
    port: config.port,
    sessions,
    resolveVolume: async (name) => sessionsOf(opened(), name),
    admin: (request, response) =>
      adminHandler(opened(), {
        computeId: config.computeId,
        version: BUILD_VERSION,
        url: advertiseUrl,
        uptimeMs: Math.round(performance.now() - startedMs),
      })(request, response),
    metrics: () => metricsText(opened(), { streams: sessions.count, webSockets: server.webSockets }),
    ready: () => (isReady ? { ready: true, reason: null } : { ready: false, reason: 'opening its volumes' }),
    version: `tidemark ${BUILD_VERSION}`,
    auth: config.authToken === undefined || config.authToken === '' ? null : { token: config.authToken },
    limits: DEFAULT_HRANA_LIMITS,
    logger,
  });
  const advertiseUrl = config.advertiseUrl ?? server.url;
  try {
    node = await ComputeNode.open({
      computeId: config.computeId,
      advertiseUrl,
      nodes: config.nodes,
      workerUrl: ENGINE_WORKER_URL,
      engineLimits: engineLimits(config),
      commitTimeoutMs: config.commitTimeoutMs ?? DEFAULT_COMMIT_TIMEOUT_MS,
      maxOpenVolumes: config.maxOpenVolumes ?? DEFAULT_MAX_OPEN_VOLUMES,
      pgPages: config.pgPages ?? DEFAULT_PG_PAGES,
      windowMs: config.windowMs ?? DEFAULT_WINDOW_MS,
      ...(config.authToken === undefined || config.authToken === '' ? {} : { authToken: config.authToken }),
      logger,
    });
    await node.ensureVolume(DEFAULT_VOLUME);
    await node.volume(DEFAULT_VOLUME).catch((error: unknown) => {
      // Another compute node serves it and lives, or has just taken it: this one can still serve others, and this one too once that
      // has ended.
      if (!isTidemarkError(error, 'VOLUME_HELD') && !isTidemarkError(error, 'DEPOSED')) throw error;
      logger.log('warn', error.message, { volume: DEFAULT_VOLUME });
    });
    isReady = true;
  } catch (error) {
    await server.close();
    await node?.close();
    throw error;
  }
  return {
    url: server.url,
    node,
    close: async () => {
      await server.close();
      await opened().close();
    },
  };
}

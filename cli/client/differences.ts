/** The part of a compute node's administration interface that compares, merges, and brings rows back. */
import type { ToldMerge, ToldRestore } from '../../compute-node/admin-diff.ts';
import type { ToldDiffEvent } from '../../compute-node/diff/told.ts';
import type { ConflictPolicy } from '../../compute-node/engine/api.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { AdminClient } from './admin.ts';
import type { Target } from './target.ts';

/** It may have much to read first. */
const ANSWER_TIMEOUT_MS = 600_000;

/** VOLUME or VOLUME@WHEN each. */
export interface Compared {
  readonly from: string;
  readonly to: string;
  readonly table?: string;
}

export interface Changeset {
  readonly bytes: Buffer;
  readonly rows: number;
  /** Changes that no changeset can tell. */
  readonly leftOut: number;
  readonly schemaChanges: number;
}

export class DifferencesClient {
  private readonly admin: AdminClient;

  constructor(target: Target) {
    this.admin = new AdminClient(target);
  }

  async *diff(compared: Compared): AsyncGenerator<ToldDiffEvent> {
    for await (const line of this.admin.lines('/-/diff', compared)) {
      const event = line as unknown as ToldDiffEvent;
      yield event;
      if (event.kind === 'end') return;
    }
    throw new TidemarkError('UNAVAILABLE', 'the compute node ended before it told all differences', {
      nextStep: 'Ask again.',
    });
  }

  async changeset(compared: Compared): Promise<Changeset> {
    const { bytes, headers } = await this.admin.bytes('/-/diff', { ...compared, format: 'changeset' });
    const number = (name: string): number => Number(headers[name] ?? 0);
    return {
      bytes,
      rows: number('tidemark-rows'),
      leftOut: number('tidemark-left-out'),
      schemaChanges: number('tidemark-schema-changes'),
    };
  }

  async merge(request: {
    readonly from: string;
    readonly into: string;
    readonly policy: ConflictPolicy;
    readonly dryRun: boolean;
  }): Promise<ToldMerge> {
    return (await this.post('/-/merge', request)) as ToldMerge;
  }

  async restoreRows(request: {
    readonly from: string;
    readonly select: string;
    readonly overwrite: boolean;
    readonly dryRun: boolean;
  }): Promise<ToldRestore> {
    return (await this.post('/-/restore-rows', request)) as ToldRestore;
  }

  private post(path: string, body: object): Promise<unknown> {
    return this.admin.json('POST', path, JSON.stringify(body), ANSWER_TIMEOUT_MS);
  }
}

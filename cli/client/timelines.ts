/** The part of a compute node's administration interface that is about timelines. */
import type {
  Backtracked,
  Clone,
  HistoryWindow,
  Snapshot,
  VolumeNode,
} from '../../compute-node/timelines/api.ts';
import { AdminClient } from './admin.ts';
import type { Target } from './target.ts';

/** A change may take a volume over first, and wait for a quorum. */
const CHANGE_TIMEOUT_MS = 60_000;

export class TimelinesClient {
  private readonly admin: AdminClient;

  constructor(target: Target) {
    this.admin = new AdminClient(target);
  }

  async volumes(): Promise<readonly VolumeNode[]> {
    return ((await this.admin.json('GET', '/-/tree')) as { volumes: readonly VolumeNode[] }).volumes;
  }

  /** `source`: VOLUME or VOLUME@WHEN. */
  async clone(source: string, name: string): Promise<Clone> {
    return (await this.change('POST', '/-/clones', { source, name })) as Clone;
  }

  async drop(volume: string, force: boolean): Promise<{ readonly name: string }> {
    const path = `${pathOf(volume)}${force ? '?force=true' : ''}`;
    return (await this.change('DELETE', path)) as { name: string };
  }

  async backtrack(volume: string, to: string): Promise<Backtracked> {
    return (await this.change('POST', `${pathOf(volume)}/backtrack`, { to })) as Backtracked;
  }

  /** `at` null: now. */
  async createSnapshot(volume: string, name: string, at: string | null): Promise<Snapshot> {
    const body = { name, ...(at === null ? {} : { at }) };
    return (await this.change('POST', `${pathOf(volume)}/snapshots`, body)) as Snapshot;
  }

  async snapshots(volume: string): Promise<readonly Snapshot[]> {
    const reply = await this.admin.json('GET', `${pathOf(volume)}/snapshots`);
    return (reply as { snapshots: readonly Snapshot[] }).snapshots;
  }

  async dropSnapshot(volume: string, name: string): Promise<Snapshot> {
    const path = `${pathOf(volume)}/snapshots/${encodeURIComponent(name)}`;
    return (await this.change('DELETE', path)) as Snapshot;
  }

  async window(volume: string): Promise<HistoryWindow> {
    return (await this.admin.json('GET', `${pathOf(volume)}/window`)) as HistoryWindow;
  }

  async setWindow(volume: string, windowMs: number): Promise<HistoryWindow> {
    return (await this.change('PUT', `${pathOf(volume)}/window`, { windowMs })) as HistoryWindow;
  }

  private change(method: string, path: string, body?: object): Promise<unknown> {
    return this.admin.json(
      method,
      path,
      body === undefined ? undefined : JSON.stringify(body),
      CHANGE_TIMEOUT_MS,
    );
  }
}

function pathOf(volume: string): string {
  return `/-/volumes/${encodeURIComponent(volume)}`;
}

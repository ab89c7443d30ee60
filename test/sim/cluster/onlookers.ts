/**
 * Those who read at older moments than clients do: any node is asked for any page at any read point that was ever durable, pins above all. What they
 * are given is compared with a plain replay like every other answer (checks/oracle.ts); here is only that a pin is never refused as collected.
 */
import { type Lsn, type PageNumber, pgOfPage, type RunId, type VolumeId } from '../../../src/log/lsn.ts';
import type { ReadPagesReply } from '../../../src/messages/messages.ts';
import type { ReadPoint } from '../../../src/timeline/run.ts';
import type { Chance } from '../world/random.ts';
import type { World } from '../world/world.ts';
import type { SimCluster } from './cluster.ts';

const LOOK_EVERY_MS = 40;
const MAX_PAGES = 3;

export class Onlookers {
  readonly #world: World;
  readonly #cluster: SimCluster;
  readonly #chance: Chance;
  /** Committed, and not taken back. */
  readonly #pins = new Map<string, ReadPoint>();
  #requests = 0;

  constructor(world: World, cluster: SimCluster) {
    this.#world = world;
    this.#cluster = cluster;
    this.#chance = world.chance('onlookers');
  }

  /** Looks for ever. */
  start(): void {
    this.#world.after(this.#chance.between(0.5, 1.5) * LOOK_EVERY_MS, null, 'onlooker', () => {
      this.#look();
      this.start();
    });
  }

  pinned(name: string, point: ReadPoint): void {
    this.#pins.set(name, point);
  }

  /** About to be taken back. */
  unpinned(name: string): void {
    this.#pins.delete(name);
  }

  get pins(): ReadonlyMap<string, ReadPoint> {
    return this.#pins;
  }

  #look(): void {
    const { oracle } = this.#cluster;
    const pin = this.#chance.chance(0.4) ? this.#chance.pick([...this.#pins.keys(), null]) : null;
    const point = pin === null ? this.#anyPoint() : this.#pins.get(pin);
    if (point === null || point === undefined) return;
    const manifest = oracle.manifestOf(point.volume);
    const pages = oracle.pagesOf(point.volume);
    if (manifest === null || pages.length === 0) return;
    const pg = pgOfPage(this.#chance.pick(pages), manifest.pgPages);
    const members = manifest.pgs[pg]?.members ?? [];
    if (members.length === 0) return;
    const ofPg = pages.filter((page) => pgOfPage(page, manifest.pgPages) === pg);
    this.#ask(this.#chance.pick(members), point, pg, this.#chance.some(ofPg, MAX_PAGES), pin);
  }

  #ask(
    nodeId: string,
    point: ReadPoint,
    pg: ReturnType<typeof pgOfPage>,
    pages: readonly PageNumber[],
    pin: string | null,
  ): void {
    const node = this.#cluster.node(nodeId);
    const { server, core } = node;
    if (server === null || core === null) return;
    this.#requests += 1;
    const body = {
      requestId: this.#requests,
      clusterId: core.clusterId,
      ...point,
      pg,
      requiredScl: this.#cluster.oracle.tailOf(point.volume, pg, point.lsn),
      pages,
    };
    node.process.later(0, 'onlooker', () =>
      server.receive({ method: 'readPages', body }, ({ body: reply }) => {
        const { refusal } = reply as ReadPagesReply;
        if (refusal?.code === 'GONE' && pin !== null && this.#pins.has(pin))
          this.#world.violate('pin', `${nodeId} has collected what is pinned: ${refusal.message}`);
      }),
    );
  }

  /** Of any run, at or below the VDL that was told. */
  #anyPoint(): ReadPoint | null {
    const { oracle } = this.#cluster;
    const volumes = oracle.volumes.filter((volume) => oracle.manifestOf(volume) !== null);
    if (volumes.length === 0) return null;
    const volume: VolumeId = this.#chance.pick(volumes);
    const runs = oracle.manifestOf(volume)?.runs ?? [];
    const run = runs[this.#chance.chance(0.6) ? runs.length - 1 : this.#chance.below(runs.length)];
    if (run === undefined) return null;
    const last = Math.min(run.lastLsn ?? Number.POSITIVE_INFINITY, oracle.vdlOf(volume));
    if (last < run.firstLsn) return null;
    const back = this.#chance.chance(0.4) ? 0 : this.#chance.below(last - run.firstLsn + 1);
    return { volume, run: run.id as RunId, lsn: (last - back) as Lsn };
  }
}

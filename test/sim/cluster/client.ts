/**
 * Clients of one volume: each does one transaction after another at whichever compute node serves the volume, and notes what it was told
 * (test/checkers/history.ts). A client that does not know what became of a write goes on under another name.
 */
import { isTidemarkError } from '../../../src/base/errors.ts';
import type { Lsn, VolumeId } from '../../../src/log/lsn.ts';
import {
  type History,
  HistoryRecorder,
  type Isolation,
  type OpenTransaction,
} from '../../checkers/history.ts';
import type { Oracle } from '../checks/oracle.ts';
import type { Links } from '../world/links.ts';
import type { Chance } from '../world/random.ts';
import type { World } from '../world/world.ts';
import type { SimComputeNode } from './compute-node.ts';
import type { EngineResult } from './engine.ts';
import {
  ACCOUNTS,
  isWriting,
  keysUpTo,
  LIST_CAPACITY,
  OPENING_BALANCE,
  type PlannedOperation,
  REGISTERS,
} from './objects.ts';

/** Where clients are on the network. */
export const CLIENTS = 'clients';
const ANSWER_TIMEOUT_MS = 5_000;
const ACTIVE_LISTS = 6;
/** Share of transactions before which a client goes to another compute node, for no reason. */
const HOPS = 0.05;
/** How long clients wait for an answer; the hasty ones are at a new writer soon. */
const PATIENCE_MS = [150, 600, ANSWER_TIMEOUT_MS] as const;

export interface WorkloadShape {
  readonly clients: number;
  /** Mean pause between two transactions of a client. */
  readonly pauseMs: number;
  /** Share of transactions that write. */
  readonly writes: number;
}

interface Plan {
  readonly isolation: Isolation;
  readonly operations: readonly PlannedOperation[];
  readonly isDeferred: boolean;
  readonly thinkMs: number;
}

/** The clients of one volume and what they did. */
export class Workload {
  readonly name: string;
  readonly recorder = new HistoryRecorder(Object.fromEntries(ACCOUNTS.map((key) => [key, OPENING_BALANCE])));
  readonly #world: World;
  readonly #links: Links;
  readonly #computes: readonly SimComputeNode[];
  readonly #chance: Chance;
  readonly #shape: WorkloadShape;
  #isStopped = false;
  #appended = 0;
  #lastElement = 0;
  /** What engines handed over, whether or not the client ever heard of it. */
  readonly #handedOver: { readonly open: OpenTransaction; readonly volume: VolumeId; readonly cpl: Lsn }[] =
    [];
  #underWay = 0;
  acknowledged = 0;

  constructor(options: {
    readonly name: string;
    readonly world: World;
    readonly links: Links;
    readonly computes: readonly SimComputeNode[];
    readonly shape: WorkloadShape;
  }) {
    this.name = options.name;
    this.#world = options.world;
    this.#links = options.links;
    this.#computes = options.computes;
    this.#shape = options.shape;
    this.#chance = options.world.chance(`workload ${options.name}`);
  }

  /** Nobody waits for an answer. */
  get isIdle(): boolean {
    return this.#underWay === 0;
  }

  start(): void {
    for (let i = 0; i < this.#shape.clients; i += 1) {
      const client = new Client(
        `${this.name}-c${i}`,
        this.#computes,
        this.#chance.below(this.#computes.length),
        this.#chance.pick(PATIENCE_MS),
      );
      this.#next(client);
    }
  }

  /** No new transactions. */
  stop(): void {
    this.#isStopped = true;
  }

  /** What the clients were told, and where what they were not told about has ended up: a record that was cut has no place. */
  history(oracle: Oracle): History {
    for (const { open, volume, cpl } of this.#handedOver) if (oracle.exists(volume, cpl)) open.at(cpl);
    return this.recorder.history();
  }

  /** One write or a look at everything, by a client of its own, again and again until it succeeds. */
  async until(kind: 'write' | 'look'): Promise<void> {
    const client = new Client(`${this.name}-${kind}`, this.#computes, 0);
    for (;;) {
      const operations = kind === 'write' ? [this.#writeOnce()] : this.#everything();
      const plan: Plan = { isolation: 'strong', operations, isDeferred: false, thinkMs: 0 };
      if ((await this.#perform(client, plan)) === 'ok') return;
      await this.#pause(50);
    }
  }

  #writeOnce(): PlannedOperation {
    return { kind: 'write', key: 'R0', value: this.#nextElement() };
  }

  #everything(): PlannedOperation[] {
    const looks = keysUpTo(this.#listCount).flatMap((key): PlannedOperation[] => {
      if (key.startsWith('R')) return [{ kind: 'read-register', key }];
      return key.startsWith('L') ? [{ kind: 'read-list', key }] : [];
    });
    return [{ kind: 'read-accounts' }, ...looks];
  }

  #next(client: Client): void {
    const pauseMs = -Math.log(1 - this.#chance.next()) * this.#shape.pauseMs;
    this.#world.after(pauseMs, null, 'client', () => {
      if (this.#isStopped) return;
      // Some try their luck elsewhere: so there are clients at a new writer while others still ask the old one.
      if (this.#chance.chance(HOPS)) client.goElsewhere();
      this.#perform(client, this.#plan()).then(
        () => this.#next(client),
        (error: unknown) => this.#world.fail(`client ${client.name}`, error),
      );
    });
  }

  async #perform(client: Client, plan: Plan): Promise<'ok' | 'failed' | 'unknown'> {
    const { isolation, operations } = plan;
    const writes = operations.filter(isWriting);
    const open = this.recorder.begin({
      process: client.process,
      session: client.process,
      isolation,
      invokedAt: this.#world.nowMs,
    });
    this.#underWay += 1;
    const answer = await this.#exchange(client, plan, open);
    this.#underWay -= 1;
    if (answer.kind === 'ok') {
      const { result } = answer;
      for (const operation of result.operations)
        if (!result.isStale || !isWritten(operation)) open.did(operation);
      if (!result.isStale) {
        open.at(result.lsn);
        client.token = Math.max(client.token, result.lsn) as Lsn;
        this.acknowledged += 1;
      }
      open.end(result.isStale ? 'failed' : 'ok', this.#world.nowMs);
      return result.isStale ? 'failed' : 'ok';
    }
    for (const operation of writes) if (isWriting(operation)) open.did(operation as never);
    const isCertain = answer.kind === 'failed' || writes.length === 0;
    open.end(isCertain ? 'failed' : 'unknown', this.#world.nowMs);
    client.goElsewhere();
    // What it gave up may still be under way on that connection: it goes on by another.
    if (answer.kind === 'unknown') client.takeAnotherName();
    return isCertain ? 'failed' : 'unknown';
  }

  #exchange(client: Client, plan: Plan, open: OpenTransaction): Promise<Answer> {
    // As it is now: by the time a server that was stopped reads this, the client may have given up and taken another name.
    const { compute, process: connection, token } = client;
    const { process: server } = compute;
    const there = this.#links.between(CLIENTS, server.name);
    const back = this.#links.between(server.name, CLIENTS);
    return new Promise((resolve) => {
      let isOver = false;
      const end = (answer: Answer): void => {
        if (isOver) return;
        isOver = true;
        deadline.isCancelled = true;
        compute.callers.delete(broken);
        resolve(answer);
      };
      const broken = (): void => {
        this.#world.after(1, null, 'broken', () => end({ kind: 'unknown' }));
      };
      const deadline = this.#world.after(client.patienceMs, null, 'client-timeout', () =>
        end({ kind: 'unknown' }),
      );
      const answer = (what: Answer): void => {
        if (this.#links.loses(back)) return;
        this.#world.after(this.#links.delayMs(back, 100), null, 'answer', () => end(what));
      };
      if (this.#links.loses(there)) return;
      this.#world.after(this.#links.delayMs(there, 100), null, 'ask', () => {
        if (!server.isUp) {
          this.#world.after(1, null, 'refused', () => end({ kind: 'failed' }));
          return;
        }
        compute.callers.add(broken);
        server.later(0, 'ask', () => {
          const transaction = {
            ...plan,
            minLsn: plan.isolation === 'session' ? token : null,
            onCommit: (volume: VolumeId, cpl: Lsn) => this.#handedOver.push({ open, volume, cpl }),
          };
          compute.serve(this.name, connection, transaction).then(
            (result) => answer({ kind: 'ok', result }),
            (error: unknown) => {
              if (!isTidemarkError(error)) this.#world.fail(`serving ${connection}`, error);
              answer({ kind: isTidemarkError(error, 'OUTCOME_UNKNOWN') ? 'unknown' : 'failed' });
            },
          );
        });
      });
    });
  }

  #plan(): Plan {
    const chance = this.#chance;
    const drawn = chance.next();
    const { writes } = this.#shape;
    if (drawn < writes) {
      const isDeferred = chance.chance(0.2);
      const operations = this.#someWrites(chance.integer(1, 4));
      if (isDeferred || chance.chance(0.4)) operations.unshift(this.#look());
      return { isolation: 'strong', operations, isDeferred, thinkMs: isDeferred ? chance.next() * 20 : 0 };
    }
    const kind = chance.next();
    const isolation = kind < 0.6 ? 'strong' : kind < 0.85 ? 'session' : 'snapshot';
    const operations = Array.from({ length: chance.integer(1, 3) }, () => this.#look());
    const thinkMs = chance.chance(0.05) ? chance.next() * 2_000 : 0;
    return { isolation, operations, isDeferred: false, thinkMs };
  }

  /** One transfer at most: two could cancel each other, and a transaction that changes nothing has no place of its own in the log. */
  #someWrites(count: number): PlannedOperation[] {
    const writes = Array.from({ length: count }, () => this.#write());
    const [transfer] = writes.filter(({ kind }) => kind === 'transfer');
    return writes.filter((write) => write.kind !== 'transfer' || write === transfer);
  }

  #write(): PlannedOperation {
    const chance = this.#chance;
    const drawn = chance.next();
    if (drawn < 0.6) {
      this.#appended += 1;
      return { kind: 'append', key: this.#list(), element: this.#nextElement() };
    }
    if (drawn < 0.85) return { kind: 'write', key: chance.pick(REGISTERS), value: this.#nextElement() };
    const [from = '', to = ''] = chance.some(ACCOUNTS, 2);
    return { kind: 'transfer', from, to, amount: chance.integer(1, 10) };
  }

  #look(): PlannedOperation {
    const drawn = this.#chance.next();
    if (drawn < 0.55) return { kind: 'read-list', key: this.#list() };
    if (drawn < 0.85) return { kind: 'read-register', key: this.#chance.pick(REGISTERS) };
    return { kind: 'read-accounts' };
  }

  /** Lists come into use as others fill up: so the volume grows. */
  #list(): string {
    const first = this.#listCount - ACTIVE_LISTS;
    return `L${first + this.#chance.below(ACTIVE_LISTS)}`;
  }

  get #listCount(): number {
    return ACTIVE_LISTS + Math.floor(this.#appended / (LIST_CAPACITY * 0.8));
  }

  #nextElement(): number {
    this.#lastElement += 1;
    return this.#lastElement;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#world.after(ms, null, 'client', resolve));
  }
}

type Answer =
  | { readonly kind: 'ok'; readonly result: EngineResult }
  | { readonly kind: 'failed' }
  | { readonly kind: 'unknown' };

class Client {
  readonly name: string;
  readonly patienceMs: number;
  readonly #computes: readonly SimComputeNode[];
  #at: number;
  #names = 0;
  token = 0 as Lsn;

  constructor(
    name: string,
    computes: readonly SimComputeNode[],
    at: number,
    patienceMs: number = ANSWER_TIMEOUT_MS,
  ) {
    this.name = name;
    this.patienceMs = patienceMs;
    this.#computes = computes;
    this.#at = at;
  }

  get process(): string {
    return `${this.name}.${this.#names}`;
  }

  get compute(): SimComputeNode {
    return this.#computes[this.#at % this.#computes.length] as SimComputeNode;
  }

  goElsewhere(): void {
    this.#at += 1;
  }

  takeAnotherName(): void {
    this.#names += 1;
    this.token = 0 as Lsn;
  }
}

function isWritten(operation: { readonly kind: string }): boolean {
  return operation.kind === 'append' || operation.kind === 'write' || operation.kind === 'transfer';
}

/**
 * Many proposers on one register, over a network that loses, repeats, delays and reorders, with acceptors that stop and come back with what they had
 * made durable. The register holds a list to which every change appends its own id, so each value is its whole history, and
 * linearizability can be read off it:
 *
 * - any two lists that were reported are prefixes of one another (one order for all);
 * - a version has one value, and more entries the higher it is;
 * - an operation that began after another had ended sees all that the other saw (real time);
 * - a change that succeeded is in the list once; one that failed for certain is never in it; an unknown one at most once.
 */
import { describe, expect, it } from 'vitest';
import { compareEpochs, type Epoch } from '../../../src/log/epoch.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import {
  accept,
  type AcceptorState,
  decodeAcceptor,
  EMPTY_ACCEPTOR,
  encodeAcceptor,
  prepare,
} from '../../../src/register/acceptor.ts';
import {
  Proposer,
  type ProposerEffect,
  type ProposerEvent,
  type RegisterOperation,
} from '../../../src/register/proposer.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const NODES = ['a1', 'a2', 'b1', 'b2', 'c1', 'c2'] as NodeId[];
const CALL_TIMEOUT = 40;

interface Finished {
  readonly beganAt: number;
  readonly endedAt: number;
  readonly list: readonly number[];
  readonly version: number;
  /** The id this operation appended. */
  readonly appended: number | null;
}

interface Network {
  readonly loss: number;
  readonly repeat: number;
  readonly maxDelay: number;
  readonly crashEvery: number;
}

const encode = (list: readonly number[]): Uint8Array => new TextEncoder().encode(list.join(','));
const decode = (value: Uint8Array | null): number[] => {
  const text = value === null ? '' : new TextDecoder().decode(value);
  return text === '' ? [] : text.split(',').map(Number);
};

class Simulation {
  readonly finished: Finished[] = [];
  readonly surelyFailed = new Set<number>();
  readonly counts = { appends: 0, reads: 0, peeks: 0, holds: 0, failed: 0, unknown: 0 };
  private readonly random: SeededRandom;
  private readonly network: Network;
  private readonly disks: Uint8Array[] = NODES.map(() => encodeAcceptor(EMPTY_ACCEPTOR));
  private readonly downUntil = NODES.map(() => 0);
  private readonly queue: { readonly at: number; readonly order: number; readonly run: () => void }[] = [];
  private now = 0;
  private order = 0;
  private nextId = 1;
  private highest = 0;

  constructor(seed: number, network: Network) {
    this.random = new SeededRandom(seed);
    this.network = network;
  }

  run(proposers: number, untilTime: number): void {
    for (let i = 0; i < proposers; i += 1) this.after(this.random.below(20), () => this.begin(untilTime));
    this.scheduleCrash(untilTime);
    while (this.queue.length > 0) {
      const next = this.queue.reduce((a, b) => (a.at < b.at || (a.at === b.at && a.order < b.order) ? a : b));
      this.queue.splice(this.queue.indexOf(next), 1);
      this.now = next.at;
      next.run();
    }
  }

  private begin(untilTime: number): void {
    if (this.now > untilTime) return;
    const again = (): void => this.after(this.random.below(30), () => this.begin(untilTime));
    const ballot: Epoch = { number: this.highest + this.random.below(3), writerId: this.random.id(8) };
    const dice = this.random.next();
    if (ballot.number < 1 || dice < 0.2) {
      this.operate({ kind: 'peek' }, null, () => again());
    } else if (dice < 0.4) {
      this.operate({ kind: 'read', ballot }, null, () => again());
    } else if (dice < 0.75) {
      const id = this.nextId++;
      const change = (current: { value: Uint8Array | null }): Uint8Array =>
        encode([...decode(current.value), id]);
      this.operate({ kind: 'change', ballot, change }, id, () => again());
    } else {
      this.hold(ballot, again);
    }
    this.highest = Math.max(this.highest, 1);
  }

  /** A holder appends a few times under one ballot, asking again when it had no quorum, and then leaves. */
  private hold(ballot: Epoch, leave: () => void): void {
    this.counts.holds += 1;
    let left = 1 + this.random.below(4);
    let retries = 3;
    const holder = this.operate({ kind: 'acquire', ballot }, null, (effect) => {
      if (effect.kind === 'done' && left > 0) {
        left -= 1;
        const id = this.nextId++;
        const value = encode([...decode(effect.content.value), id]);
        holder.next(id, { kind: 'propose', value });
      } else if (effect.kind === 'failed' && effect.outcomeUnknown && retries > 0) {
        retries -= 1;
        this.after(this.random.below(60), () => holder.next(holder.id(), { kind: 'retry' }));
      } else {
        leave();
      }
    });
  }

  private operate(
    operation: RegisterOperation,
    firstId: number | null,
    onOutcome: (effect: ProposerEffect) => void,
  ) {
    const machine = new Proposer(NODES, operation);
    let beganAt = this.now;
    let id = firstId;
    const step = (event: ProposerEvent): void => {
      for (const effect of machine.step(event)) {
        if (effect.kind === 'prepare' || effect.kind === 'accept') {
          this.call(effect, step);
        } else {
          this.note(effect, id, beganAt, operation.kind);
          onOutcome(effect);
        }
      }
    };
    this.after(0, () => step({ kind: 'start' }));
    return {
      id: () => id,
      next: (appended: number | null, event: ProposerEvent): void => {
        if (event.kind === 'propose') beganAt = this.now;
        id = appended;
        step(event);
      },
    };
  }

  private note(effect: ProposerEffect, id: number | null, beganAt: number, kind: string): void {
    if (effect.kind === 'done') {
      const list = decode(effect.content.value);
      const appended = effect.changed ? id : null;
      this.finished.push({ beganAt, endedAt: this.now, list, version: effect.content.version, appended });
      if (appended !== null) this.counts.appends += 1;
      else if (kind === 'peek') this.counts.peeks += 1;
      else this.counts.reads += 1;
    } else if (effect.kind === 'failed') {
      this.counts.failed += 1;
      if (effect.promised !== null) this.highest = Math.max(this.highest, effect.promised.number);
      if (effect.outcomeUnknown) this.counts.unknown += 1;
      else if (id !== null) this.surelyFailed.add(id);
    }
  }

  private call(
    effect: Extract<ProposerEffect, { node: NodeId }>,
    step: (event: ProposerEvent) => void,
  ): void {
    const { node, ballot } = effect;
    const version = effect.kind === 'accept' ? effect.version : null;
    let answered = false;
    const answer = (event: ProposerEvent): void => {
      if (answered) return;
      answered = true;
      step(event);
    };
    this.after(CALL_TIMEOUT, () => answer({ kind: 'call-failed', node, ballot, version }));
    this.transmit(() => {
      const index = NODES.indexOf(node);
      if (this.now < (this.downUntil[index] as number)) return;
      const event = this.atAcceptor(index, effect);
      this.transmit(() => answer(event));
    });
  }

  private atAcceptor(index: number, effect: Extract<ProposerEffect, { node: NodeId }>): ProposerEvent {
    const before = decodeAcceptor(this.disks[index] as Uint8Array);
    const { node, ballot } = effect;
    if (effect.kind === 'prepare') {
      const { state, reply } = prepare(before, ballot);
      this.persist(index, before, state);
      return { kind: 'prepare-reply', node, ballot, reply };
    }
    const { state, reply } = accept(before, effect);
    this.persist(index, before, state);
    return { kind: 'accept-reply', node, ballot, version: effect.version, reply };
  }

  private persist(index: number, before: AcceptorState, after: AcceptorState): void {
    this.checkStep(before, after);
    this.disks[index] = encodeAcceptor(after);
  }

  private checkStep(before: AcceptorState, after: AcceptorState): void {
    expect(compareEpochs(after.promised, before.promised)).toBeGreaterThanOrEqual(0);
    if (before.acceptedBallot === null) return;
    if (after.acceptedBallot === null) throw new Error('an acceptor forgot what it accepted');
    const byBallot = compareEpochs(after.acceptedBallot, before.acceptedBallot);
    expect(byBallot > 0 || (byBallot === 0 && after.acceptedVersion >= before.acceptedVersion)).toBe(true);
  }

  private transmit(deliver: () => void): void {
    if (this.random.chance(this.network.loss)) return;
    this.after(1 + this.random.below(this.network.maxDelay), deliver);
    if (this.random.chance(this.network.repeat))
      this.after(1 + this.random.below(5 * this.network.maxDelay), deliver);
  }

  private scheduleCrash(untilTime: number): void {
    if (this.network.crashEvery === 0) return;
    this.after(1 + this.random.below(this.network.crashEvery), () => {
      if (this.now > untilTime) return;
      this.downUntil[this.random.below(NODES.length)] = this.now + this.random.below(150);
      this.scheduleCrash(untilTime);
    });
  }

  private after(delay: number, run: () => void): void {
    this.order += 1;
    this.queue.push({ at: this.now + delay, order: this.order, run });
  }
}

function checkLinearizable(simulation: Simulation): void {
  const { finished, surelyFailed } = simulation;
  const byLength = [...finished].sort((a, b) => a.list.length - b.list.length);
  for (const [index, { list, version }] of byLength.entries()) {
    expect(new Set(list).size).toBe(list.length);
    expect(list.filter((id) => surelyFailed.has(id))).toEqual([]);
    const next = byLength[index + 1];
    if (next === undefined) continue;
    expect(next.list.slice(0, list.length)).toEqual(list);
    expect(next.version === version).toBe(next.list.length === list.length);
    expect(next.version).toBeGreaterThanOrEqual(version);
  }
  // What was reported before an operation began is part of what it reports; an append comes after it.
  const byEnd = [...finished].sort((a, b) => a.endedAt - b.endedAt);
  let longestEnded = 0;
  let ended = 0;
  for (const later of [...finished].sort((a, b) => a.beganAt - b.beganAt)) {
    for (; (byEnd[ended]?.endedAt ?? Number.POSITIVE_INFINITY) < later.beganAt; ended += 1) {
      longestEnded = Math.max(longestEnded, byEnd[ended]?.list.length ?? 0);
    }
    if (later.appended !== null) expect(later.list.at(-1)).toBe(later.appended);
    const least = longestEnded + (later.appended === null ? 0 : 1);
    expect(later.list.length).toBeGreaterThanOrEqual(least);
  }
}

const NETWORKS: Readonly<Record<string, Network>> = {
  'a quiet network': { loss: 0, repeat: 0, maxDelay: 3, crashEvery: 0 },
  'a network that loses and repeats': { loss: 0.15, repeat: 0.2, maxDelay: 12, crashEvery: 0 },
  'slow links and acceptors that restart': { loss: 0.03, repeat: 0.1, maxDelay: 22, crashEvery: 60 },
};

describe('a register under many proposers is linearizable', () => {
  it.each(Object.keys(NETWORKS))('over %s', (name) => {
    const total = { appends: 0, reads: 0, peeks: 0, holds: 0, failed: 0, unknown: 0 };
    for (let seed = 1; seed <= 40; seed += 1) {
      const simulation = new Simulation(seed * 7919, NETWORKS[name] as Network);
      simulation.run(2 + (seed % 3), 1200);
      try {
        checkLinearizable(simulation);
      } catch (cause) {
        throw new Error(`seed ${seed * 7919} over ${name}`, { cause });
      }
      for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += simulation.counts[key];
    }
    // The runs must have done something worth checking.
    expect(total.appends).toBeGreaterThan(200);
    expect(total.reads).toBeGreaterThan(100);
    expect(total.peeks).toBeGreaterThan(50);
    if (name !== 'a quiet network') expect(total.unknown).toBeGreaterThan(20);
  });
});

import { describe, expect, it } from 'vitest';
import { type Epoch, NO_EPOCH } from '../../../src/log/epoch.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import { accept, type AcceptorState, EMPTY_ACCEPTOR, prepare } from '../../../src/register/acceptor.ts';
import {
  Proposer,
  type ProposerEffect,
  type ProposerEvent,
  type RegisterOperation,
} from '../../../src/register/proposer.ts';

const NODES = ['a1', 'a2', 'b1', 'b2', 'c1', 'c2'] as NodeId[];
const ballot = (number: number, writerId = 'w'): Epoch => ({ number, writerId });
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** Six acceptors answered at once and in order, those in `down` not at all. */
class Bench {
  readonly states: AcceptorState[] = NODES.map(() => EMPTY_ACCEPTOR);
  readonly down = new Set<number>();
  calls: string[] = [];

  /** What four or more were given directly: committed; fewer: left over from a proposer that died. */
  plant(nodes: readonly number[], number: number, version: number, value: Uint8Array): void {
    for (const node of nodes) {
      const next = accept(this.states[node] as AcceptorState, { ballot: ballot(number), version, value });
      expect(next.reply.accepted).toBe(true);
      this.states[node] = next.state;
    }
  }

  promise(nodes: readonly number[], number: number): void {
    for (const node of nodes)
      this.states[node] = prepare(this.states[node] as AcceptorState, ballot(number)).state;
  }

  run(proposer: Proposer, first: ProposerEvent = { kind: 'start' }): ProposerEffect {
    const events: ProposerEvent[] = [first];
    let outcome: ProposerEffect | null = null;
    for (let event = events.shift(); event !== undefined; event = events.shift()) {
      for (const effect of proposer.step(event)) {
        if (effect.kind === 'done' || effect.kind === 'failed') {
          expect(outcome).toBeNull();
          outcome = effect;
        } else {
          events.push(this.answer(effect));
        }
      }
    }
    expect(outcome).not.toBeNull();
    return outcome as unknown as ProposerEffect;
  }

  private answer(effect: Extract<ProposerEffect, { node: NodeId }>): ProposerEvent {
    const index = NODES.indexOf(effect.node);
    const state = this.states[index] as AcceptorState;
    this.calls.push(effect.kind === 'prepare' && effect.ballot.number === 0 ? 'peek' : effect.kind);
    const { node, ballot: asked } = effect;
    const version = effect.kind === 'accept' ? effect.version : null;
    if (this.down.has(index)) return { kind: 'call-failed', node, ballot: asked, version };
    if (effect.kind === 'prepare') {
      const next = prepare(state, effect.ballot);
      this.states[index] = next.state;
      return { kind: 'prepare-reply', node, ballot: asked, reply: next.reply };
    }
    const next = accept(state, effect);
    this.states[index] = next.state;
    return { kind: 'accept-reply', node, ballot: asked, version: effect.version, reply: next.reply };
  }
}

function proposer(operation: RegisterOperation): Proposer {
  return new Proposer(NODES, operation);
}

const change = (number: number, value: Uint8Array | null): RegisterOperation => ({
  kind: 'change',
  ballot: ballot(number),
  change: () => value,
});

describe('peek', () => {
  it('reports what four hold, without disturbing anybody', () => {
    const bench = new Bench();
    bench.plant([0, 1, 2, 3], 5, 2, bytes(7));
    bench.down.add(4);
    const before = [...bench.states];
    expect(bench.run(proposer({ kind: 'peek' }))).toEqual({
      kind: 'done',
      content: { value: bytes(7), version: 2, ballot: ballot(5) },
      changed: false,
    });
    expect(bench.states).toEqual(before);
  });

  it('reports that nothing is there', () => {
    expect(new Bench().run(proposer({ kind: 'peek' }))).toEqual({
      kind: 'done',
      content: { value: null, version: 0, ballot: NO_EPOCH },
      changed: false,
    });
  });

  it('does not decide what only three hold', () => {
    const bench = new Bench();
    bench.plant([0, 1, 2], 5, 2, bytes(7));
    expect(bench.run(proposer({ kind: 'peek' }))).toMatchObject({
      kind: 'failed',
      code: 'UNDECIDED',
      promised: ballot(5),
    });
  });

  it('needs four answers', () => {
    const bench = new Bench();
    bench.plant([0, 1, 2, 3, 4, 5], 5, 2, bytes(7));
    for (const node of [0, 1, 2]) bench.down.add(node);
    expect(bench.run(proposer({ kind: 'peek' }))).toMatchObject({ kind: 'failed', code: 'NO_QUORUM' });
  });
});

describe('read', () => {
  it('does not go on to a ballot when four agree', () => {
    const bench = new Bench();
    bench.plant([0, 1, 2, 3], 5, 2, bytes(7));
    bench.run(proposer({ kind: 'read', ballot: ballot(9) }));
    expect(new Set(bench.calls)).toEqual(new Set(['peek']));
  });

  it('completes a value that a dead proposer left at fewer than four, under its own ballot', () => {
    const bench = new Bench();
    bench.plant([0, 1, 2, 3], 5, 2, bytes(7));
    bench.plant([3, 4, 5], 6, 3, bytes(8));
    expect(bench.run(proposer({ kind: 'read', ballot: ballot(9) }))).toEqual({
      kind: 'done',
      content: { value: bytes(8), version: 3, ballot: ballot(9) },
      changed: false,
    });
    expect(bench.states.filter((state) => state.acceptedVersion === 3).length).toBeGreaterThanOrEqual(4);
  });

  it('sees that one ballot and version holds two values', () => {
    const bench = new Bench();
    bench.plant([0], 5, 2, bytes(7));
    bench.plant([1], 5, 2, bytes(8));
    expect(bench.run(proposer({ kind: 'read', ballot: ballot(9) }))).toMatchObject({
      kind: 'failed',
      code: 'CORRUPT',
    });
  });
});

describe('change', () => {
  it('proposes the next version of what it learned', () => {
    const bench = new Bench();
    bench.plant([0, 1, 2, 3], 5, 2, bytes(7));
    let seen: unknown = null;
    const outcome = bench.run(
      proposer({
        kind: 'change',
        ballot: ballot(9),
        change: (current) => {
          seen = current;
          return bytes(...(current.value ?? []), 1);
        },
      }),
    );
    expect(seen).toEqual({ value: bytes(7), version: 2, ballot: ballot(5) });
    expect(outcome).toEqual({
      kind: 'done',
      content: { value: bytes(7, 1), version: 3, ballot: ballot(9) },
      changed: true,
    });
  });

  it('goes by the highest ballot, not the highest version', () => {
    const bench = new Bench();
    bench.plant([0], 5, 9, bytes(1));
    bench.plant([1, 2, 3, 4], 6, 2, bytes(2));
    expect(bench.run(proposer(change(9, bytes(3))))).toMatchObject({ kind: 'done', content: { version: 3 } });
  });

  it('left as it is, still completes what it answers with', () => {
    const bench = new Bench();
    bench.plant([0, 1], 5, 1, bytes(7));
    expect(bench.run(proposer(change(9, null)))).toEqual({
      kind: 'done',
      content: { value: bytes(7), version: 1, ballot: ballot(9) },
      changed: false,
    });
    expect(bench.states.filter((state) => state.acceptedBallot?.number === 9).length).toBeGreaterThanOrEqual(
      4,
    );
  });

  it('left as it is, writes nothing when four promises already agree, or nothing is there', () => {
    const bench = new Bench();
    expect(bench.run(proposer(change(2, null)))).toMatchObject({ kind: 'done', content: { version: 0 } });
    bench.plant([0, 1, 2, 3, 4, 5], 5, 1, bytes(7));
    expect(bench.run(proposer(change(9, null)))).toMatchObject({
      kind: 'done',
      content: { ballot: ballot(5) },
    });
    expect(bench.calls).not.toContain('accept');
  });

  it('works with four of six', () => {
    const bench = new Bench();
    bench.down.add(0).add(5);
    expect(bench.run(proposer(change(2, bytes(1))))).toMatchObject({ kind: 'done', changed: true });
  });

  it('with three of six fails and has proposed nothing', () => {
    const bench = new Bench();
    bench.down.add(0).add(1).add(2);
    expect(bench.run(proposer(change(2, bytes(1))))).toMatchObject({
      kind: 'failed',
      code: 'NO_QUORUM',
      outcomeUnknown: false,
    });
    expect(bench.calls).not.toContain('accept');
  });

  it('tells the ballot that stands in its way', () => {
    const bench = new Bench();
    bench.promise([0, 1, 2, 3, 4, 5], 20);
    expect(bench.run(proposer(change(9, bytes(1))))).toMatchObject({
      kind: 'failed',
      code: 'STALE_EPOCH',
      promised: ballot(20),
      outcomeUnknown: false,
    });
  });

  it('overtaken after its promises, does not know what becomes of its value', () => {
    const bench = new Bench();
    const machine = proposer(change(9, bytes(1)));
    const prepares = machine.step({ kind: 'start' });
    const accepts: ProposerEffect[] = [];
    for (const [index, effect] of prepares.entries()) {
      const next = prepare(bench.states[index] as AcceptorState, ballot(9));
      bench.states[index] = next.state;
      if (effect.kind !== 'prepare') throw new Error('prepare expected');
      accepts.push(
        ...machine.step({ kind: 'prepare-reply', node: effect.node, ballot: ballot(9), reply: next.reply }),
      );
    }
    expect(accepts).toHaveLength(6);
    bench.promise([1, 2, 3], 30);
    const outcomes = accepts.flatMap((effect) => {
      if (effect.kind !== 'accept') throw new Error('accept expected');
      const { reply } = accept(bench.states[NODES.indexOf(effect.node)] as AcceptorState, effect);
      return machine.step({ kind: 'accept-reply', node: effect.node, ballot: ballot(9), version: 1, reply });
    });
    expect(outcomes).toEqual([
      expect.objectContaining({
        kind: 'failed',
        code: 'STALE_EPOCH',
        promised: ballot(30),
        outcomeUnknown: true,
      }),
    ]);
  });

  it('counts an acceptor that cannot vote as not reached', () => {
    const machine = proposer(change(9, bytes(1)));
    machine.step({ kind: 'start' });
    const reply = {
      promised: false,
      promisedBallot: null,
      acceptedBallot: null,
      acceptedVersion: 0,
      acceptedValue: bytes(),
      refusal: { code: 'QUARANTINED' as const, message: 'waits for its peers', promised: null },
    };
    const outcomes = NODES.flatMap((node) =>
      machine.step({ kind: 'prepare-reply', node, ballot: ballot(9), reply }),
    );
    expect(outcomes).toEqual([expect.objectContaining({ kind: 'failed', code: 'NO_QUORUM' })]);
    expect(outcomes[0]).toMatchObject({ message: expect.stringContaining('QUARANTINED') });
  });
});

describe('acquire', () => {
  it('holds the register: version after version under one ballot', () => {
    const bench = new Bench();
    bench.plant([0, 1, 2, 3], 5, 2, bytes(7));
    const holder = proposer({ kind: 'acquire', ballot: ballot(9) });
    expect(bench.run(holder)).toMatchObject({
      kind: 'done',
      content: { version: 2, value: bytes(7) },
      changed: false,
    });
    for (const version of [3, 4, 5]) {
      expect(bench.run(holder, { kind: 'propose', value: bytes(version) })).toEqual({
        kind: 'done',
        content: { value: bytes(version), version, ballot: ballot(9) },
        changed: true,
      });
    }
    expect(holder.current.version).toBe(5);
  });

  it('completes what it learned before it holds anything', () => {
    const bench = new Bench();
    bench.plant([5], 5, 1, bytes(7));
    bench.down.add(0);
    bench.down.add(1);
    expect(bench.run(proposer({ kind: 'acquire', ballot: ballot(9) }))).toMatchObject({
      kind: 'done',
      content: { value: bytes(7), version: 1, ballot: ballot(9) },
    });
  });

  it('goes on after a time without a quorum, with the very same value', () => {
    const bench = new Bench();
    const holder = proposer({ kind: 'acquire', ballot: ballot(9) });
    bench.run(holder);
    for (const node of [0, 1, 2]) bench.down.add(node);
    expect(bench.run(holder, { kind: 'propose', value: bytes(1) })).toMatchObject({
      kind: 'failed',
      code: 'NO_QUORUM',
      outcomeUnknown: true,
    });
    expect(() => holder.step({ kind: 'propose', value: bytes(2) })).toThrow(/propose while/);
    bench.down.delete(1);
    bench.calls = [];
    expect(bench.run(holder, { kind: 'retry' })).toMatchObject({
      kind: 'done',
      content: { version: 1, value: bytes(1) },
    });
    expect(bench.calls).toHaveLength(3);
  });

  it('knows the outcome no better when all refuse a value that one of them had taken before', () => {
    const bench = new Bench();
    const holder = proposer({ kind: 'acquire', ballot: ballot(9) });
    bench.run(holder);
    for (const node of [0, 1, 2, 3, 4]) bench.down.add(node);
    bench.run(holder, { kind: 'propose', value: bytes(1) });
    bench.promise([0, 1, 2, 3, 4, 5], 10);
    bench.down.clear();
    expect(bench.states[5]?.value).toEqual(bytes(1));
    expect(bench.run(holder, { kind: 'retry' })).toMatchObject({ code: 'STALE_EPOCH', outcomeUnknown: true });
  });

  it('is told when a newer epoch has been won', () => {
    const bench = new Bench();
    const old = proposer({ kind: 'acquire', ballot: ballot(9) });
    bench.run(old);
    bench.run(proposer({ kind: 'acquire', ballot: ballot(10) }));
    expect(bench.run(old, { kind: 'propose', value: bytes(1) })).toMatchObject({
      kind: 'failed',
      code: 'STALE_EPOCH',
      promised: ballot(10),
    });
  });
});

describe('the machine', () => {
  it('passes over answers that come twice, late, from strangers, or to another question', () => {
    const machine = proposer(change(9, bytes(1)));
    machine.step({ kind: 'start' });
    const { reply } = prepare(EMPTY_ACCEPTOR, ballot(9));
    const [node] = NODES as [NodeId];
    for (let i = 0; i < 8; i += 1) {
      expect(machine.step({ kind: 'prepare-reply', node, ballot: ballot(9), reply })).toEqual([]);
    }
    expect(machine.step({ kind: 'prepare-reply', node: 'x' as NodeId, ballot: ballot(9), reply })).toEqual(
      [],
    );
    for (const other of NODES.slice(1)) {
      expect(machine.step({ kind: 'prepare-reply', node: other, ballot: NO_EPOCH, reply })).toEqual([]);
      expect(machine.step({ kind: 'call-failed', node: other, ballot: ballot(9), version: 1 })).toEqual([]);
    }
    for (const other of NODES.slice(1, 3))
      machine.step({ kind: 'prepare-reply', node: other, ballot: ballot(9), reply });
    const accepts = machine.step({
      kind: 'prepare-reply',
      node: NODES[3] as NodeId,
      ballot: ballot(9),
      reply,
    });
    expect(accepts).toHaveLength(6);
    const yes = { accepted: true, promisedBallot: ballot(9), refusal: null };
    for (let i = 0; i < 8; i += 1) {
      expect(machine.step({ kind: 'accept-reply', node, ballot: ballot(9), version: 1, reply: yes })).toEqual(
        [],
      );
    }
    for (const other of NODES.slice(1)) {
      expect(
        machine.step({ kind: 'accept-reply', node: other, ballot: ballot(9), version: 2, reply: yes }),
      ).toEqual([]);
      expect(
        machine.step({ kind: 'accept-reply', node: other, ballot: ballot(8), version: 1, reply: yes }),
      ).toEqual([]);
    }
  });

  it('refuses to be misused', () => {
    expect(() => proposer({ kind: 'read', ballot: NO_EPOCH })).toThrow(/not a ballot/);
    expect(() => new Proposer(NODES.slice(1), { kind: 'peek' })).toThrow(/6 different/);
    const machine = proposer({ kind: 'peek' });
    machine.step({ kind: 'start' });
    expect(() => machine.step({ kind: 'start' })).toThrow(/start while/);
    expect(() => machine.step({ kind: 'retry' })).toThrow(/retry while/);
  });
});

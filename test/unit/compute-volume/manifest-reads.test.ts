/** Who only reads a manifest leaves its writer alone: the register's ballot is the writer's epoch. */
import { describe, expect, it } from 'vitest';
import { Registers, type StorageNodeClients } from '../../../compute-node/driver/registers.ts';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { nodeRandom } from '../../../src/adapters/random.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { EMPTY_ACCEPTOR, type AcceptorState, accept, prepare } from '../../../src/register/acceptor.ts';
import type { Epoch } from '../../../src/log/epoch.ts';
import type { NodeId, VolumeId } from '../../../src/log/lsn.ts';
import type { RegisterAcceptRequest, RegisterPrepareRequest } from '../../../src/messages/messages.ts';

const NODES = ['a', 'b', 'c', 'd', 'e', 'f'] as readonly string[] as readonly NodeId[];
const EPOCH: Epoch = { number: 7, writerId: 'writer' };
const PLACE = { members: NODES, generation: 0 };

/** Acceptors that hold version 1 of a writer's manifest; version 2 is on `reached` of them. */
function acceptors(reached: number) {
  const states = new Map<NodeId, AcceptorState>();
  const put = (node: NodeId, version: number): void => {
    const request = { clusterId: 'c', key: 'k', ballot: EPOCH, version, value: Uint8Array.of(version) };
    states.set(node, accept(states.get(node) ?? EMPTY_ACCEPTOR, request).state);
  };
  for (const node of NODES) put(node, 1);
  for (const node of NODES.slice(0, reached)) put(node, 2);
  let peeks = 0;
  const clients = new Map(
    NODES.map((node) => {
      const call = async (method: string, request: RegisterPrepareRequest | RegisterAcceptRequest) => {
        peeks += 1;
        const state = states.get(node) ?? EMPTY_ACCEPTOR;
        const next =
          method === 'registerPrepare'
            ? prepare(state, request.ballot)
            : accept(state, request as RegisterAcceptRequest);
        states.set(node, next.state);
        return next.reply;
      };
      return [node, { nodeId: node, call }];
    }),
  ) as unknown as StorageNodeClients;
  const options = { clients, clusterId: 'c', random: nodeRandom, clock: nodeClock, timers: nodeTimers };
  return {
    read: () => new Registers(options).readVolume('manifest', 'vol' as VolumeId, PLACE),
    put,
    promises: () => NODES.map((node) => states.get(node)?.promised.number),
    peeks: () => peeks,
  };
}

describe('a manifest that is read', () => {
  it('in the middle of a change is waited for, and its writer keeps its epoch', async () => {
    const { read, put, promises, peeks } = acceptors(3);
    const reading = read();
    while (peeks() < 12) await new Promise((resolve) => setTimeout(resolve, 1));
    put(NODES[3] as NodeId, 2);
    const { content } = await reading;
    expect(content.value).toEqual(Uint8Array.of(2));
    expect(promises()).toEqual([7, 7, 7, 7, 7, 7]);
  });

  it('and that nobody completes is completed in the end', async () => {
    const { read, promises } = acceptors(3);
    const { content } = await read();
    expect(content.value).toEqual(Uint8Array.of(2));
    expect(Math.min(...promises().map(Number))).toBeGreaterThan(7);
  });
});

/** Many registers with one question: only what is committed is told, and what the answers leave open is asked for by itself. */
import { describe, expect, it } from 'vitest';
import { scanRegisters } from '../../../compute-node/driver/register-scan.ts';
import type { Registers, StorageNodeClients } from '../../../compute-node/driver/registers.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import type { AcceptedRegister, RegisterScanRequest } from '../../../src/messages/messages.ts';

const NODES = ['a', 'b', 'c', 'd', 'e', 'f'] as readonly string[] as readonly NodeId[];

function accepted(key: string, number: number): AcceptedRegister {
  return { key, ballot: { number, writerId: 'p' }, version: 1, value: Uint8Array.of(number) };
}

/** `holds`: per node, what it has accepted; null: it does not answer. Two entries a reply. */
function cluster(holds: readonly (readonly AcceptedRegister[] | null)[]) {
  const reads: string[] = [];
  const clients = new Map(
    NODES.map((node, index) => {
      const call = async (_method: string, { after }: RegisterScanRequest) => {
        const entries = holds[index];
        if (entries == null) throw new TidemarkError('UNAVAILABLE', 'down');
        const rest = entries.filter(({ key }) => key > after);
        return { entries: rest.slice(0, 2), done: rest.length <= 2, refusal: null };
      };
      return [node, { call }];
    }),
  ) as unknown as StorageNodeClients;
  const registers = {
    read: async (key: string) => {
      reads.push(key);
      return { value: Uint8Array.of(99), version: 1, ballot: { number: 9, writerId: 'p' } };
    },
  } as unknown as Registers;
  const scan = () => scanRegisters({ registers, clients, clusterId: 'c', members: NODES }, 'name/');
  return { scan, reads };
}

describe('a scan of registers', () => {
  it('takes what four nodes agree on, and reads the rest one by one', async () => {
    const [a, b, c] = [accepted('name/a', 1), accepted('name/b', 1), accepted('name/c', 1)];
    const newer = accepted('name/b', 2);
    const { scan, reads } = cluster([[a, b, c], [a, b, c], [a, b, c], [a, newer, c], [a, newer, c], [a]]);
    const found = await scan();
    expect([...found].map(([key, value]) => [key, value[0]])).toEqual([
      ['name/a', 1],
      ['name/b', 99],
      ['name/c', 1],
    ]);
    expect(reads).toEqual(['name/b']);
  });

  it('reads what only three hold: the others may not have been told', async () => {
    const a = accepted('name/a', 1);
    const { scan, reads } = cluster([[a], [a], [a], [], null, null]);
    expect((await scan()).get('name/a')?.[0]).toBe(99);
    expect(reads).toEqual(['name/a']);
  });

  it('says nothing when a committed register could be hidden from it', async () => {
    const a = accepted('name/a', 1);
    await expect(cluster([[a], [a], null, null, null, null]).scan()).rejects.toMatchObject({
      code: 'NO_QUORUM',
    });
  });
});

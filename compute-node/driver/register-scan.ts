/**
 * Many registers at once: every committed register of one kind, with one question to each of the six nodes instead of one read per register.
 *
 * Four nodes that hold the same (ballot, version) of a register prove that it is committed, as in a peek. A register of which the answers
 * do not show that is read by itself, so that what is returned is always committed.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { AcceptedRegister } from '../../src/messages/messages.ts';
import { READ_QUORUM, WRITE_QUORUM } from '../../src/quorum/quorum.ts';
import type { Registers, StorageNodeClients } from './registers.ts';

const CALL_TIMEOUT_MS = 2_000;
const REPLY_BYTES = 512 * 1024;
/** Registers read by themselves at a time. */
const READ_CONCURRENCY = 16;

export interface ScanOptions {
  readonly registers: Registers;
  readonly clients: StorageNodeClients;
  readonly clusterId: string;
  readonly members: readonly NodeId[];
}

export interface ScanFilter {
  readonly isWanted?: (key: string) => boolean;
  /** False: what the answers do not show is left out. To read a manifest by itself may end its writer's term. */
  readonly isDisturbing?: boolean;
}

/** Key → committed value, by key; of registers that `members` keep. Rejects NO_QUORUM when fewer than three nodes answer: a committed register might be on none of those. */
export async function scanRegisters(
  options: ScanOptions,
  prefix: string,
  { isWanted = () => true, isDisturbing = true }: ScanFilter = {},
): Promise<ReadonlyMap<string, Uint8Array>> {
  const { members, registers } = options;
  const answers = await Promise.allSettled(members.map((node) => scanNode(options, node, prefix)));
  const lists = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  if (lists.length < READ_QUORUM) throw tooFew(lists.length, prefix);
  const committed = new Map<string, Uint8Array>();
  const unclear: string[] = [];
  for (const [key, copies] of byKey(lists)) {
    if (!isWanted(key)) continue;
    const value = agreedValue(copies);
    if (value === null) unclear.push(key);
    else committed.set(key, value);
  }
  for (let at = 0; isDisturbing && at < unclear.length; at += READ_CONCURRENCY) {
    const keys = unclear.slice(at, at + READ_CONCURRENCY);
    const contents = await Promise.all(keys.map((key) => registers.read(key, members)));
    for (const [index, { value }] of contents.entries())
      if (value !== null) committed.set(keys[index] as string, value);
  }
  return new Map([...committed].sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function scanNode(
  { clients, clusterId }: ScanOptions,
  node: NodeId,
  prefix: string,
): Promise<readonly AcceptedRegister[]> {
  const client = clients.get(node);
  if (client === undefined) throw new TidemarkError('UNAVAILABLE', `no storage node ${node} is configured`);
  const found: AcceptedRegister[] = [];
  for (;;) {
    const after = found.at(-1)?.key ?? '';
    const request = { clusterId, prefix, after, maxBytes: REPLY_BYTES };
    const reply = await client.call('registerScan', request, { timeoutMs: CALL_TIMEOUT_MS });
    if (reply.refusal !== null)
      throw new TidemarkError(reply.refusal.code, `${node}: ${reply.refusal.message}`);
    found.push(...reply.entries);
    if (reply.done || reply.entries.length === 0) return found;
  }
}

function byKey(lists: readonly (readonly AcceptedRegister[])[]): Map<string, AcceptedRegister[]> {
  const copies = new Map<string, AcceptedRegister[]>();
  for (const entry of lists.flat()) {
    const known = copies.get(entry.key);
    if (known === undefined) copies.set(entry.key, [entry]);
    else known.push(entry);
  }
  return copies;
}

/** The value that four nodes hold under one (ballot, version); null: there is none such. */
function agreedValue(copies: readonly AcceptedRegister[]): Uint8Array | null {
  const counts = new Map<string, number>();
  for (const { ballot, version, value } of copies) {
    const accepted = `${ballot.number}/${ballot.writerId}/${version}`;
    const count = (counts.get(accepted) ?? 0) + 1;
    if (count >= WRITE_QUORUM) return value;
    counts.set(accepted, count);
  }
  return null;
}

function tooFew(answered: number, prefix: string): TidemarkError {
  return new TidemarkError(
    'NO_QUORUM',
    `${answered} of three needed storage nodes listed their registers ${prefix}*`,
    {
      nextStep: 'Start the storage nodes that did not answer, or check the network to them, then try again.',
    },
  );
}

/**
 * Which records are really on which disks. Kept by looking at what reaches the simulated disks, not at what anyone says: an acknowledged commit
 * whose records have not been on four disks of their PG was acknowledged too early, whether or not a crash follows.
 */
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { ENVELOPE_BYTES } from '../../../src/base/envelope.ts';
import type { KvOp } from '../../../src/env/env.ts';
import { decodeBoxcar } from '../../../src/log/codec.ts';
import type { Lsn, NodeId, PgIndex, VolumeId } from '../../../src/log/lsn.ts';
import { decodeOps, ENTRY_HEADER_BYTES } from '../../../storage-node/adapters/journal-entry.ts';
import { KIND } from '../../../storage-node/core/keys.ts';
import { textOf } from '../disk/kv.ts';

const PAYLOAD_LENGTH_AT = 40;

interface Content {
  /** `volume/pg` */
  readonly segment: string;
  readonly lsns: readonly Lsn[];
}

export class Durability {
  /** `node volume/pg` → LSNs that have been on the node's disk. */
  readonly #held = new Map<string, Set<Lsn>>();
  /** What a chunk holds, by its key and the checksum in front of it: the same one comes to six nodes, twice to each. */
  readonly #contents = new Map<string, Content>();

  onEntrySynced(node: NodeId, entry: Uint8Array): void {
    const view = new DataView(entry.buffer, entry.byteOffset, entry.length);
    const payloadBytes = view.getUint32(PAYLOAD_LENGTH_AT, true);
    const payload = entry.subarray(ENTRY_HEADER_BYTES, ENTRY_HEADER_BYTES + payloadBytes);
    for (const op of decodeOps(payload)) {
      if (op.kind === 'home' && op.value !== null) this.#note(node, op.key, op.value);
    }
  }

  onStoreSynced(node: NodeId, ops: readonly KvOp[]): void {
    for (const op of ops) if (op.type === 'put') this.#note(node, op.key, op.value);
  }

  /** How many of `members` have had the record on disk. */
  count(volume: VolumeId, pg: PgIndex, lsn: Lsn, members: readonly NodeId[]): number {
    let count = 0;
    for (const member of members)
      if (this.#held.get(`${member} ${volume}/${pg}`)?.has(lsn) === true) count += 1;
    return count;
  }

  #note(node: NodeId, key: Uint8Array, value: Uint8Array): void {
    if (key[0] !== KIND.chunk) return;
    const { segment, lsns } = this.#contentOf(key, value);
    const name = `${node} ${segment}`;
    let held = this.#held.get(name);
    if (held === undefined) {
      held = new Set();
      this.#held.set(name, held);
    }
    for (const lsn of lsns) held.add(lsn);
  }

  #contentOf(key: Uint8Array, value: Uint8Array): Content {
    const name = `${textOf(key)} ${value.length} ${textOf(value.subarray(0, ENVELOPE_BYTES))}`;
    let content = this.#contents.get(name);
    if (content === undefined) {
      const { volume, pg, records } = decodeBoxcar(value, nodeCrc32);
      content = { segment: `${volume}/${pg}`, lsns: records.map(({ lsn }) => lsn) };
      this.#contents.set(name, content);
    }
    return content;
  }
}

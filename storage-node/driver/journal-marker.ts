/**
 * The store's memory of the journal: the number of the newest entry whose home ops it was given. Should the journal's last entries be
 * missing at a start, this tells damage from a torn tail (journal-recovery.ts). Its key lies outside the core's.
 */
import type { KvStore } from '../../src/env/env.ts';
import type { StoreWriter } from './store-writer.ts';

const MARKER_KEY = Uint8Array.of(0xff, 0x6a);

export function writeMarker(storeWriter: StoreWriter, sequence: number): void {
  const value = new Uint8Array(8);
  new DataView(value.buffer).setBigUint64(0, BigInt(sequence));
  storeWriter.put([{ type: 'put', key: MARKER_KEY, value }]);
}

/** 0: none yet. A damaged one counts as none: it is a witness, not a source. */
export async function readMarker(store: KvStore): Promise<number> {
  const value = await store.get(MARKER_KEY);
  if (value?.length !== 8) return 0;
  const sequence = Number(new DataView(value.buffer, value.byteOffset, 8).getBigUint64(0));
  return Number.isSafeInteger(sequence) ? sequence : 0;
}

/**
 * MTRs on their way from the SQL worker to the main thread: many changes in one buffer that is transferred, not copied. Never leaves
 * the process, so it carries no version and no checksum.
 *
 *     change: page (u32) · kind (u8: 0 delta, 1 image) · body length (u32) · body
 */
import { toPageNumber } from '../../src/log/lsn.ts';
import type { PageChange } from '../../src/log/record.ts';

const HEADER_BYTES = 9;

export function packChanges(changes: readonly PageChange[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const change of changes) length += HEADER_BYTES + change.body.length;
  const packed = new Uint8Array(length);
  const view = new DataView(packed.buffer);
  let at = 0;
  for (const { page, kind, body } of changes) {
    view.setUint32(at, page);
    view.setUint8(at + 4, kind === 'image' ? 1 : 0);
    view.setUint32(at + 5, body.length);
    packed.set(body, at + HEADER_BYTES);
    at += HEADER_BYTES + body.length;
  }
  return packed;
}

/** The bodies are views into `packed`, which nobody writes to any more. */
export function unpackChanges(packed: Uint8Array): PageChange[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const changes: PageChange[] = [];
  let at = 0;
  while (at < packed.length) {
    const page = toPageNumber(view.getUint32(at));
    const kind = view.getUint8(at + 4) === 1 ? 'image' : 'delta';
    const length = view.getUint32(at + 5);
    at += HEADER_BYTES;
    changes.push({ page, kind, body: packed.subarray(at, at + length) });
    at += length;
  }
  return changes;
}

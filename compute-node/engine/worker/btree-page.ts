/** The little that read-ahead must know of SQLite's file format: an interior b-tree page lists its children in key order. */

const INTERIOR_INDEX = 0x02;
const INTERIOR_TABLE = 0x05;
const FILE_HEADER_BYTES = 100;

export function isInteriorPage(page: number, data: Uint8Array): boolean {
  const type = data[page === 1 ? FILE_HEADER_BYTES : 0];
  return type === INTERIOR_TABLE || type === INTERIOR_INDEX;
}

/**
 * Children from first to last; empty when the page does not make sense. Pages of other kinds can look like interior ones: the answer
 * is a hint only.
 */
export function childrenOf(page: number, data: Uint8Array): number[] {
  if (!isInteriorPage(page, data)) return [];
  const header = page === 1 ? FILE_HEADER_BYTES : 0;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const cells = view.getUint16(header + 3);
  if (header + 12 + cells * 2 > data.length) return [];
  const children: number[] = [];
  for (let i = 0; i < cells; i += 1) {
    const cell = view.getUint16(header + 12 + i * 2);
    if (cell + 4 > data.length) return [];
    children.push(view.getUint32(cell));
  }
  children.push(view.getUint32(header + 8));
  return children;
}

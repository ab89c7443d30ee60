/**
 * A journal disk in memory for tests: what is durable is in `image`, and a power cut can be placed into any write, tearing it at any byte.
 */
import { GUARD_COPIES, type GuardCopy, type JournalDisk } from '../../storage-node/adapters/journal-disk.ts';

export interface JournalImage {
  readonly ring: Uint8Array;
  readonly guards: ReadonlyMap<GuardCopy, Uint8Array>;
}

export function emptyImage(ringBytes: number): JournalImage {
  return { ring: new Uint8Array(ringBytes), guards: new Map() };
}

export function copyImage(image: JournalImage): JournalImage {
  return { ring: image.ring.slice(), guards: new Map([...image.guards].map(([k, v]) => [k, v.slice()])) };
}

/** Called before each write takes effect; returns how many of its bytes reach the disk when the power is cut in it, null: it succeeds. */
export type PowerCut = (write: {
  readonly target: 'ring' | GuardCopy;
  readonly sizeBytes: number;
}) => number | null;

export class MemoryJournalDisk implements JournalDisk {
  readonly isNew: boolean;
  readonly #ring: Uint8Array;
  readonly #guards: Map<GuardCopy, Uint8Array>;
  #isDead = false;
  powerCut: PowerCut = () => null;
  unreadable: { readonly from: number; readonly to: number } | null = null;
  ringWrites = 0;

  constructor(image: JournalImage, isNew = false) {
    this.#ring = image.ring.slice();
    this.#guards = new Map(image.guards);
    this.isNew = isNew;
  }

  get ringBytes(): number {
    return this.#ring.length;
  }

  image(): JournalImage {
    return copyImage({ ring: this.#ring, guards: this.#guards });
  }

  async readRing(offset: number, lengthBytes: number): Promise<Uint8Array> {
    const bad = this.unreadable;
    if (bad !== null && offset < bad.to && offset + lengthBytes > bad.from) throw new Error('EIO');
    return this.#ring.slice(offset, offset + lengthBytes);
  }

  async writeRing(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#arrive('ring', bytes.length, (reached) => this.#ring.set(bytes.subarray(0, reached), offset));
    this.ringWrites += 1;
  }

  async readGuard(copy: GuardCopy): Promise<Uint8Array | null> {
    return this.#guards.get(copy)?.slice() ?? null;
  }

  async replaceGuard(copy: GuardCopy, bytes: Uint8Array): Promise<void> {
    await this.#arrive(copy, bytes.length, (reached) => {
      // A rename: all or nothing.
      if (reached === bytes.length) this.#guards.set(copy, bytes.slice());
    });
  }

  async close(): Promise<void> {}

  async #arrive(
    target: 'ring' | GuardCopy,
    sizeBytes: number,
    apply: (reached: number) => void,
  ): Promise<void> {
    if (this.#isDead) await new Promise(() => {});
    const reached = this.powerCut({ target, sizeBytes });
    await Promise.resolve();
    apply(reached ?? sizeBytes);
    if (reached === null) return;
    // The power is gone: nothing that follows happens.
    this.#isDead = true;
    await new Promise(() => {});
  }
}

export { GUARD_COPIES };

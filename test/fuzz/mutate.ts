/** Ways in which bytes and JSON go wrong: what a bad disk, a bad network, another version or a hostile client may send. */
import type { SeededRandom } from '../support/seeded-random.ts';

/** Lengths and numbers at which codecs have their edges. */
const EDGES = [0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10000] as const;
const EDGE_NUMBERS = [
  0,
  -0,
  -1,
  1,
  0.5,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  -(2 ** 53),
  1e308,
] as const;
const TEXTS = [
  '',
  'a',
  '__proto__',
  'constructor',
  '\u0000',
  '\ud800',
  'x'.repeat(300),
  '-1',
  '1e999',
  'null',
] as const;

/** One to a few changes; sometimes none, so that what is sound is seen to be taken. */
export function mutateBytes(random: SeededRandom, bytes: Uint8Array): Uint8Array {
  if (random.chance(0.05)) return bytes;
  let mutated: Uint8Array = new Uint8Array(bytes);
  for (let changes = 1 + random.below(4); changes > 0; changes -= 1) mutated = changeBytes(random, mutated);
  return mutated;
}

function changeBytes(random: SeededRandom, bytes: Uint8Array): Uint8Array {
  const at = random.below(bytes.length + 1);
  switch (random.below(9)) {
    case 0: // a flipped bit
    case 1:
      return replaced(bytes, at, (byte) => byte ^ (1 << random.below(8)));
    case 2: // another byte
      return replaced(bytes, at, () => random.below(256));
    case 3: // cut off
      return bytes.slice(0, at);
    case 4: // a piece left out
      return joined(bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(16)));
    case 5: // a piece twice
      return joined(bytes.subarray(0, at), bytes.subarray(at - random.below(Math.min(at, 64) + 1)));
    case 6: // noise put in
      return joined(bytes.subarray(0, at), noise(random, random.below(16)), bytes.subarray(at));
    case 7: {
      // an edge number over what stands there
      const edge = random.pick(EDGES);
      const wide = Uint8Array.of(edge & 0xff, edge >>> 8, edge >>> 16, 0);
      if (random.chance(0.5)) wide.reverse();
      return joined(bytes.subarray(0, at), wide.subarray(0, 1 + random.below(4)), bytes.subarray(at + 4));
    }
    default: // all ones over a stretch
      return joined(
        bytes.subarray(0, at),
        new Uint8Array(random.below(9)).fill(0xff),
        bytes.subarray(at + 8),
      );
  }
}

export function noise(random: SeededRandom, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

/** The same value with something in it exchanged, left out or added. */
export function mutateJson(random: SeededRandom, value: unknown): unknown {
  if (random.chance(0.1)) return value;
  let mutated = value;
  for (let changes = 1 + random.below(3); changes > 0; changes -= 1) mutated = changeJson(random, mutated, 0);
  return mutated;
}

function changeJson(random: SeededRandom, value: unknown, depth: number): unknown {
  const goDeeper = depth < 12 && random.chance(0.8);
  if (Array.isArray(value) && value.length > 0 && goDeeper) {
    const at = random.below(value.length);
    const copy = [...(value as unknown[])];
    if (random.chance(0.2)) copy.splice(at, 1);
    else if (random.chance(0.1)) copy.splice(at, 0, copy[at]);
    else copy[at] = changeJson(random, copy[at], depth + 1);
    return copy;
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && goDeeper) {
    const entries = Object.entries(value);
    if (entries.length === 0) return { [random.pick(TEXTS)]: strangeJson(random) };
    const at = random.below(entries.length);
    const [key, inner] = entries[at] as [string, unknown];
    if (random.chance(0.15)) entries.splice(at, 1);
    else if (random.chance(0.1)) entries[at] = [random.pick(TEXTS), inner];
    else entries[at] = [key, changeJson(random, inner, depth + 1)];
    return Object.fromEntries(entries);
  }
  return strangeJson(random);
}

export function strangeJson(random: SeededRandom): unknown {
  switch (random.below(8)) {
    case 0:
      return null;
    case 1:
      return random.chance(0.5);
    case 2:
      return random.pick(EDGE_NUMBERS);
    case 3:
      return random.pick(TEXTS);
    case 4:
      return [];
    case 5:
      return {};
    case 6:
      return nested(1 + random.below(60));
    default:
      return Array.from({ length: random.below(20) }, () => random.pick(EDGE_NUMBERS));
  }
}

function nested(depth: number): unknown {
  let value: unknown = 0;
  for (let i = 0; i < depth; i += 1) value = i % 2 === 0 ? [value] : { type: 'and', conds: [value] };
  return value;
}

function replaced(bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  const copy = new Uint8Array(bytes);
  if (at < copy.length) copy[at] = change(copy[at] as number);
  return copy;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

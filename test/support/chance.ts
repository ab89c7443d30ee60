/** Numbers in [0, 1) from a seed: xorshift32, warmed up. */
export function chanceFrom(seed: number): () => number {
  let state = (seed * 7919 + 1) >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
  for (let i = 0; i < 10; i += 1) next();
  return next;
}

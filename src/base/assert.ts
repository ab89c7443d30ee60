/**
 * Assertions: a broken invariant is a bug of ours, never something a network, a disk or a client can cause.
 * It throws `AssertionError`; a process that meets one stops (see the mains), because its memory can no longer be trusted.
 */

export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Exhaustiveness check for tagged unions. */
export function assertNever(value: never, what: string): never {
  throw new AssertionError(`unexpected ${what}: ${JSON.stringify(value)}`);
}

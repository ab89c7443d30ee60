/** Optional bearer token of the whole compute node, compared in constant time. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { SessionError } from '../session/errors.ts';

export class Auth {
  readonly #digest: Uint8Array | null;

  /** Null: everybody may. */
  constructor(token: string | null) {
    this.#digest = token === null ? null : digest(token);
  }

  get isRequired(): boolean {
    return this.#digest !== null;
  }

  /** `header`: the value of Authorization. Throws UNAUTHORIZED. */
  checkHeader(header: string | undefined): void {
    if (this.#digest === null) return;
    const match = /^Bearer +(\S+)$/i.exec(header ?? '');
    this.checkToken(match?.[1]);
  }

  /** Throws UNAUTHORIZED. */
  checkToken(token: string | undefined | null): void {
    if (this.#digest === null) return;
    if (token == null) {
      throw new SessionError(
        'UNAUTHORIZED',
        'a token is needed here',
        'send it as Authorization: Bearer TOKEN (authToken in clients)',
      );
    }
    if (!timingSafeEqual(digest(token), this.#digest)) {
      throw new SessionError(
        'UNAUTHORIZED',
        'the token is wrong',
        "use the token of the compute node's configuration",
      );
    }
  }
}

/** Digests have one length, whatever the token's: comparing them tells nothing about it. */
function digest(token: string): Uint8Array {
  return createHash('sha256').update(token).digest();
}

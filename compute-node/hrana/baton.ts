/**
 * Batons: what a client shows to go on with a stream over HTTP. Each names a stream and one turn of it, under an HMAC with a key that
 * lives as long as the process: no one else can make one, and none is good for a second request.
 *
 *   stream (8 bytes) · turn (8 bytes) · HMAC-SHA256 of both (32 bytes), in base64url
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { SessionError } from '../session/errors.ts';

const PAYLOAD_BYTES = 16;
const MAC_BYTES = 32;

export interface BatonClaim {
  readonly stream: bigint;
  readonly turn: bigint;
}

export class Batons {
  readonly #key: Uint8Array;

  /** `key`: 32 random bytes. */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  write(claim: BatonClaim): string {
    const payload = Buffer.alloc(PAYLOAD_BYTES);
    payload.writeBigUInt64BE(claim.stream, 0);
    payload.writeBigUInt64BE(claim.turn, 8);
    return Buffer.concat([payload, this.#mac(payload)]).toString('base64url');
  }

  /** Throws BATON_INVALID. */
  read(baton: string): BatonClaim {
    const bytes = Buffer.from(baton, 'base64url');
    const payload = bytes.subarray(0, PAYLOAD_BYTES);
    if (
      bytes.length !== PAYLOAD_BYTES + MAC_BYTES ||
      !timingSafeEqual(bytes.subarray(PAYLOAD_BYTES), this.#mac(payload))
    ) {
      throw invalidBaton();
    }
    return { stream: payload.readBigUInt64BE(0), turn: payload.readBigUInt64BE(8) };
  }

  #mac(payload: Uint8Array): Buffer {
    return createHmac('sha256', this.#key).update(payload).digest();
  }
}

export function invalidBaton(): SessionError {
  return new SessionError(
    'BATON_INVALID',
    'the baton names no stream of this server',
    'the server may have been restarted; open a new stream by sending no baton, and begin the transaction again',
  );
}

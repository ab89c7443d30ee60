/** SQL values in Hrana's JSON: integers as strings, blobs as base64. */
import type { SqlValue } from '../../compute-node/engine/api.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { base64 } from '../shell/values.ts';

export type HranaValue =
  | { readonly type: 'null' }
  | { readonly type: 'integer'; readonly value: string }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'text'; readonly value: string }
  | { readonly type: 'blob'; readonly base64: string };

export function toHrana(value: SqlValue): HranaValue {
  if (value === null) return { type: 'null' };
  if (typeof value === 'bigint') return { type: 'integer', value: value.toString() };
  if (typeof value === 'number') return { type: 'float', value };
  if (typeof value === 'string') return { type: 'text', value };
  return { type: 'blob', base64: base64(value) };
}

export function fromHrana(value: HranaValue): SqlValue {
  switch (value.type) {
    case 'null':
      return null;
    case 'integer':
      return BigInt(value.value);
    case 'float':
      return value.value;
    case 'text':
      return value.value;
    case 'blob':
      return new Uint8Array(Buffer.from(value.base64, 'base64'));
    default:
      throw new TidemarkError(
        'BAD_REQUEST',
        `the server sent a value of unknown type: ${JSON.stringify(value)}`,
        {
          nextStep: 'Use a `tidemark` command of the same version as the compute node.',
        },
      );
  }
}

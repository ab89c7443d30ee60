/**
 * gRPC statuses ↔ our errors. Refusals of the protocol are replies and never pass here: a status says that the exchange itself failed.
 */
import { type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorCode, TidemarkError } from '../../base/errors.ts';

const CODE_OF_STATUS: Readonly<Partial<Record<status, ErrorCode>>> = {
  [status.CANCELLED]: 'UNAVAILABLE',
  [status.UNAVAILABLE]: 'UNAVAILABLE',
  [status.DEADLINE_EXCEEDED]: 'TIMEOUT',
  [status.INVALID_ARGUMENT]: 'BAD_REQUEST',
  [status.RESOURCE_EXHAUSTED]: 'TOO_LARGE',
  [status.UNIMPLEMENTED]: 'UNSUPPORTED',
};

const NEXT_STEP: Readonly<Partial<Record<ErrorCode, string>>> = {
  UNAVAILABLE: 'Check that the storage node runs and that its address is reachable from here.',
  TIMEOUT: 'The storage node is reachable but slow, or cut off: check its load and the network.',
  UNSUPPORTED: 'The other process runs an older build: upgrade it.',
};

/** What a caller sees when an exchange with `peer` failed underneath the protocol. */
export function errorOfStatus(peer: string, error: Partial<ServiceError>): TidemarkError {
  const code = CODE_OF_STATUS[error.code ?? status.UNKNOWN] ?? 'INTERNAL';
  const nextStep = NEXT_STEP[code];
  const what = error.details || error.message || 'no reason given';
  return new TidemarkError(code, `storage node ${peer}: ${what}`, {
    cause: error,
    ...(nextStep === undefined ? {} : { nextStep }),
  });
}

/** The status with which a server ends an exchange because of `error`. */
export function statusOfError(error: TidemarkError): { readonly code: status; readonly details: string } {
  return {
    code: error.code === 'BAD_REQUEST' ? status.INVALID_ARGUMENT : status.INTERNAL,
    details: error.message,
  };
}

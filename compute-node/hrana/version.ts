/** Versions of Hrana, and what each of them brought (HRANA_1_SPEC, HRANA_2_SPEC, HRANA_3_SPEC of libSQL). */
import { ProtocolError } from './protocol-error.ts';

export type HranaVersion = 1 | 2 | 3;

/** Best first. */
export const WEB_SOCKET_PROTOCOLS = ['hrana3', 'hrana2', 'hrana1'] as const;

export function versionOfProtocol(protocol: string): HranaVersion {
  return protocol === 'hrana3' ? 3 : protocol === 'hrana2' ? 2 : 1;
}

export function requireVersion(version: HranaVersion, least: HranaVersion, what: string): void {
  if (version < least) {
    throw new ProtocolError(
      `${what} needs version ${least} of Hrana; this connection speaks version ${version}`,
    );
  }
}

/** Where a command finds its compute node and volume: `http://host:port/volume` in any of the spellings that clients use. */
import { TidemarkError } from '../../src/base/errors.ts';
import { RESERVED_VOLUME_NAMES, VOLUME_NAME_PATTERN } from '../../src/base/limits.ts';

export const DEFAULT_URL = 'http://127.0.0.1:8080';
export const DEFAULT_VOLUME = 'main';

export interface Target {
  /** `http://host:port`, no path. */
  readonly httpOrigin: string;
  readonly wsOrigin: string;
  /** `main` when the URL has no path; may carry a moment (`dev@lsn:12`), which the server judges. */
  readonly volume: string;
  readonly authToken: string | null;
}

export function parseTarget(text: string, authToken: string | null): Target {
  const url = parseUrl(text);
  const isSecure = secure(url);
  if (isSecure === null) {
    throw badUrl(text, `"${url.protocol.replace(':', '')}" is not a protocol of a compute node`);
  }
  if (url.hostname === '') throw badUrl(text, 'it names no host');
  const path = decodePath(url.pathname, text);
  const volume = path === '' ? DEFAULT_VOLUME : path;
  checkVolume(volume.replace(/@.*$/s, ''));
  const token = url.searchParams.get('authToken') ?? authToken;
  return {
    httpOrigin: `${isSecure ? 'https' : 'http'}://${url.host}`,
    wsOrigin: `${isSecure ? 'wss' : 'ws'}://${url.host}`,
    volume,
    authToken: token === '' ? null : token,
  };
}

/** No URL has a name alone, and none but `localhost` is common without a port. A moment may hold colons, slashes never. */
const VOLUME_ALONE = /^(?!localhost$)[^@:/.]+(?:@.*)?$/s;

/** `dev`, `main@-15m`: a volume or a moment of it at the compute node of `here`; anything else is a URL. */
export function parsePlace(text: string, here: Target): Target {
  return VOLUME_ALONE.test(text) ? withVolume(here, text) : parseTarget(text, here.authToken);
}

/** The same compute node, another volume. */
export function withVolume(target: Target, volume: string): Target {
  checkVolume(volume.replace(/@.*$/s, ''));
  return { ...target, volume };
}

export function targetUrl(target: Target): string {
  return target.volume === DEFAULT_VOLUME ? target.httpOrigin : `${target.httpOrigin}/${target.volume}`;
}

export function checkVolume(name: string): void {
  if (RESERVED_VOLUME_NAMES.has(name)) {
    throw new TidemarkError('BAD_NAME', `"${name}" is a path of the client protocol, not a volume`, {
      nextStep: 'Choose another name.',
    });
  }
  if (VOLUME_NAME_PATTERN.test(name)) return;
  throw new TidemarkError('BAD_NAME', `"${name}" cannot be the name of a volume`, {
    nextStep: 'Use 1 to 63 of a–z, 0–9 and "-", beginning with a letter or digit.',
  });
}

function parseUrl(text: string): URL {
  // `localhost:8080/dev` and `127.0.0.1:8080` are what people type.
  const spelled = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  try {
    return new URL(spelled);
  } catch (cause) {
    throw badUrl(text, 'it cannot be read', cause);
  }
}

function secure(url: URL): boolean | null {
  switch (url.protocol) {
    case 'http:':
    case 'ws:':
      return false;
    case 'https:':
    case 'wss:':
      return true;
    case 'libsql:':
      return url.searchParams.get('tls') !== '0';
    default:
      return null;
  }
}

function decodePath(path: string, text: string): string {
  try {
    return decodeURIComponent(path.replace(/^\/+|\/+$/g, ''));
  } catch (cause) {
    throw badUrl(text, 'its path cannot be decoded', cause);
  }
}

function badUrl(text: string, why: string, cause?: unknown): TidemarkError {
  return new TidemarkError('BAD_REQUEST', `"${text}" is not the URL of a compute node: ${why}`, {
    cause,
    nextStep: `Write it like ${DEFAULT_URL} or ${DEFAULT_URL}/VOLUME.`,
  });
}

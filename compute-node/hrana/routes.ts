/**
 * Paths → volume and endpoint. `/` and the protocol's own first segments mean the volume `main`; `/NAME/…` means the volume NAME, `/NAME@WHEN/…`
 * a moment of it.
 */
import { RESERVED_VOLUME_NAMES, VOLUME_NAME_PATTERN } from '../../src/base/limits.ts';
import { splitMoment } from '../../src/timeline/moment.ts';
import { SessionError } from '../session/errors.ts';

export const DEFAULT_VOLUME = 'main';

export type ServerPage = 'health' | 'livez' | 'readyz' | 'version' | 'metrics';

export type Route =
  /** Paths under `/-/`. */
  | { readonly kind: 'admin' }
  | { readonly kind: 'page'; readonly page: ServerPage }
  /** `volume`: NAME or NAME@WHEN. `path` is what follows the volume, without slashes around it: '' for the volume itself, 'v2/pipeline'… */
  | { readonly kind: 'volume'; readonly volume: string; readonly path: string };

const PAGES: ReadonlySet<string> = new Set<ServerPage>(['health', 'livez', 'readyz', 'version', 'metrics']);

/** `url`: the request's target. Throws BAD_NAME, BAD_REQUEST. */
export function parseRoute(url: string): Route {
  const query = url.indexOf('?');
  const segments = (query < 0 ? url : url.slice(0, query)).split('/').filter((segment) => segment !== '');
  const [first, ...rest] = segments;
  if (first === undefined) return { kind: 'volume', volume: DEFAULT_VOLUME, path: '' };
  if (first === '-') return { kind: 'admin' };
  if (RESERVED_VOLUME_NAMES.has(first)) {
    if (PAGES.has(first) && rest.length === 0) return { kind: 'page', page: first as ServerPage };
    return { kind: 'volume', volume: DEFAULT_VOLUME, path: segments.join('/') };
  }
  return { kind: 'volume', volume: volumeName(first), path: rest.join('/') };
}

function volumeName(segment: string): string {
  let text: string;
  try {
    text = decodeURIComponent(segment);
  } catch {
    throw new SessionError('BAD_REQUEST', 'the path is not valid percent-encoding');
  }
  const { name } = splitMoment(text);
  if (!VOLUME_NAME_PATTERN.test(name)) {
    throw new SessionError(
      'BAD_NAME',
      `${JSON.stringify(name.slice(0, 80))} cannot be the name of a volume`,
      'names have 1 to 63 lower-case letters, digits and hyphens, and do not begin with a hyphen',
    );
  }
  return text;
}

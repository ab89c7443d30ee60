/** Which build this is: the version in package.json, the one place where it is written. */
import { readFileSync } from 'node:fs';

/** From src/adapters and from dist/src/adapters, package.json stands two and three levels up. */
const CANDIDATES = ['../../package.json', '../../../package.json'];

export const BUILD_VERSION: string = readVersion();

function readVersion(): string {
  for (const candidate of CANDIDATES) {
    const manifest = tryRead(new URL(candidate, import.meta.url));
    if (manifest?.name === 'tidemark' && typeof manifest.version === 'string') return manifest.version;
  }
  return 'unknown';
}

function tryRead(url: URL): { readonly name?: unknown; readonly version?: unknown } | null {
  try {
    return JSON.parse(readFileSync(url, 'utf8')) as { name?: unknown; version?: unknown };
  } catch {
    return null;
  }
}

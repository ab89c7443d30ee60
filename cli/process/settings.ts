/**
 * Where the long-running processes get their settings: command-line flags before environment variables before a JSON file. One list of
 * definitions makes the flags, the variable names, the file's keys and the help.
 */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { TidemarkError } from '../../src/base/errors.ts';
import { GIB, KIB, MIB } from '../../src/base/limits.ts';

export interface SettingDefinition<T> {
  /** Key in the file; flag and variable derive from it: pageCacheBytes, --page-cache-bytes, TIDEMARK_PAGE_CACHE_BYTES. */
  readonly key: string;
  /** Flag, where it is not the key's own: `data` for dataDir. */
  readonly flag?: string;
  readonly placeholder: string;
  readonly help: string;
  readonly parse: (text: string) => T;
}

export function text(): (value: string) => string {
  return (value) => value;
}

export function wholeNumber(minimum: number, maximum = Number.MAX_SAFE_INTEGER): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || number < minimum || number > maximum) {
      const upTo =
        maximum === Number.MAX_SAFE_INTEGER ? `, at least ${minimum}` : ` from ${minimum} to ${maximum}`;
      throw new TidemarkError('BAD_REQUEST', `"${value}" is not a whole number${upTo}`);
    }
    return number;
  };
}

/** `268435456`, `256MiB`, `1GiB`. */
export function byteCount(): (value: string) => number {
  return (value) => {
    const match = /^(\d+)\s*(|B|KiB|MiB|GiB|K|M|G)$/i.exec(value);
    const unit = { '': 1, b: 1, k: KIB, kib: KIB, m: MIB, mib: MIB, g: GIB, gib: GIB }[
      match?.[2]?.toLowerCase() ?? '?'
    ];
    if (match === null || unit === undefined) {
      throw new TidemarkError('BAD_REQUEST', `"${value}" is not a number of bytes`, {
        nextStep: 'Write it like 268435456 or 256MiB.',
      });
    }
    return Number(match[1]) * unit;
  };
}

export function flagOf(definition: SettingDefinition<unknown>): string {
  return definition.flag ?? definition.key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

export function variableOf(definition: SettingDefinition<unknown>): string {
  return `TIDEMARK_${definition.key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

type Definitions = Readonly<Record<string, SettingDefinition<unknown>>>;
export type Settings<D extends Definitions> = {
  readonly [K in keyof D]?: D[K] extends SettingDefinition<infer T> ? T : never;
};

export function addFlags(command: Command, definitions: Definitions): void {
  for (const definition of Object.values(definitions)) {
    command.option(
      `--${flagOf(definition)} <${definition.placeholder}>`,
      `${definition.help} (${variableOf(definition)})`,
    );
  }
  command.option(
    '--config <FILE>',
    'JSON file of settings, named like the flags in camelCase (TIDEMARK_CONFIG)',
  );
}

/** Throws BAD_REQUEST naming the setting and where it came from. */
export function resolveSettings<D extends Definitions>(
  definitions: D,
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Settings<D> {
  const configPath = typeof flags.config === 'string' ? flags.config : env.TIDEMARK_CONFIG;
  const file = configPath === undefined || configPath === '' ? {} : readConfig(configPath, definitions);
  const settings: Record<string, unknown> = {};
  for (const [name, definition] of Object.entries(definitions)) {
    const flagName = flagOf(definition).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const sources = [
      [`--${flagOf(definition)}`, flags[flagName]],
      [variableOf(definition), env[variableOf(definition)] === '' ? undefined : env[variableOf(definition)]],
      [`${definition.key} in ${configPath}`, file[definition.key]],
    ] as const;
    const [source, value] = sources.find(([, given]) => given !== undefined) ?? [];
    if (source === undefined || value === undefined) continue;
    try {
      settings[name] = definition.parse(String(value));
    } catch (cause) {
      if (!(cause instanceof TidemarkError)) throw cause;
      const details = cause.nextStep === undefined ? { cause } : { cause, nextStep: cause.nextStep };
      throw new TidemarkError(cause.code, `${source}: ${cause.message}`, details);
    }
  }
  return settings as Settings<D>;
}

export function required<T>(value: T | undefined, definition: SettingDefinition<unknown>): T {
  if (value !== undefined) return value;
  throw new TidemarkError('BAD_REQUEST', `${definition.key} is not set`, {
    nextStep: `Give --${flagOf(definition)} ${definition.placeholder}, or set ${variableOf(definition)}.`,
  });
}

function readConfig(path: string, definitions: Definitions): Readonly<Record<string, unknown>> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new TidemarkError('BAD_REQUEST', `the configuration ${path} cannot be read: ${why}`, {
      cause,
      nextStep: 'It must be a JSON object of settings.',
    });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new TidemarkError('BAD_REQUEST', `the configuration ${path} is not a JSON object`);
  }
  const known = new Set(Object.values(definitions).map(({ key }) => key));
  const unknown = Object.keys(parsed).filter((key) => !known.has(key));
  if (unknown.length > 0) {
    throw new TidemarkError(
      'BAD_REQUEST',
      `the configuration ${path} has unknown settings: ${unknown.join(', ')}`,
      {
        nextStep: `Known are ${[...known].join(', ')}.`,
      },
    );
  }
  return parsed as Record<string, unknown>;
}

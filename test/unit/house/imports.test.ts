/**
 * The house rules that a type checker cannot see: imports point one way (cli → mains → drivers → cores → src), protocol cores are
 * pure, vendors are reached through adapters only. A broken rule names the file, the line and the reason.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../../..');
const folders = ['src', 'storage-node', 'compute-node', 'cli', 'client', 'bench'] as const;

interface SourceFile {
  readonly path: string;
  readonly lines: readonly string[];
  readonly imports: readonly { readonly target: string; readonly line: number; readonly typeOnly: boolean }[];
}

function load(): SourceFile[] {
  const files: SourceFile[] = [];
  for (const folder of folders) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts')) continue;
      const full = join(entry.parentPath, entry.name);
      const text = readFileSync(full, 'utf8');
      const imports = [
        ...text.matchAll(/^(import|export)\s+(type\s+)?[^;'"]*?from\s+'([^']+)'|^import\s+'([^']+)'/gms),
      ].map((match) => {
        const specifier = match[3] ?? match[4] ?? '';
        const target = specifier.startsWith('.')
          ? relative(root, resolve(dirname(full), specifier))
          : specifier;
        return {
          target,
          line: text.slice(0, match.index).split('\n').length,
          typeOnly: match[2] !== undefined,
        };
      });
      files.push({ path: relative(root, full), lines: text.split('\n'), imports });
    }
  }
  return files;
}

const files = load();
const isPure = (path: string): boolean =>
  (path.startsWith('src/') && !path.startsWith('src/adapters/')) ||
  path.startsWith('storage-node/core/') ||
  path.startsWith('compute-node/volume/');

function violations(check: (file: SourceFile) => string[]): string[] {
  return files.flatMap((file) => check(file).map((what) => `${file.path}:${what}`));
}

/** Folder → folders it may import from. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  'src/adapters': ['src'],
  src: ['src'],
  'storage-node/core': ['src', 'storage-node/core'],
  'storage-node': ['src', 'storage-node'],
  'compute-node/volume': ['src', 'compute-node/volume'],
  'compute-node/driver': ['src', 'compute-node/volume', 'compute-node/driver'],
  'compute-node/engine': ['src', 'compute-node/volume', 'compute-node/engine'],
  'compute-node/session': ['src', 'compute-node/engine', 'compute-node/session'],
  'compute-node/hrana': ['src', 'compute-node/engine', 'compute-node/session', 'compute-node/hrana'],
  'compute-node': ['src', 'compute-node'],
  client: ['src', 'compute-node', 'client', 'cli/local-cluster'],
  cli: ['src', 'storage-node', 'compute-node', 'cli', 'bench'],
  bench: ['src', 'storage-node', 'compute-node', 'client', 'bench'],
};

describe('house rules', () => {
  it('finds the sources', () => {
    expect(files.length).toBeGreaterThan(30);
  });

  it('imports point one way', () => {
    const rules = Object.entries(mayImport).sort(([a], [b]) => b.length - a.length);
    const broken = violations((file) => {
      const rule = rules.find(([folder]) => file.path.startsWith(`${folder}/`));
      if (rule === undefined) return ['0 lies in no known folder'];
      return file.imports
        .filter(({ target }) => folders.some((folder) => target.startsWith(`${folder}/`)))
        .filter(({ target }) => !rule[1].some((folder) => target.startsWith(`${folder}/`)))
        .map(({ target, line }) => `${line} may not import ${target}`);
    });
    expect(broken).toEqual([]);
  });

  it('shared code does not reach into its adapters', () => {
    const broken = violations((file) =>
      isPure(file.path)
        ? file.imports
            .filter(({ target }) => target.includes('adapters/'))
            .map(({ target, line }) => `${line} imports ${target}`)
        : [],
    );
    expect(broken).toEqual([]);
  });

  it('pure code imports nothing but itself and msgpackr', () => {
    const broken = violations((file) =>
      isPure(file.path)
        ? file.imports
            .filter(
              ({ target }) =>
                !folders.some((folder) => target.startsWith(`${folder}/`)) && target !== 'msgpackr',
            )
            .map(({ target, line }) => `${line} imports ${target}`)
        : [],
    );
    expect(broken).toEqual([]);
  });

  it('pure code reads no clock, no chance, no timer, and awaits nothing', () => {
    const forbidden =
      /\bDate\.now\b|\bnew Date\(\s*\)|\bMath\.random\b|\bset(Timeout|Interval|Immediate)\b|\bperformance\.|\bprocess\.|\bawait\b|\basync\b|\bnew Promise\b|\bBuffer\b/;
    const broken = violations((file) =>
      isPure(file.path)
        ? file.lines.flatMap((line, index) => {
            const code = line.replace(/\/\/.*$/, '').replace(/^\s*\/?\*.*$/, '');
            return forbidden.test(code.replace(/'[^']*'|`[^`]*`/g, "''"))
              ? [`${index + 1} ${line.trim()}`]
              : [];
          })
        : [],
    );
    expect(broken).toEqual([]);
  });

  it('drivers and the journal take clock, chance and timers through ports, so that the simulator runs them as they are', () => {
    const driven = /^compute-node\/driver\/|^storage-node\/driver\/|^storage-node\/adapters\/journal\.ts$/;
    const forbidden =
      /\bDate\.now\b|\bnew Date\b|\bMath\.random\b|\b(set|clear)(Timeout|Interval|Immediate)\b|\bperformance\.*|node:(os|timers|crypto)/;
    const broken = violations((file) =>
      driven.test(file.path)
        ? file.lines.flatMap((line, index) => (forbidden.test(line) ? [`${index + 1} ${line.trim()}`] : []))
        : [],
    );
    expect(broken).toEqual([]);
  });

  it('vendors are reached through adapters only', () => {
    const homes: Readonly<Record<string, RegExp>> = {
      level: /^storage-node\/adapters\//,
      'classic-level': /^storage-node\/adapters\//,
      '@grpc/grpc-js': /^src\/adapters\/grpc\//,
      '@grpc/proto-loader': /^src\/adapters\/grpc\//,
      '@sqlite.org/sqlite-wasm': /^compute-node\/engine\//,
      ws: /^compute-node\/hrana\/|^cli\/client\/|^bench\//,
      commander: /^cli\//,
    };
    const broken = violations((file) =>
      file.imports
        .filter(({ target }) => homes[target] !== undefined && !homes[target].test(file.path))
        .map(({ target, line }) => `${line} imports ${target}`),
    );
    expect(broken).toEqual([]);
  });

  it('no import leaves a circle', () => {
    const graph = new Map(
      files.map((file) => [file.path, file.imports.filter((i) => !i.typeOnly).map((i) => i.target)]),
    );
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (path: string, trail: readonly string[]): void => {
      if (done.has(path)) return;
      const at = trail.indexOf(path);
      if (at >= 0) {
        circles.push([...trail.slice(at), path].join(' → '));
        return;
      }
      for (const next of graph.get(path) ?? []) if (graph.has(next)) visit(next, [...trail, path]);
      done.add(path);
    };
    for (const path of graph.keys()) visit(path, []);
    expect(circles).toEqual([]);
  });

  it('the lockfile holds no download addresses', () => {
    const lockfile = readFileSync(join(root, 'package-lock.json'), 'utf8');
    expect(lockfile.includes('"resolved"')).toBe(false);
  });

  it('the lockfile names every optional package, of all platforms, or npm ci refuses it', () => {
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { optionalDependencies?: Record<string, string> }>;
    };
    const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (name) => !(`node_modules/${name}` in packages) && !(`${path}/node_modules/${name}` in packages),
      ),
    );
    expect(missing).toEqual([]);
  });
});

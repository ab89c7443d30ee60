/** The shell's own commands. Each is a name, what it takes, what it is for, and what it does with a shell. */
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { STATEMENT_FORMS } from '../../compute-node/timelines/sql/statement.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { AdminClient } from '../client/admin.ts';
import { query } from '../client/sql-client.ts';
import { parsePlace } from '../client/target.ts';
import { TimelinesClient } from '../client/timelines.ts';
import { renderStatus } from '../status-report.ts';
import { renderVolumes } from '../timelines-report.ts';
import { ProgressBar } from '../terminal/progress.ts';
import { displayWidth, padEnd } from '../terminal/width.ts';
import { dump } from './dump.ts';
import { importRows } from './import/load.ts';
import { formatOf } from './import/records.ts';
import { MODES, type Mode, type Write } from './render/renderer.ts';
import { listTables } from './schema.ts';
import type { Shell } from './shell.ts';

export interface DotCommand {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly usage: string;
  readonly help: string;
  /** Words that its argument may be, for completion; TABLE stands for the tables, VOLUME for the volumes. */
  readonly completes?: readonly string[];
  /** Awaited. False: it failed, and has said so. */
  run(shell: Shell, args: readonly string[]): unknown;
}

const ON_OFF = ['on', 'off'] as const;

export const DOT_COMMANDS: readonly DotCommand[] = [
  {
    name: '.bail',
    usage: '.bail on|off',
    help: 'Stop scripts at their first error (on), or go on (off)',
    completes: ON_OFF,
    run: (shell, args) => {
      shell.settings.bail = onOff(args, '.bail');
    },
  },
  {
    name: '.databases',
    usage: '.databases',
    help: 'List the names of the volumes',
    run: async (shell) => {
      const volumes = await new AdminClient(shell.target).volumes();
      const { dim } = shell.options.style;
      const here = shell.target.volume.replace(/@.*$/s, '');
      for (const { name } of volumes) {
        await shell.options.write(`${name}${name === here ? dim('  (here)') : ''}\n`);
      }
    },
  },
  {
    name: '.dump',
    usage: '.dump [TABLE] [> FILE]',
    help: 'Write the database, or one table, as SQL',
    completes: ['TABLE'],
    run: runDump,
  },
  {
    name: '.headers',
    usage: '.headers on|off',
    help: 'Show column names',
    completes: ON_OFF,
    run: (shell, args) => {
      shell.settings.headers = onOff(args, '.headers');
    },
  },
  { name: '.help', usage: '.help', help: 'Show this', run: (shell) => shell.options.write(helpText()) },
  {
    name: '.import',
    usage: '.import FILE TABLE [--csv|--tsv|--json] [--header|--no-header]',
    help: 'Load rows of a CSV or JSON file; makes the table when it is missing',
    completes: ['TABLE'],
    run: runImport,
  },
  {
    name: '.indexes',
    aliases: ['.indices'],
    usage: '.indexes [TABLE]',
    help: 'List indexes',
    completes: ['TABLE'],
    run: async (shell, args) => {
      const rows = await query(
        shell.client,
        `SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         AND (?1 IS NULL OR tbl_name LIKE ?1) ORDER BY name`,
        [args[0] ?? null],
      );
      await shell.options.write(inColumns(rows.map(([name]) => String(name))));
    },
  },
  {
    name: '.mode',
    usage: `.mode ${MODES.join('|')}`,
    help: 'How results are shown',
    completes: MODES,
    run: async (shell, args) => {
      if (args.length === 0) return shell.options.write(`${shell.settings.mode}\n`);
      const mode = MODES.find((known) => known === args[0]);
      if (mode === undefined) throw usage(`.mode ${MODES.join('|')}`);
      shell.settings.mode = mode satisfies Mode;
      if (args[1] !== undefined) shell.settings.separator = unescapeBlanks(args[1]);
    },
  },
  {
    name: '.nullvalue',
    usage: '.nullvalue TEXT',
    help: 'What stands for NULL; without TEXT the mode’s own marker',
    run: (shell, args) => {
      shell.settings.nullText = args[0] ?? null;
    },
  },
  {
    name: '.open',
    usage: '.open VOLUME[@WHEN]|URL',
    help: 'Go to another volume, or to a moment: .open main@-15m',
    completes: ['VOLUME'],
    run: async (shell, args) => {
      // A moment may be written with a blank: 2026-11-21 10:00.
      const where = args.join(' ');
      if (where === '') throw usage('.open VOLUME[@WHEN]|URL');
      await shell.open(parsePlace(where, shell.target));
    },
  },
  {
    name: '.print',
    usage: '.print TEXT…',
    help: 'Print the words',
    run: (shell, args) => shell.options.write(`${args.join(' ')}\n`),
  },
  {
    name: '.quit',
    aliases: ['.exit', '.q'],
    usage: '.quit',
    help: 'Leave the shell (so does Ctrl-D)',
    run: (shell) => {
      shell.isQuitting = true;
    },
  },
  {
    name: '.read',
    usage: '.read FILE',
    help: 'Run the SQL and commands of a file',
    run: (shell, args) => {
      const [path] = args;
      if (path === undefined) throw usage('.read FILE');
      return shell.readFile(path);
    },
  },
  {
    name: '.schema',
    usage: '.schema [TABLE]',
    help: 'Show the CREATE statements',
    completes: ['TABLE'],
    run: runSchema,
  },
  {
    name: '.separator',
    usage: '.separator TEXT',
    help: 'What stands between the fields of list mode',
    run: (shell, args) => {
      if (args[0] === undefined) throw usage('.separator TEXT');
      shell.settings.separator = unescapeBlanks(args[0]);
    },
  },
  {
    name: '.status',
    usage: '.status',
    help: 'Show the cluster: nodes, volumes, LSNs',
    run: async (shell) => {
      const report = await new AdminClient(shell.target).status();
      await shell.options.write(renderStatus(report, shell.options.style));
    },
  },
  {
    name: '.tables',
    usage: '.tables [PATTERN]',
    help: 'List tables and views (PATTERN as of LIKE)',
    run: async (shell, args) => {
      const wanted = args[0] === undefined ? null : like(args[0]);
      const tables = await listTables(shell.client);
      const shown = tables.filter(
        ({ name, kind }) => kind !== 'shadow' && (wanted === null || wanted.test(name)),
      );
      await shell.options.write(inColumns(shown.map(({ name }) => name)));
    },
  },
  {
    name: '.timer',
    usage: '.timer on|off',
    help: 'Show how long statements take',
    completes: ON_OFF,
    run: (shell, args) => {
      shell.settings.timer = onOff(args, '.timer');
    },
  },
  {
    name: '.volumes',
    usage: '.volumes',
    help: 'Show the volumes, each below the one it was cloned from',
    run: async (shell) => {
      const volumes = await new TimelinesClient(shell.target).volumes();
      await shell.options.write(renderVolumes(volumes, shell.options.style));
    },
  },
];

async function runDump(shell: Shell, args: readonly string[]): Promise<void> {
  const at = args.findIndex((word) => word.startsWith('>'));
  const path = at < 0 ? null : args[at]!.slice(1) || (args[at + 1] ?? '');
  const [pattern = null] = at < 0 ? args : args.slice(0, at);
  if (path === null) return dump(shell.client, shell.options.write, pattern);
  if (path === '') throw usage('.dump [TABLE] [> FILE]');
  const file = createWriteStream(path);
  // An error is thrown to whoever waits next, not to nobody.
  const done = finished(file);
  done.catch(() => undefined);
  const write: Write = (text) => {
    if (file.write(text)) return;
    return Promise.race([new Promise<void>((resolve) => file.once('drain', resolve)), done]);
  };
  try {
    await dump(shell.client, write, pattern);
  } finally {
    file.end();
    await done;
  }
}

async function runImport(shell: Shell, args: readonly string[]): Promise<void> {
  const flags = args.filter((word) => word.startsWith('--'));
  const words = args.filter((word) => !word.startsWith('--'));
  const known = ['--csv', '--tsv', '--json', '--header', '--no-header'];
  const [path, table] = words;
  if (
    path === undefined ||
    table === undefined ||
    words.length > 2 ||
    flags.some((flag) => !known.includes(flag))
  ) {
    throw usage('.import FILE TABLE [--csv|--tsv|--json] [--header|--no-header]');
  }
  const asked = flags.find((flag) => /csv|tsv|json/.test(flag))?.slice(2) ?? null;
  const header = flags.includes('--header') ? true : flags.includes('--no-header') ? false : null;
  const { progress } = shell.options;
  const bars =
    progress === null
      ? null
      : {
          check: new ProgressBar(progress, 'Checking', 'bytes'),
          load: new ProgressBar(progress, 'Loading', 'rows'),
        };
  const startedMs = performance.now();
  try {
    const result = await importRows(shell.client, {
      path,
      table,
      format: formatOf(path, asked),
      header,
      onProgress: (phase, done, total) => bars?.[phase].update(done, total),
    });
    bars?.load.clear();
    shell.isSchemaStale = true;
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    const made = result.isNewTable ? ` (new table)` : '';
    await shell.options.write(`${result.rowCount} rows into ${table}${made} in ${seconds} s\n`);
  } finally {
    bars?.check.clear();
    bars?.load.clear();
  }
}

async function runSchema(shell: Shell, args: readonly string[]): Promise<void> {
  const shadows = new Set(
    (await listTables(shell.client)).filter(({ kind }) => kind === 'shadow').map(({ name }) => name),
  );
  const rows = await query(
    shell.client,
    `SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
     AND (?1 IS NULL OR tbl_name LIKE ?1 OR name LIKE ?1) ORDER BY tbl_name = name DESC, rowid`,
    [args[0] ?? null],
  );
  let text = '';
  for (const [name, sql] of rows) if (!shadows.has(String(name))) text += `${sql};\n`;
  await shell.options.write(text);
}

function helpText(): string {
  const width = Math.max(
    ...DOT_COMMANDS.filter(({ usage: u }) => u.length < 30).map(({ usage: u }) => u.length),
  );
  const lines = DOT_COMMANDS.map((command) =>
    command.usage.length > width
      ? `${command.usage}\n${' '.repeat(width)}  ${command.help}`
      : `${command.usage.padEnd(width)}  ${command.help}`,
  );
  const statements = Object.values(STATEMENT_FORMS).map((form) => `  ${form};`);
  return `${lines.join('\n')}\n\nBeside SQL, volumes have statements of their own (a moment is '-15m', a time, 'lsn:N' or a snapshot):\n${statements.join('\n')}\n\nA statement ends with ";" and may take several lines. Ctrl-C drops it, or stops what runs.\n`;
}

/** Names beside each other, as `ls` does. */
function inColumns(names: readonly string[], width = 80): string {
  if (names.length === 0) return '';
  const cell = Math.max(...names.map(displayWidth)) + 2;
  const perLine = Math.max(1, Math.floor(width / cell));
  const height = Math.ceil(names.length / perLine);
  let text = '';
  for (let y = 0; y < height; y++) {
    const line = names.filter((_, i) => i % height === y);
    text += `${line
      .map((name) => padEnd(name, cell))
      .join('')
      .trimEnd()}\n`;
  }
  return text;
}

/** SQL's LIKE. A word without wildcards is the beginning of a name. */
function like(pattern: string): RegExp {
  const escaped = pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  if (!/[%_]/.test(pattern)) return new RegExp(`^${escaped}`, 'i');
  return new RegExp(`^${escaped.replaceAll('%', '.*').replaceAll('_', '.')}$`, 'is');
}

function unescapeBlanks(text: string): string {
  return text.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
}

function onOff(args: readonly string[], name: string): boolean {
  const word = args[0]?.toLowerCase();
  if (word === 'on' || word === 'yes' || word === '1') return true;
  if (word === 'off' || word === 'no' || word === '0') return false;
  throw usage(`${name} on|off`);
}

function usage(text: string): TidemarkError {
  return new TidemarkError('BAD_REQUEST', `usage: ${text}`);
}

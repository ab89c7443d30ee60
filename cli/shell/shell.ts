/**
 * The SQL shell without its terminal: takes lines, runs statements and dot-commands, writes results. Interactive use (interactive.ts),
 * scripts and `-e` all feed this.
 *
 * In scripts, statements that stand together travel in one message (they still run one after another, and stop at the first
 * error), so that a long script is not slowed by a round trip for each.
 */
import { createReadStream } from 'node:fs';
import type { ProgramEvent } from '../../compute-node/engine/api.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { SqlClient } from '../client/sql-client.ts';
import type { Target } from '../client/target.ts';
import type { Style } from '../terminal/style.ts';
import { DOT_COMMANDS, type DotCommand } from './dot-commands.ts';
import { describeError } from './error-place.ts';
import { createRenderer } from './render/create.ts';
import type { Mode, Renderer, Write } from './render/renderer.ts';
import { type SplitStatement, SqlSplitter } from './splitter.ts';
import { splitWords } from './words.ts';

export interface Settings {
  mode: Mode;
  headers: boolean;
  nullText: string | null;
  separator: string;
  timer: boolean;
  /** Scripts stop at their first error. */
  bail: boolean;
}

export const DEFAULT_SETTINGS: Readonly<Settings> = {
  mode: 'table',
  headers: true,
  nullText: null,
  separator: '|',
  timer: false,
  bail: true,
};

export interface ShellOptions {
  readonly client: SqlClient;
  readonly target: Target;
  /** For `.open`. */
  readonly connect: (target: Target) => Promise<SqlClient>;
  readonly write: Write;
  readonly writeError: Write;
  readonly style: Style;
  readonly errorStyle: Style;
  /** A person sits in front of it: row counts and changes are told. */
  readonly isInteractive: boolean;
  readonly settings?: Partial<Settings>;
  /** Where progress bars go, null for nowhere. */
  readonly progress: {
    readonly isTTY?: boolean;
    readonly columns?: number;
    write(text: string): unknown;
  } | null;
}

/** Statements, and characters, of one message. */
const BATCH_STATEMENTS = 64;
const BATCH_CHARS = 256 * 1024;
const MAX_READ_DEPTH = 16;

export class Shell {
  client: SqlClient;
  target: Target;
  readonly settings: Settings;
  readonly options: ShellOptions;
  /** A statement or command failed since the start. */
  hasFailed = false;
  /** `.quit` was given. */
  isQuitting = false;
  /** The schema may have changed since completion last looked. */
  isSchemaStale = true;
  private isInterrupted = false;
  private depth = 0;

  constructor(options: ShellOptions) {
    this.options = options;
    this.client = options.client;
    this.target = options.target;
    this.settings = { ...DEFAULT_SETTINGS, ...options.settings };
  }

  /** One line typed by a person. `splitter` carries a statement over lines. */
  async typeLine(line: string, splitter: SqlSplitter): Promise<void> {
    this.isInterrupted = false;
    if (!splitter.isPending && line.trimStart().startsWith('.')) {
      await this.dotCommand(line, null);
      return;
    }
    for (const statement of splitter.pushLine(line)) {
      if (!(await this.run([statement], null)) || this.isInterrupted) break;
    }
  }

  /** A whole script. `name` stands before the line in messages. False when it ended at an error. */
  async runScript(chunks: AsyncIterable<string> | Iterable<string>, name: string | null): Promise<boolean> {
    if (this.depth >= MAX_READ_DEPTH) {
      throw new TidemarkError('BAD_REQUEST', `.read within .read is ${MAX_READ_DEPTH} deep`, {
        nextStep: 'Does a file read itself?',
      });
    }
    this.depth++;
    try {
      return await new ScriptRun(this, name).all(chunks);
    } finally {
      this.depth--;
    }
  }

  async readFile(path: string): Promise<boolean> {
    try {
      return await this.runScript(
        createReadStream(path, { encoding: 'utf8' }) as AsyncIterable<string>,
        path,
      );
    } catch (error) {
      if (!(error instanceof Error) || !('syscall' in error)) throw error;
      throw new TidemarkError('IO_ERROR', `cannot read ${path}: ${error.message}`, {
        cause: error,
        nextStep: 'Name a file that exists and may be read.',
      });
    }
  }

  /** True to go on. `where`: what stands before an error's line number, null when typed. */
  async run(statements: readonly SplitStatement[], where: string | null): Promise<boolean> {
    if (statements.length === 0) return true;
    if (
      statements.some(({ text }) =>
        /^\s*(?:create|drop|alter|begin|commit|end|rollback|backtrack)\b/i.test(text),
      )
    ) {
      this.isSchemaStale = true;
    }
    let failed = -1;
    const startedMs = performance.now();
    const view = new ResultView(this);
    try {
      await this.client.run(
        statements.map(({ text }) => ({ sql: text })),
        async (event) => {
          if (event.kind !== 'step-error') return view.take(event, statements);
          await view.breakOff();
          failed = event.step;
          const { text, line } = statements[event.step]!;
          const place = where === null ? null : placeText(where, line);
          await this.fail(describeError(event.error, text, place, this.options.errorStyle));
        },
      );
    } catch (error) {
      await view.breakOff();
      await this.failWith(error, where === null ? null : placeText(where, statements[0]!.line));
      // The connection itself failed: what was to follow may depend on what was lost.
      return false;
    }
    if (this.settings.timer) await this.options.write(view.timing(performance.now() - startedMs));
    if (failed < 0) return true;
    if (this.settings.bail) return false;
    return this.run(statements.slice(failed + 1), where);
  }

  async dotCommand(line: string, where: string | null): Promise<boolean> {
    try {
      const [name = '', ...args] = splitWords(line.trim().replace(/;\s*$/, ''));
      return (await findCommand(name).run(this, args)) !== false;
    } catch (error) {
      await this.failWith(error, where);
      return false;
    }
  }

  /** Ctrl-C while something runs. */
  async interrupt(): Promise<void> {
    this.isInterrupted = true;
    if (this.client.interrupt()) {
      await this.options.writeError('The open transaction was rolled back.\n');
    }
  }

  async open(target: Target): Promise<void> {
    const client = await this.options.connect(target);
    this.client.close();
    this.client = client;
    this.target = target;
    this.isSchemaStale = true;
  }

  close(): void {
    this.client.close();
  }

  async failWith(error: unknown, where: string | null): Promise<void> {
    const { red, dim } = this.options.errorStyle;
    const prefix = where === null ? '' : `${where}: `;
    if (!(error instanceof Error)) throw error;
    const code = error instanceof TidemarkError ? error.code : null;
    const next =
      error instanceof TidemarkError && error.nextStep !== undefined ? `  ${error.nextStep}\n` : '';
    const tail = code === null || code === 'INTERRUPTED' ? '' : ` ${dim(`(${code})`)}`;
    const head = code === 'INTERRUPTED' ? 'Interrupted' : `${red('Error:')} ${error.message}`;
    await this.fail(`${prefix}${head}${tail}\n${next}`);
  }

  private async fail(text: string): Promise<void> {
    this.hasFailed = true;
    await this.options.writeError(text);
  }
}

/** `load.sql:12`, or `line 12` of what has no name. */
function placeText(name: string, line: number): string {
  return name === '' ? `line ${line}` : `${name}:${line}`;
}

function findCommand(name: string): DotCommand {
  const exact = DOT_COMMANDS.find((command) => command.name === name || command.aliases?.includes(name));
  if (exact !== undefined) return exact;
  const near = DOT_COMMANDS.filter((command) => name.length > 1 && command.name.startsWith(name));
  if (near.length === 1) return near[0]!;
  throw new TidemarkError('BAD_REQUEST', `"${name}" is not a command of the shell`, {
    nextStep:
      near.length > 1
        ? `Did you mean ${near.map((n) => n.name).join(' or ')}?`
        : 'See .help for all of them.',
  });
}

/** Cuts a script into statements and commands, and gathers statements into batches. */
class ScriptRun {
  private readonly shell: Shell;
  private readonly name: string;
  private readonly splitter = new SqlSplitter();
  private batch: SplitStatement[] = [];
  private batchChars = 0;
  private line = 0;

  constructor(shell: Shell, name: string | null) {
    this.shell = shell;
    this.name = name ?? '';
  }

  async all(chunks: AsyncIterable<string> | Iterable<string>): Promise<boolean> {
    let rest = '';
    for await (const chunk of chunks) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (!(await this.takeLine(line))) return false;
      // What has come so far runs now: more may be long in coming.
      if (!(await this.flush())) return false;
      if (this.shell.isQuitting) return true;
    }
    if (rest !== '' && !(await this.takeLine(rest))) return false;
    if (this.shell.isQuitting) return true;
    const left = this.splitter.finish();
    if (left?.isUnterminated) {
      await this.flush();
      const error = new TidemarkError(
        'BAD_REQUEST',
        'the input ends within a string, a quoted name or a comment',
      );
      await this.shell.failWith(error, placeText(this.name, left.statement.line));
      return false;
    }
    if (left !== null) this.batch.push(left.statement);
    return this.flush();
  }

  private async takeLine(line: string): Promise<boolean> {
    this.line++;
    if (this.shell.isQuitting) return true;
    if (!this.splitter.isPending && /^\s*\./.test(line)) {
      this.splitter.pushLine(''); // keeps its count of lines right
      if (!(await this.flush())) return false;
      const isDone = await this.shell.dotCommand(line, placeText(this.name, this.line));
      return isDone || !this.shell.settings.bail;
    }
    for (const statement of this.splitter.pushLine(line)) {
      this.batch.push(statement);
      this.batchChars += statement.text.length;
    }
    const isFull = this.batch.length >= BATCH_STATEMENTS || this.batchChars >= BATCH_CHARS;
    return isFull || this.shell.settings.timer ? this.flush() : true;
  }

  private async flush(): Promise<boolean> {
    const batch = this.batch;
    this.batch = [];
    this.batchChars = 0;
    // A batch may hold a few statements more than a message should.
    const size = this.shell.settings.timer ? 1 : BATCH_STATEMENTS;
    for (let i = 0; i < batch.length; i += size) {
      if (!(await this.shell.run(batch.slice(i, i + size), this.name))) return false;
    }
    return true;
  }
}

/** Shows the results of one run, each by the mode of the moment. */
class ResultView {
  private readonly shell: Shell;
  private renderer: Renderer | null = null;
  private serverMs = 0;

  constructor(shell: Shell) {
    this.shell = shell;
  }

  async take(event: ProgramEvent, statements: readonly SplitStatement[]): Promise<void> {
    const { options, settings } = this.shell;
    switch (event.kind) {
      case 'step-begin':
        if (event.columns.length === 0) return;
        this.renderer = createRenderer(settings.mode, options.write, {
          headers: settings.headers,
          nullText: settings.nullText,
          separator: settings.separator,
          style: options.style,
          showRowCount: options.isInteractive,
        });
        return this.renderer.begin(event.columns);
      case 'rows':
        return this.renderer?.rows(event.rows);
      case 'step-end': {
        this.serverMs += event.durationMs;
        const hadRows = this.renderer !== null;
        await this.renderer?.end(true);
        this.renderer = null;
        if (hadRows || !options.isInteractive) return;
        const isChange = /^\s*(?:insert|update|delete|replace|with)\b/i.test(
          statements[event.step]?.text ?? '',
        );
        if (!isChange) return;
        const changed = event.affectedRows === 1 ? '1 row changed' : `${event.affectedRows} rows changed`;
        return options.write(`${options.style.dim(changed)}\n`);
      }
      default:
        return;
    }
  }

  /** The result will not be completed. */
  async breakOff(): Promise<void> {
    await this.renderer?.end(false);
    this.renderer = null;
  }

  timing(wallMs: number): string {
    const { dim } = this.shell.options.style;
    return `${dim(`Run time: ${wallMs.toFixed(1)} ms (in the engine ${this.serverMs.toFixed(1)} ms)`)}\n`;
  }
}

/**
 * The shell at a terminal: prompt, history, completion, Ctrl-C and Ctrl-D. Lines are taken one after another, those typed (or pasted)
 * while a statement runs wait their turn.
 */
import { createInterface, type Interface } from 'node:readline';
import { AdminClient } from '../client/admin.ts';
import { complete, type DotWords, volumePlace } from './completion.ts';
import { DOT_COMMANDS } from './dot-commands.ts';
import type { History } from './history.ts';
import { loadNames, NO_NAMES, type SchemaNames } from './schema.ts';
import type { Shell } from './shell.ts';
import { SqlSplitter } from './splitter.ts';

export interface InteractiveOptions {
  readonly shell: Shell;
  readonly history: History;
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
  readonly greeting: string;
  /** Resolves when the shell should end although nobody asked (the cluster stopped). */
  readonly stopped?: Promise<void>;
}

const DOTS: DotWords = {
  names: DOT_COMMANDS.map(({ name, usage }) => (usage === name ? name : `${name} `)),
  args: Object.fromEntries(DOT_COMMANDS.map(({ name, completes }) => [name, completes ?? []])),
};

/** Resolves when the person left. */
export async function runInteractive(options: InteractiveOptions): Promise<void> {
  const session = new InteractiveSession(options);
  options.output.write(options.greeting);
  await session.run();
}

class InteractiveSession {
  private readonly options: InteractiveOptions;
  private readonly splitter = new SqlSplitter();
  private readonly readline: Interface;
  private readonly waitingLines: string[] = [];
  private names: SchemaNames = NO_NAMES;
  private isRunning = false;
  private isClosed = false;
  private onClosed: () => void = () => {};
  /** Text of the statement before the current line, for completion. */
  private earlier = '';

  constructor(options: InteractiveOptions) {
    this.options = options;
    this.readline = createInterface({
      input: options.input,
      output: options.output,
      terminal: true,
      history: options.history.load(),
      historySize: 2_000,
      removeHistoryDuplicates: true,
      completer: (line: string, done: (error: null, result: [string[], string]) => void) => {
        void this.complete(line).then((result) => done(null, result));
      },
    });
  }

  run(): Promise<void> {
    const { readline, options } = this;
    readline.on('line', (line) => {
      this.waitingLines.push(line);
      void this.drain();
    });
    readline.on('SIGINT', () => void this.onInterrupt());
    readline.on('close', () => {
      this.isClosed = true;
      if (!this.isRunning) this.onClosed();
    });
    void options.stopped?.then(() => readline.close());
    this.prompt();
    return new Promise((resolve) => {
      this.onClosed = resolve;
    });
  }

  private async drain(): Promise<void> {
    if (this.isRunning) return;
    this.isRunning = true;
    const { shell, history } = this.options;
    for (let line = this.waitingLines.shift(); line !== undefined; line = this.waitingLines.shift()) {
      history.add(line);
      await shell.typeLine(line, this.splitter);
      this.earlier = this.splitter.isPending ? `${this.earlier}\n${line}` : '';
      if (shell.isQuitting || this.isClosed) break;
    }
    this.isRunning = false;
    if (shell.isQuitting) this.readline.close();
    if (this.isClosed) this.onClosed();
    else this.prompt();
  }

  private prompt(): void {
    const { shell } = this.options;
    const name = shell.target.volume;
    const mark = shell.client.isAutocommit ? '' : '*';
    const main = `${name}${mark}> `;
    const open = this.splitter.openDelimiter;
    const text = this.splitter.isPending ? `${open ?? '...'}> `.padStart(main.length) : main;
    this.readline.setPrompt(text);
    this.readline.prompt();
  }

  private async onInterrupt(): Promise<void> {
    const { shell, output } = this.options;
    if (this.isRunning) {
      this.waitingLines.length = 0;
      await shell.interrupt();
      return;
    }
    const wasEmpty = this.readline.line === '' && !this.splitter.isPending;
    this.splitter.reset();
    this.earlier = '';
    output.write(wasEmpty ? '^C  (Ctrl-D or .quit leaves)\n' : '^C\n');
    // Empties readline's line, without a way of its own to do so.
    this.readline.write(null, { ctrl: true, name: 'e' });
    this.readline.write(null, { ctrl: true, name: 'u' });
    this.prompt();
  }

  private async complete(line: string): Promise<[string[], string]> {
    await this.refreshNames();
    if (volumePlace(line, this.earlier) !== null) await this.refreshVolumes();
    const { candidates, fragment } = complete(line, this.earlier, this.names, DOTS);
    return [[...candidates], fragment];
  }

  /** Not within a transaction: asking would fix its read point, and not while a statement runs. */
  private async refreshNames(): Promise<void> {
    const { shell } = this.options;
    if (!shell.isSchemaStale || this.isRunning || !shell.client.isAutocommit) return;
    this.isRunning = true;
    try {
      this.names = { ...this.names, ...(await loadNames(shell.client)) };
      shell.isSchemaStale = false;
    } catch {
      // Completion without names is better than an error in the middle of a line.
    } finally {
      this.isRunning = false;
    }
    if (this.waitingLines.length > 0) void this.drain();
  }

  /** Asked anew each time: others make and drop volumes too. */
  private async refreshVolumes(): Promise<void> {
    try {
      const volumes = await new AdminClient(this.options.shell.target).volumes();
      this.names = { ...this.names, volumes: volumes.map(({ name }) => name) };
    } catch {
      // As above: the names known before will do.
    }
  }
}

/** The SQL shell over a real Hrana connection to an in-memory engine, its output in strings. */
import { HranaSqlClient } from '../../cli/client/hrana-client.ts';
import { parseTarget } from '../../cli/client/target.ts';
import { type Settings, Shell } from '../../cli/shell/shell.ts';
import { PLAIN } from '../../cli/terminal/style.ts';

export class ShellHarness {
  readonly shell: Shell;
  out = '';
  err = '';

  static async open(
    url: string,
    settings: Partial<Settings> = {},
    isInteractive = false,
  ): Promise<ShellHarness> {
    const target = parseTarget(url, null);
    return new ShellHarness(await HranaSqlClient.open(target), url, settings, isInteractive);
  }

  private constructor(
    client: HranaSqlClient,
    url: string,
    settings: Partial<Settings>,
    isInteractive: boolean,
  ) {
    this.shell = new Shell({
      client,
      target: parseTarget(url, null),
      connect: (target) => HranaSqlClient.open(target),
      write: (text) => {
        this.out += text;
      },
      writeError: (text) => {
        this.err += text;
      },
      style: PLAIN,
      errorStyle: PLAIN,
      isInteractive,
      settings,
      progress: null,
    });
  }

  /** Runs a script; what it wrote since the last one. */
  async script(text: string): Promise<{ ok: boolean; out: string; err: string }> {
    this.out = '';
    this.err = '';
    const ok = await this.shell.runScript([text], null);
    return { ok, out: this.out, err: this.err };
  }

  close(): void {
    this.shell.close();
  }
}

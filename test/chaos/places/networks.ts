/**
 * A network for a cluster: one namespace per process, all on a bridge in a namespace of its own that this process reaches, too. Cables can be
 * pulled, and the way from one process to another can be taken away while the way back stays: a blackhole route where the packets start. He who sends
 * sees new connections fail at once; he who is sent to hears nothing at all.
 * Needs root and iproute2; `Networks.missing` says what is in the way.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Place } from '../../support/real-cluster.ts';

const run = promisify(execFile);

export class Networks {
  readonly #prefix: string;
  readonly #net: string;
  readonly #names: readonly string[];
  readonly #cuts = new Set<string>();
  readonly #unplugged = new Set<string>();

  /** Why there can be no namespaces here; null when there can. Tries it. */
  static async missing(): Promise<string | null> {
    if (process.getuid?.() !== 0) return 'it takes root to make network namespaces';
    let networks: Networks | null = null;
    try {
      networks = await Networks.open(['a', 'b']);
      const hears = (from: string, to: string): Promise<boolean> =>
        (networks as Networks).#canReach(from, to);
      if (!(await hears('a', 'b'))) return 'two namespaces do not reach each other';
      await networks.cut('a', 'b');
      return (await hears('a', 'b')) ? 'a blackhole route has no effect' : null;
    } catch (error) {
      return (error as Error).message.trim();
    } finally {
      await networks?.close();
    }
  }

  static async open(names: readonly string[]): Promise<Networks> {
    const networks = new Networks(names);
    try {
      await networks.#build();
      return networks;
    } catch (error) {
      await networks.close();
      throw error;
    }
  }

  private constructor(names: readonly string[]) {
    this.#names = names;
    // Names of devices have at most 15 characters.
    this.#prefix = `tm${process.pid % 1_000_000}`;
    this.#net = `10.${200 + (process.pid % 50)}.${Math.floor(process.pid / 50) % 250}`;
  }

  placeOf(name: string): Place {
    return {
      host: this.#hostOf(name),
      command: ['nsenter', `--net=/run/netns/${this.#namespaceOf(name)}`, '--'],
    };
  }

  /** Packets from one to the other are lost from now on. */
  async cut(from: string, to: string): Promise<void> {
    const key = `${from} ${to}`;
    if (this.#cuts.has(key)) return;
    this.#cuts.add(key);
    await run('ip', ['-n', this.#namespaceOf(from), 'route', 'add', 'blackhole', `${this.#hostOf(to)}/32`]);
  }

  async unplug(name: string): Promise<void> {
    this.#unplugged.add(name);
    await run('ip', ['-n', this.#hub, 'link', 'set', this.#cableOf(name), 'down']);
  }

  /** Everyone reaches everyone. */
  async heal(): Promise<void> {
    for (const key of [...this.#cuts]) {
      const [from, to] = key.split(' ') as [string, string];
      await run('ip', ['-n', this.#namespaceOf(from), 'route', 'del', 'blackhole', `${this.#hostOf(to)}/32`]);
      this.#cuts.delete(key);
    }
    for (const name of [...this.#unplugged]) {
      await run('ip', ['-n', this.#hub, 'link', 'set', this.#cableOf(name), 'up']);
      this.#unplugged.delete(name);
    }
  }

  async close(): Promise<void> {
    await run('ip', ['link', 'del', `${this.#prefix}r`]).catch(() => {});
    for (const name of this.#names)
      await run('ip', ['netns', 'del', this.#namespaceOf(name)]).catch(() => {});
    await run('ip', ['netns', 'del', this.#hub]).catch(() => {});
  }

  async #build(): Promise<void> {
    const root = `${this.#prefix}r`;
    const cable = `${this.#prefix}c`;
    await ip(`netns add ${this.#hub}`);
    await ip(`-n ${this.#hub} link add br0 type bridge`);
    await ip(`-n ${this.#hub} link set br0 up`);
    await ip(`link add ${root} type veth peer name ${cable} netns ${this.#hub}`);
    await ip(`addr add ${this.#net}.1/24 dev ${root}`);
    await ip(`link set ${root} up`);
    await ip(`-n ${this.#hub} link set ${cable} master br0 up`);
    for (const name of this.#names) {
      const namespace = this.#namespaceOf(name);
      await ip(`netns add ${namespace}`);
      await ip(`-n ${namespace} link add eth0 type veth peer name ${this.#cableOf(name)} netns ${this.#hub}`);
      await ip(`-n ${namespace} addr add ${this.#hostOf(name)}/24 dev eth0`);
      await ip(`-n ${namespace} link set eth0 up`);
      await ip(`-n ${namespace} link set lo up`);
      await ip(`-n ${this.#hub} link set ${this.#cableOf(name)} master br0 up`);
    }
  }

  get #hub(): string {
    return `${this.#prefix}-hub`;
  }

  #namespaceOf(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  #cableOf(name: string): string {
    return `${this.#prefix}c${this.#names.indexOf(name)}`;
  }

  #hostOf(name: string): string {
    return `${this.#net}.${10 + this.#names.indexOf(name)}`;
  }

  /** Tries a connection to a port that nobody listens on: refused means reached. */
  async #canReach(from: string, to: string): Promise<boolean> {
    const script =
      `require('net').connect({ host: '${this.#hostOf(to)}', port: 9 })` +
      ".on('error', (error) => process.exit(error.code === 'ECONNREFUSED' ? 0 : 1)); setTimeout(() => process.exit(1), 2000)";
    const [command, ...args] = [...(this.placeOf(from).command ?? []), process.execPath, '-e', script];
    return run(command as string, args).then(
      () => true,
      () => false,
    );
  }
}

async function ip(args: string): Promise<void> {
  await run('ip', args.split(' '));
}

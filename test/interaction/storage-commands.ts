/**
 * The commands of storage-node scripts. Nodes are named a … f for az1-a, az1-b, az2-a, az2-b, az3-a, az3-b; `all` are all six. Requests that are
 * held answer later: their replies show under the command during which they came, marked `late`.
 *
 *     write BATCH COUNT              the current writer makes records (pages 1–4 in turn)
 *     append BATCH NODES [vdl=N] [recovery] [as=WRITER]
 *     take-over WRITER vdl=N [parent=RUN@LSN]     (only the writer's side: new epoch and manifest)
 *     fence NODES [as=WRITER] | inventory NODES [as=WRITER] [after=N]
 *     install NODES | install-as WRITER NODES     (the current manifest, under the current or the named writer's authority)
 *     heartbeat NODES [vdl=N] [release] [as=WRITER]
 *     read NODES page=N at=RUN@LSN
 *     floor N NODES | state NODES | advance MS
 *     cut NODE NODES | heal | crash NODES | restart NODES [lose=N] | stall NODES | unstall
 */
import type { Epoch } from '../../src/log/epoch.ts';
import { formatEpoch } from '../../src/log/epoch.ts';
import type { Lsn, NodeId, PgIndex, RunId } from '../../src/log/lsn.ts';
import type { Refusal } from '../../src/messages/messages.ts';
import { encodeRetention } from '../../src/register/codec.ts';
import type { CoreLimits } from '../../storage-node/core/limits.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from '../support/storage-cluster.ts';
import { type TestRecord, TestVolume } from '../support/storage-volume.ts';
import type { Commands } from './script-runner.ts';

const LETTERS = 'abcdef';
const WRITER = 'w1';

class Story {
  private readonly cluster: StorageCluster;
  private readonly volume = new TestVolume('vol00000', { pgPages: 4 });
  private readonly batches = new Map<string, TestRecord[]>();
  private readonly epochs = new Map<string, Epoch>([[WRITER, this.volume.epoch]]);
  private floor = 0;
  private output: string[] = [];
  private sequence = 0;

  constructor(limits: Partial<CoreLimits>) {
    this.cluster = new StorageCluster({ limits });
  }

  run(line: string): readonly string[] {
    this.output = [];
    const [command = '', ...words] = line.split(/\s+/);
    const options = new Map(
      words.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string]),
    );
    const plain = words.filter((word) => !word.includes('='));
    this.dispatch(command, plain, options);
    this.cluster.pump();
    return this.output.length === 0 ? ['ok'] : this.output;
  }

  private dispatch(command: string, plain: readonly string[], options: ReadonlyMap<string, string>): void {
    const number = (name: string) => Number(options.get(name) ?? 0) as Lsn;
    switch (command) {
      case 'write': {
        const [name = '', count = '1'] = plain;
        const made = Array.from({ length: Number(count) }, () =>
          this.volume.write(1 + (this.volume.lastLsn % 4), 17),
        );
        this.batches.set(name, made);
        this.say(
          `${name} is ${made[0]?.record.lsn}…${made[made.length - 1]?.record.lsn} in run ${made[0]?.run}`,
        );
        return;
      }
      case 'append': {
        const [name = '', nodes = ''] = plain;
        const records = this.batches.get(name) ?? [];
        const epoch = this.epoch(options);
        const request = this.volume.append(records, {
          vdl: number('vdl'),
          epoch,
          recovery: plain.includes('recovery'),
        });
        this.each(nodes, (node, say) => {
          this.cluster.send(node, 'append', request, (reply) =>
            say(reply.refusal === null ? `ack scl=${reply.scl}` : refused(reply.refusal)),
          );
        });
        return;
      }
      case 'take-over': {
        const parent = readPoint(options.get('parent'));
        this.volume.takeOver(plain[0] ?? '', number('vdl'), parent);
        this.epochs.set(plain[0] ?? '', this.volume.epoch);
        const run = this.volume.runs[this.volume.runs.length - 1];
        this.say(`epoch ${formatEpoch(this.volume.epoch)}, run ${run?.id} from ${run?.firstLsn}`);
        return;
      }
      case 'fence':
        this.each(plain[0], (node, say) => {
          this.cluster.send(node, 'fence', this.volume.fence(0, this.epoch(options)), (reply) => {
            if (reply.refusal !== null) return say(refused(reply.refusal));
            const { intact, scl, vdl, tail, watermark, entryCount } = reply;
            say(
              `promised${intact ? '' : ', not intact'}; scl=${scl} vdl=${vdl} tail=${tail} watermark=${watermark}, ${entryCount} above`,
            );
          });
        });
        return;
      case 'inventory':
        this.each(plain[0], (node, say) => {
          const request = {
            clusterId: TEST_CLUSTER,
            volume: this.volume.volume,
            pg: 0 as PgIndex,
            afterLsn: number('after'),
          };
          this.cluster.send(node, 'inventory', { ...request, epoch: this.epoch(options) }, (reply) =>
            say(
              reply.refusal === null
                ? `[${reply.entries.map((entry) => entry.lsn).join(' ')}]`
                : refused(reply.refusal),
            ),
          );
        });
        return;
      case 'install':
        this.each(plain[0], (node, say) => {
          const retention = this.floor === 0 ? null : this.volume.retention(this.floor);
          this.cluster.send(node, 'install', this.volume.install(0, retention), (reply) =>
            say(reply.refusal === null ? `installed scl=${reply.scl}` : refused(reply.refusal)),
          );
        });
        return;
      case 'install-as':
        this.each(plain[1], (node, say) => {
          const epoch = this.announced(plain[0] ?? '');
          this.cluster.send(node, 'install', this.volume.install(0, null, epoch), (reply) =>
            say(reply.refusal === null ? `installed scl=${reply.scl}` : refused(reply.refusal)),
          );
        });
        return;
      case 'heartbeat':
        this.each(plain[0], (node, say) => {
          this.sequence += 1;
          const vdl = number('vdl');
          const volume = {
            volume: this.volume.volume,
            epoch: this.epoch(options),
            release: plain.includes('release'),
            pgs: [{ pg: 0 as PgIndex, vdl, tail: this.volume.tail(0, vdl) }],
            retention:
              this.floor === 0 ? new Uint8Array(0) : encodeRetention(this.volume.retention(this.floor)),
            keep: plain.includes('keep'),
          };
          const request = {
            clusterId: TEST_CLUSTER,
            sequence: this.sequence,
            computeId: 'c1',
            computeUrl: 'http://c1',
          };
          this.cluster.send(node, 'heartbeat', { ...request, volumes: [volume] }, (reply) => {
            const grant = reply.grants[0];
            if (grant === undefined) return say('nothing');
            if (grant.refusal !== null) return say(refused(grant.refusal));
            const pgs = grant.pgs
              .map(({ scl, verified }) => `scl=${scl}${verified ? '' : ' unverified'}`)
              .join(' ');
            say(`${grant.granted ? 'lease' : 'no lease'} ${pgs}`);
          });
        });
        return;
      case 'read':
        this.each(plain[0], (node, say) => {
          const at = readPoint(options.get('at'));
          const page = number('page');
          if (at === null) return say('read needs at=RUN@LSN');
          this.cluster.send(node, 'readPages', this.volume.readPages([page], at), (reply) => {
            if (reply.refusal !== null) return say(refused(reply.refusal));
            const version = reply.pages[0];
            const expected = this.volume.replay({ volume: this.volume.volume, ...at }, page);
            const isRight =
              Buffer.compare(version?.data ?? new Uint8Array(0), expected ?? new Uint8Array(0)) === 0;
            say(`page ${page} of ${version?.lsn}, ${isRight ? 'as replayed' : 'NOT as replayed'}`);
          });
        });
        return;
      case 'floor':
        this.floor = Number(plain[0]);
        return;
      case 'state':
        this.each(plain[0], (node, say) => say(this.state(node)));
        return;
      case 'advance':
        this.cluster.advance(Number(plain[0]));
        return;
      case 'cut':
        for (const one of this.nodes(plain[0])) {
          for (const other of this.nodes(plain[1])) if (one !== other) this.cluster.cut(one, other);
        }
        return;
      case 'heal':
        this.cluster.heal();
        return;
      case 'crash':
        for (const node of this.nodes(plain[0])) this.cluster.crash(node);
        return;
      case 'restart':
        for (const node of this.nodes(plain[0])) this.cluster.restart(node, crashOf(number('lose')));
        return;
      case 'stall':
        for (const node of this.nodes(plain[0])) this.cluster.stalledDisks.add(node);
        return;
      case 'unstall':
        this.cluster.stalledDisks.clear();
        return;
      default:
        throw new Error(`no command ${command}`);
    }
  }

  private epoch(options: ReadonlyMap<string, string>): Epoch {
    const writer = options.get('as');
    if (writer === undefined) return this.volume.epoch;
    return this.announced(writer);
  }

  /** A writer that has not taken over yet acts under the epoch it will have. */
  private announced(writer: string): Epoch {
    return this.epochs.get(writer) ?? { number: this.volume.epoch.number + 1, writerId: writer };
  }

  private state(node: NodeId): string {
    const segment = this.cluster.core(node)?.segments.get(this.volume.volume, 0 as PgIndex) ?? null;
    if (this.cluster.core(node) === null) return 'down';
    if (segment === null) return 'no segment';
    const installed = segment.installedEpoch;
    return [
      `scl=${segment.scl} vdl=${segment.vdl} tail=${segment.tail}`,
      `promised ${formatEpoch(segment.promised)} installed ${installed === null ? 'nothing' : formatEpoch(installed)}`,
      `coalesced=${segment.coalesced}${segment.held.hasGap ? ' gap' : ''}`,
      ...(segment.quarantine === null ? [] : [`quarantine ${segment.quarantine.kind}`]),
    ].join(', ');
  }

  private each(nodes: string | undefined, act: (node: NodeId, say: (text: string) => void) => void): void {
    for (const node of this.nodes(nodes)) {
      const output = this.output;
      act(node, (text) => this.say(`${letterOf(node)}: ${this.output === output ? '' : 'late: '}${text}`));
    }
    this.cluster.pump();
  }

  private nodes(names = 'all'): readonly NodeId[] {
    if (names === 'all') return this.cluster.nodeIds;
    return [...names].map((letter) => {
      const node = TEST_NODES[LETTERS.indexOf(letter)];
      if (node === undefined) throw new Error(`no node ${letter}`);
      return node.nodeId;
    });
  }

  private say(text: string): void {
    this.output.push(text);
  }
}

export function storageCommands(limits: Partial<CoreLimits> = {}): Commands {
  const story = new Story(limits);
  return (line) => story.run(line);
}

function crashOf(lose: number) {
  return lose > 0 ? { chance: () => 0.999, loseDurableEntries: lose } : {};
}

function refused({ code, promised }: Refusal): string {
  return `refused ${code}${promised === null ? '' : ` (promised ${formatEpoch(promised)})`}`;
}

function readPoint(text: string | undefined): { run: RunId; lsn: Lsn } | null {
  if (text === undefined) return null;
  const [run, lsn] = text.split('@');
  return { run: Number(run) as RunId, lsn: Number(lsn) as Lsn };
}

function letterOf(node: NodeId): string {
  return LETTERS[TEST_NODES.findIndex((member) => member.nodeId === node)] ?? node;
}

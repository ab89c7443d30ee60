/**
 * What a program says, and when it is given out: random pieces go through Output and ProgramRun over a volume whose VDL and confirmations come
 * late. Nothing may be given out before VDL covers it, nor (what no later MTR of the program covers) before a confirmation
 * that began after it was said.
 */
import type { FromWorker } from '../../../../compute-node/engine/worker-messages.ts';
import type { ProgramEvent } from '../../../../compute-node/engine/api.ts';
import { ProgramRun } from '../../../../compute-node/engine/program-run.ts';
import { Output } from '../../../../compute-node/engine/worker/output.ts';
import { type Lsn, NO_LSN, toLsn } from '../../../../src/log/lsn.ts';
import { MemoryVolume } from '../../../support/memory-volume.ts';
import { SeededRandom } from '../../../support/seeded-random.ts';
import type { Arena } from './arena.ts';

const ACTIONS = 80;
const MEMORY_PAGE = 4096;

interface Said {
  /** What it depends on. */
  lsn: Lsn;
  /** An MTR that the program made afterwards stands for it. */
  isCovered: boolean;
  /** Confirmations begun before it was posted do not count. */
  confirmationsBefore: number;
}

export const output: Arena = {
  async runSeed(seed) {
    const play = new Play(seed);
    await play.run();
    return play.violations;
  },
};

class Play {
  readonly violations: string[] = [];
  private readonly random: SeededRandom;
  private readonly volume = new MemoryVolume();
  private readonly said = new Map<number, Said>();
  private readonly open: { readonly number: number; readonly resolve: () => void }[] = [];
  /** Numbers of the confirmations that have come. */
  private readonly confirmed = new Set<number>();
  private confirmations = 0;
  private nextMark = 1;
  private unposted: number[] = [];
  private sawLsn: Lsn = NO_LSN;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.volume.hold();
  }

  async run(): Promise<void> {
    const isStrong = this.random.chance(0.7);
    const run = new ProgramRun({
      volume: this.volume,
      isStrong,
      mayCommit: () => true,
      onEvent: (event) => this.onGiven(event, isStrong),
      credit: () => {},
      cancel: () => {},
      onDone: () => {},
    });
    const post = (message: FromWorker): void => {
      if (message.kind === 'output') run.accept(message, () => this.confirm());
    };
    const out = new Output(post, 1, 1);
    for (let i = 0; i < ACTIONS; i += 1) {
      this.act(out);
      if (this.random.chance(0.5)) await settle();
    }
    this.post(out, true);
    this.volume.release();
    while (this.open.length > 0) this.open.shift()?.resolve();
    await run.finished;
  }

  private act(out: Output): void {
    const dice = this.random.next();
    if (dice < 0.35) {
      this.say(out);
    } else if (dice < 0.5) {
      this.sawLsn = this.commit();
      out.cover(this.sawLsn);
      for (const mark of this.unposted) {
        const said = this.said.get(mark);
        if (said !== undefined) this.said.set(mark, { ...said, isCovered: true });
      }
    } else if (dice < 0.6) {
      // Somebody else's commit, which the program sees.
      this.sawLsn = this.commit();
    } else if (dice < 0.75) {
      this.post(out, false);
    } else if (dice < 0.9) {
      const { vdl, headLsn } = this.volume;
      this.volume.advanceTo(vdl + this.random.below(headLsn - vdl + 1));
    } else {
      this.open.splice(this.random.below(this.open.length + 1), 1)[0]?.resolve();
    }
  }

  private say(out: Output): void {
    const mark = this.nextMark++;
    this.said.set(mark, { lsn: this.sawLsn, isCovered: false, confirmationsBefore: 0 });
    this.unposted.push(mark);
    out.event({ kind: 'step-begin', step: mark, columns: [] });
  }

  private post(out: Output, isLast: boolean): void {
    for (const mark of this.unposted) {
      const said = this.said.get(mark);
      if (said !== undefined) {
        this.said.set(mark, { ...said, lsn: this.sawLsn, confirmationsBefore: this.confirmations });
      }
    }
    this.unposted = [];
    const done = {
      isAutocommit: true,
      holdsWriterLock: false,
      error: null,
      description: null,
      changeset: null,
    };
    out.post(this.sawLsn, isLast ? done : null);
  }

  private commit(): Lsn {
    const page = toLsn(this.volume.headLsn + 1);
    const body = new Uint8Array(MEMORY_PAGE);
    return this.volume.submit({ changes: [{ page: (1 + (page % 3)) as never, kind: 'image', body }] }).cpl;
  }

  private confirm(): Promise<void> {
    this.confirmations += 1;
    const number = this.confirmations;
    return new Promise((resolve) => {
      this.open.push({
        number,
        resolve: () => {
          this.confirmed.add(number);
          resolve();
        },
      });
    });
  }

  private onGiven(event: ProgramEvent, isStrong: boolean): void {
    if (event.kind !== 'step-begin') return;
    const said = this.said.get(event.step);
    if (said === undefined) return;
    if (said.lsn > this.volume.vdl) {
      this.violations.push(`given out at VDL ${this.volume.vdl}, although it depends on ${said.lsn}`);
    }
    if (!isStrong || said.isCovered) return;
    const isConfirmed = [...this.confirmed].some((number) => number > said.confirmationsBefore);
    if (!isConfirmed) this.violations.push('a read was given out unconfirmed');
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * A node in doubt of itself: its journal was damaged, or its peers remember more of it than it knows (an old disk image, an empty disk). It has
 * lost an unknown part of what it had promised and acknowledged.
 *
 * Until that is made good, registers do not vote (register-repair.ts), every segment is in quarantine `damaged` until it holds what three
 * intact peers held, and segments that come up are not vouched for as empty. The doubt is in the guard: a restart does not end it.
 */
import type { NodeContext } from './context.ts';
import type { DurableOp } from './effects.ts';
import { GUARD } from './keys.ts';
import { Leases } from './leases.ts';
import type { Program } from './program.ts';
import { repairRegisters } from './register-repair.ts';
import type { Registers } from './registers.ts';
import { encodeText } from './values.ts';

/** Pause between attempts to repair the registers. */
const RETRY_PAUSE_MS = 1_000;

export class Doubt {
  private readonly registers: Registers;
  private isBegun = false;
  private isRepairing = false;
  private repairAtMs = 0;

  constructor(registers: Registers) {
    this.registers = registers;
  }

  /** At a start, with what the journal or the guard says; the segments are judged by the start itself. */
  beginAtStart(ctx: NodeContext, why: string): DurableOp[] {
    this.isBegun = true;
    this.registers.isTrusted = false;
    ctx.log('warn', 'this node may have forgotten what it promised or acknowledged', { why });
    return [{ kind: 'guard', key: GUARD.doubt, value: encodeText(why) }];
  }

  /** Everything here is called into question. */
  begin(ctx: NodeContext, why: string): DurableOp[] {
    const ops = this.beginAtStart(ctx, why);
    for (const segment of ctx.segments.all()) segment.doubt();
    // Lease promises of the life that was forgotten may still run.
    ctx.leases = new Leases(ctx.options.leaseTermMs, ctx.now.monotonicMs, false);
    return ops;
  }

  /** No segment can be vouched for as new: this node may have had it. */
  get coversSegments(): boolean {
    return !this.registers.isTrusted;
  }

  /** What was lost is not made good yet. A segment in conflict with itself does not heal, and remembers that on its own. */
  isOpen(ctx: NodeContext): boolean {
    if (!this.registers.isTrusted) return true;
    for (const { quarantine, manifest } of ctx.segments.all()) {
      if (manifest !== null && quarantine !== null && quarantine.kind !== 'conflict') return true;
    }
    return false;
  }

  onTick(ctx: NodeContext): void {
    if (!this.registers.isTrusted && !this.isRepairing && ctx.now.monotonicMs >= this.repairAtMs) {
      this.isRepairing = true;
      ctx.run(this.repairing(ctx));
    }
    if (!this.isBegun || this.isOpen(ctx)) return;
    this.isBegun = false;
    ctx.persist([{ kind: 'guard', key: GUARD.doubt, value: null }], []);
    ctx.log('info', 'what this node had lost is made good');
  }

  private *repairing(ctx: NodeContext): Program<void> {
    yield* repairRegisters(ctx, this.registers);
    this.isRepairing = false;
    this.repairAtMs = ctx.now.monotonicMs + RETRY_PAUSE_MS;
  }
}

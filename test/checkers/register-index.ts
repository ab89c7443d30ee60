/** Writes and reads of registers, by key. What is said of each transaction is its part in one register: what it found, what it left. */
import type { Transaction } from './history.ts';
import type { Violation } from './violation.ts';

export interface RegisterPart {
  readonly transaction: number;
  /** What it found, before it wrote; undefined: it did not look. Null: never written. */
  found: number | null | undefined;
  /** What it left; undefined: it did not write. */
  left: number | undefined;
}

export interface Register {
  readonly key: string;
  readonly parts: RegisterPart[];
  /** Value → its writer, which may have written over it itself. */
  readonly writers: Map<number, RegisterPart>;
  /** Values found by others than their writers. */
  readonly seen: Set<number>;
}

export interface RegisterIndex {
  readonly registers: ReadonlyMap<string, Register>;
  /** Of transactions that contradict themselves. */
  readonly violations: readonly Violation[];
}

export function indexRegisters(transactions: readonly Transaction[]): RegisterIndex {
  const registers = new Map<string, Register>();
  const violations: Violation[] = [];
  for (const [index, { operations }] of transactions.entries()) {
    const own = new Map<string, RegisterPart>();
    for (const operation of operations) {
      if (operation.kind !== 'write' && operation.kind !== 'read-register') continue;
      const { key, value } = operation;
      const register = registerOf(registers, key);
      let part = own.get(key);
      if (part === undefined) {
        part = { transaction: index, found: undefined, left: undefined };
        own.set(key, part);
        register.parts.push(part);
      }
      if (operation.kind === 'write') {
        if (register.writers.has(operation.value))
          throw new Error(`${operation.value} is written twice to ${key} in the history`);
        register.writers.set(operation.value, part);
        part.left = operation.value;
      } else if (part.left !== undefined || part.found !== undefined) {
        const expected = part.left ?? part.found;
        if (value === expected) continue;
        const message = `transaction ${index} found ${value} in ${key} after it had ${part.left === undefined ? 'found' : 'written'} ${expected}`;
        violations.push({ rule: 'internal', message, transactions: [index] });
      } else {
        part.found = value;
        if (value !== null) register.seen.add(value);
      }
    }
  }
  return { registers, violations };
}

function registerOf(registers: Map<string, Register>, key: string): Register {
  let register = registers.get(key);
  if (register === undefined) {
    register = { key, parts: [], writers: new Map(), seen: new Set() };
    registers.set(key, register);
  }
  return register;
}

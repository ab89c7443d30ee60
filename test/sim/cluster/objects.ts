/**
 * What the simulated database holds: accounts, registers and lists (the objects of test/checkers/history.ts), four to a page, spread over pages
 * and so over protection groups. Page 1 tells the database's size where SQLite does, and nothing else: it changes only when the database grows.
 */
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { databasePages, putU32, u32 } from '../../../compute-node/engine/sqlite-header.ts';
import type { MicroOperation } from '../../checkers/history.ts';

export const ACCOUNTS = ['A0', 'A1', 'A2', 'A3', 'A4'];
export const OPENING_BALANCE = 100;
export const REGISTERS = ['R0', 'R1', 'R2', 'R3', 'R4', 'R5'];
/** Elements of a list: what fits its slot. Appenders go on to the next list then. */
export const LIST_CAPACITY = 60;

const SLOTS_PER_PAGE = 4;
const SLOT_BYTES = PAGE_SIZE_BYTES / SLOTS_PER_PAGE;
const FIRST_LIST_SLOT = ACCOUNTS.length + REGISTERS.length;
/** Balances are stored as differences, so that a page of zeros is the opening state. */
const BIAS = 0x8000_0000;
const SIZE_AT = 28;

/** Pages as a transaction sees and changes them. */
export interface Pages {
  /** The page's bytes, zeros beyond the end; to be copied before it is changed. */
  read(page: number): Uint8Array;
  write(page: number, bytes: Uint8Array): void;
}

interface Slot {
  readonly page: number;
  readonly offset: number;
}

/** Everything, in the order of slots. */
export function keysUpTo(lists: number): string[] {
  return [...ACCOUNTS, ...REGISTERS, ...Array.from({ length: lists }, (_, i) => `L${i}`)];
}

export function slotOf(key: string): Slot {
  const number = Number(key.slice(1));
  const index = key.startsWith('A')
    ? number
    : key.startsWith('R')
      ? ACCOUNTS.length + number
      : FIRST_LIST_SLOT + number;
  return { page: 2 + Math.floor(index / SLOTS_PER_PAGE), offset: (index % SLOTS_PER_PAGE) * SLOT_BYTES };
}

export type PlannedOperation =
  | { readonly kind: 'append'; readonly key: string; readonly element: number }
  | { readonly kind: 'write'; readonly key: string; readonly value: number }
  | { readonly kind: 'transfer'; readonly from: string; readonly to: string; readonly amount: number }
  | { readonly kind: 'read-list'; readonly key: string }
  | { readonly kind: 'read-register'; readonly key: string }
  | { readonly kind: 'read-accounts' };

export function isWriting(operation: PlannedOperation): boolean {
  return operation.kind === 'append' || operation.kind === 'write' || operation.kind === 'transfer';
}

/** The pages that the operations read or write. */
export function pagesOf(operations: readonly PlannedOperation[]): number[] {
  const pages = new Set<number>();
  for (const operation of operations) {
    switch (operation.kind) {
      case 'transfer':
        pages.add(slotOf(operation.from).page).add(slotOf(operation.to).page);
        break;
      case 'read-accounts':
        for (const account of ACCOUNTS) pages.add(slotOf(account).page);
        break;
      default:
        pages.add(slotOf(operation.key).page);
    }
  }
  return [...pages];
}

/** Performs the operations in order; `did` hears of each with what it read. An append to a full list is left out. */
export function perform(
  operations: readonly PlannedOperation[],
  pages: Pages,
  did: (operation: MicroOperation) => void,
): void {
  const own = new Map<number, Uint8Array>();
  const look = (page: number): Uint8Array => own.get(page) ?? pages.read(page);
  const change = (page: number): Uint8Array => {
    let bytes = own.get(page);
    if (bytes === undefined) {
      bytes = pages.read(page).slice();
      own.set(page, bytes);
    }
    return bytes;
  };
  for (const operation of operations) {
    switch (operation.kind) {
      case 'append': {
        const { page, offset } = slotOf(operation.key);
        const bytes = change(page);
        const count = u32(bytes, offset);
        if (count >= LIST_CAPACITY) break;
        putU32(bytes, offset + 4 * (count + 1), operation.element);
        putU32(bytes, offset, count + 1);
        did(operation);
        break;
      }
      case 'write': {
        const { page, offset } = slotOf(operation.key);
        putU32(change(page), offset, operation.value);
        did(operation);
        break;
      }
      case 'transfer': {
        if (operation.from === operation.to) break;
        addTo(change(slotOf(operation.from).page), slotOf(operation.from).offset, -operation.amount);
        addTo(change(slotOf(operation.to).page), slotOf(operation.to).offset, operation.amount);
        did(operation);
        break;
      }
      case 'read-list': {
        const { page, offset } = slotOf(operation.key);
        const bytes = look(page);
        const count = u32(bytes, offset);
        const elements = Array.from({ length: count }, (_, i) => u32(bytes, offset + 4 * (i + 1)));
        did({ kind: 'read-list', key: operation.key, elements });
        break;
      }
      case 'read-register': {
        const { page, offset } = slotOf(operation.key);
        const value = u32(look(page), offset);
        did({ kind: 'read-register', key: operation.key, value: value === 0 ? null : value });
        break;
      }
      default: {
        const balances: Record<string, number> = {};
        for (const account of ACCOUNTS) {
          const { page, offset } = slotOf(account);
          balances[account] = OPENING_BALANCE + differenceAt(look(page), offset);
        }
        did({ kind: 'read-accounts', balances });
      }
    }
  }
  if (own.size === 0) return;
  const size = Math.max(databasePages(look(1)), ...own.keys());
  // As SQLite does, whether or not it changed.
  putU32(change(1), SIZE_AT, size);
  for (const [page, bytes] of [...own].sort(([a], [b]) => a - b)) pages.write(page, bytes);
}

function differenceAt(bytes: Uint8Array, offset: number): number {
  const stored = u32(bytes, offset);
  return stored === 0 ? 0 : stored - BIAS;
}

function addTo(bytes: Uint8Array, offset: number, amount: number): void {
  putU32(bytes, offset, BIAS + differenceAt(bytes, offset) + amount);
}

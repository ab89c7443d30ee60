/** What clients want to do, drawn from chance. Keys live for a while, so that lists stay short; elements and values are used once. */
import type { SeededRandom } from '../../support/seeded-random.ts';
import { ACCOUNTS, type ReadWish, type Wish } from './objects.ts';

const LISTS_ALIVE = 6;
const ELEMENTS_PER_LIST = 40;
const REGISTERS = 4;
/** Longer than a page. */
const LARGE_BODY_BYTES = 20_000;
const SMALL_BODY_BYTES = 400;

export type ReadingWish = Extract<Wish, { kind: 'read' }>;
export type WritingWish = Extract<Wish, { kind: 'write' }>;

/** Shared by the clients of one workload. */
export class Numbers {
  #last = 0;

  next(): number {
    this.#last += 1;
    return this.#last;
  }

  /** Of the lists in use now. */
  get era(): number {
    return Math.floor(this.#last / (LISTS_ALIVE * ELEMENTS_PER_LIST));
  }
}

export class Wishes {
  readonly #random: SeededRandom;
  readonly #numbers: Numbers;
  readonly #client: string;

  constructor(random: SeededRandom, numbers: Numbers, client: string) {
    this.#random = random;
    this.#numbers = numbers;
    this.#client = client;
  }

  /** A transaction that writes, and looks at some of what it changes. */
  changes(): Wish[] {
    const random = this.#random;
    const wishes: Wish[] = [];
    const parts = 1 + random.below(4);
    for (let part = 0; part < parts; part += 1) {
      if (random.chance(0.35)) wishes.push(this.look());
      wishes.push(...this.#change());
    }
    if (random.chance(0.3)) wishes.push(this.look());
    if (random.chance(0.4)) wishes.push(this.#scratch());
    return wishes;
  }

  /** One statement. */
  change(): WritingWish {
    return this.#random.chance(0.5) ? this.#append() : this.#write(this.#register());
  }

  look(): ReadingWish {
    const random = this.#random;
    const kind = random.below(10);
    if (kind < 5) return read({ kind: 'read-list', key: this.#list() });
    if (kind < 9) return read({ kind: 'read-register', key: this.#register() });
    return read({ kind: 'read-accounts' });
  }

  looks(): ReadingWish[] {
    return Array.from({ length: 2 + this.#random.below(4) }, () => this.look());
  }

  #change(): Wish[] {
    const random = this.#random;
    const kind = random.below(10);
    if (kind < 4) return [this.#append()];
    if (kind < 6) {
      const key = this.#register();
      return random.chance(0.5)
        ? [read({ kind: 'read-register', key }), this.#write(key)]
        : [this.#write(key)];
    }
    const [from, to] = [random.pick(ACCOUNTS), random.pick(ACCOUNTS)];
    const operation = { kind: 'transfer', from, to, amount: 1 + random.below(20) } as const;
    // What becomes of the transfer is told by the element.
    return [{ kind: 'write', operation, bodyBytes: 0 }, this.#append()];
  }

  #append(): WritingWish {
    const bodyBytes = this.#random.chance(0.03) ? LARGE_BODY_BYTES : this.#random.below(SMALL_BODY_BYTES);
    const operation = { kind: 'append', key: this.#list(), element: this.#numbers.next() } as const;
    return { kind: 'write', operation, bodyBytes };
  }

  #write(key: string): WritingWish {
    return { kind: 'write', operation: { kind: 'write', key, value: this.#numbers.next() }, bodyBytes: 0 };
  }

  #list(): string {
    const which = this.#random.below(LISTS_ALIVE);
    return `${which % 2 === 0 ? 'rows' : 'text'}-${this.#numbers.era}-${which}`;
  }

  #register(): string {
    return `register-${this.#random.below(REGISTERS)}`;
  }

  #scratch(): Wish {
    const random = this.#random;
    const statement = random.chance(0.2)
      ? { sql: 'DELETE FROM scratch WHERE client = ? AND id % 3 = 0', args: [this.#client] }
      : {
          sql: 'INSERT INTO scratch(client, body) VALUES (?, ?)',
          args: [this.#client, random.id(4 + random.below(200))],
        };
    return { kind: 'none', statement };
  }
}

function read(wanted: ReadWish): ReadingWish {
  return { kind: 'read', wanted };
}

/**
 * A directed graph whose edges say why one transaction must come before another, and the search for cycles in it. Nodes are small
 * integers; some stand for no transaction but for a moment, so that "everything before t comes before everything after t" costs two
 * edges per transaction and not the square.
 */

/** Reasons, as bits, so that a search can be held to some of them. */
export const WRITE_WRITE = 1;
export const WRITE_READ = 2;
/** An anti-dependency: what was read is older than what was written. */
export const READ_WRITE = 4;
export const SESSION = 8;
export const REAL_TIME = 16;
/** From a helping node on: the reason is that of the edge that led there. */
export const ONWARD = 32;

export type Reason = number;

export interface Edge {
  readonly from: number;
  readonly to: number;
  readonly reason: Reason;
}

/** Work that one search for a cycle may cost, in edges: what it is bounded for are histories where everything is wrong. */
const SEARCH_BUDGET = 2_000_000;

export class DependencyGraph {
  readonly #from: number[] = [];
  readonly #to: number[] = [];
  readonly #reason: Reason[] = [];
  #nodes: number;
  /** Built when the first question comes: edges by their origin. */
  #starts = new Int32Array(0);
  #order = new Int32Array(0);

  constructor(nodes: number) {
    this.#nodes = nodes;
  }

  /** A node that stands for no transaction. */
  addNode(): number {
    this.#nodes += 1;
    return this.#nodes - 1;
  }

  addEdge(from: number, to: number, reason: Reason): void {
    if (from === to) return;
    this.#from.push(from);
    this.#to.push(to);
    this.#reason.push(reason);
  }

  /** Groups of nodes that lie on cycles together (Tarjan's components of more than one node). */
  knots(): number[][] {
    this.#sortEdges();
    const index = new Int32Array(this.#nodes).fill(-1);
    const low = new Int32Array(this.#nodes);
    const cursor = new Int32Array(this.#nodes);
    const isOnStack = new Uint8Array(this.#nodes);
    const stack: number[] = [];
    const path: number[] = [];
    const knots: number[][] = [];
    let counter = 0;
    const enter = (node: number): void => {
      index[node] = low[node] = counter;
      counter += 1;
      cursor[node] = this.#starts[node] as number;
      stack.push(node);
      isOnStack[node] = 1;
      path.push(node);
    };
    for (let root = 0; root < this.#nodes; root += 1) {
      if (index[root] !== -1) continue;
      enter(root);
      while (path.length > 0) {
        const node = path.at(-1) as number;
        const at = cursor[node] as number;
        if (at < (this.#starts[node + 1] as number)) {
          cursor[node] = at + 1;
          const next = this.#to[this.#order[at] as number] as number;
          if (index[next] === -1) enter(next);
          else if (isOnStack[next] === 1) low[node] = Math.min(low[node] as number, index[next] as number);
          continue;
        }
        path.pop();
        const parent = path.at(-1);
        if (parent !== undefined) low[parent] = Math.min(low[parent] as number, low[node] as number);
        if (low[node] !== index[node]) continue;
        const knot: number[] = [];
        for (let member = -1; member !== node; knot.push(member)) {
          member = stack.pop() as number;
          isOnStack[member] = 0;
        }
        if (knot.length > 1) knots.push(knot);
      }
    }
    return knots;
  }

  /**
   * A short cycle among `nodes` whose edges have the reasons `along`, and which starts with an edge of the reasons `first`. With
   * `isSpaced`, no two edges of `first` follow each other (apart from edges of other reasons between them), nor the last one the first.
   */
  findCycle(options: {
    readonly nodes: readonly number[];
    readonly first: Reason;
    readonly along: Reason;
    readonly isSpaced?: boolean;
  }): Edge[] | null {
    this.#sortEdges();
    const { first, along, isSpaced = false } = options;
    const allowed = new Set(options.nodes);
    let budget = SEARCH_BUDGET;
    for (const from of options.nodes) {
      for (const edge of this.#edgesFrom(from)) {
        if (((this.#reason[edge] as Reason) & first) === 0) continue;
        const back = this.#pathBack(edge, { allowed, along, spaced: isSpaced ? first : 0 }, budget);
        budget -= back.cost;
        if (back.path !== null) return back.path.map((step) => this.#edge(step));
        if (budget <= 0) return null;
      }
    }
    return null;
  }

  /** Breadth first from the end of `first` to its start. With `spaced`, a state is a node and whether an edge of that reason led to it. */
  #pathBack(
    first: number,
    limits: { readonly allowed: ReadonlySet<number>; readonly along: Reason; readonly spaced: Reason },
    budget: number,
  ): { readonly path: number[] | null; readonly cost: number } {
    const { allowed, along, spaced } = limits;
    const goal = this.#from[first] as number;
    const state = (node: number, cameSpaced: boolean): number => node * 2 + (cameSpaced ? 1 : 0);
    const start = state(this.#to[first] as number, spaced !== 0);
    const cameBy = new Map<number, { readonly edge: number; readonly before: number }>();
    const queue = [start];
    let cost = 0;
    for (let head = 0; head < queue.length && cost < budget; head += 1) {
      const here = queue[head] as number;
      const mayNotSpace = here % 2 === 1;
      for (const edge of this.#edgesFrom(here >> 1)) {
        cost += 1;
        const reason = this.#reason[edge] as Reason;
        const to = this.#to[edge] as number;
        if ((reason & (along | ONWARD)) === 0 || !allowed.has(to)) continue;
        const isSpacedReason = (reason & spaced) !== 0;
        if (isSpacedReason && mayNotSpace) continue;
        const cameSpaced = reason === ONWARD ? mayNotSpace : isSpacedReason;
        const next = state(to, cameSpaced);
        if (next === start || cameBy.has(next)) continue;
        cameBy.set(next, { edge, before: here });
        if (to !== goal || cameSpaced) {
          queue.push(next);
          continue;
        }
        const path: number[] = [];
        for (let at = next; at !== start; ) {
          const step = cameBy.get(at) as { readonly edge: number; readonly before: number };
          path.push(step.edge);
          at = step.before;
        }
        return { path: [first, ...path.reverse()], cost };
      }
    }
    return { path: null, cost };
  }

  *#edgesFrom(node: number): Iterable<number> {
    const end = this.#starts[node + 1] as number;
    for (let at = this.#starts[node] as number; at < end; at += 1) yield this.#order[at] as number;
  }

  #edge(edge: number): Edge {
    return {
      from: this.#from[edge] as number,
      to: this.#to[edge] as number,
      reason: this.#reason[edge] as Reason,
    };
  }

  #sortEdges(): void {
    if (this.#order.length === this.#from.length && this.#starts.length === this.#nodes + 1) return;
    const starts = new Int32Array(this.#nodes + 1);
    for (const from of this.#from) starts[from + 1] = (starts[from + 1] as number) + 1;
    for (let node = 0; node < this.#nodes; node += 1)
      starts[node + 1] = (starts[node + 1] as number) + (starts[node] as number);
    const next = starts.slice();
    const order = new Int32Array(this.#from.length);
    for (const [edge, from] of this.#from.entries()) {
      const at = next[from] as number;
      order[at] = edge;
      next[from] = at + 1;
    }
    this.#starts = starts;
    this.#order = order;
  }
}

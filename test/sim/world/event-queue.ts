/** What is to happen, by (time, order of planning): a binary heap. */

export interface PlannedEvent {
  atMs: number;
  order: number;
  /** Whose turn it is: events of a life that is over are dropped, those of one that is stopped wait. */
  readonly life: Life | null;
  readonly what: string;
  readonly run: () => void;
  isCancelled: boolean;
}

/** One life of a simulated process. */
export interface Life {
  readonly name: string;
  isOver: boolean;
  /** Events that came while the process was stopped, in order; null while it runs. */
  waiting: PlannedEvent[] | null;
}

export class EventQueue {
  readonly #heap: PlannedEvent[] = [];

  get size(): number {
    return this.#heap.length;
  }

  push(event: PlannedEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as PlannedEvent;
      if (!isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  peek(): PlannedEvent | undefined {
    return this.#heap[0];
  }

  pop(): PlannedEvent | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || last === first) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = child + 1;
      if (right < heap.length && isBefore(heap[right] as PlannedEvent, heap[child] as PlannedEvent))
        child = right;
      const least = heap[child] as PlannedEvent;
      if (!isBefore(least, last)) break;
      heap[at] = least;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: PlannedEvent, b: PlannedEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

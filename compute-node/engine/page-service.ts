/** Answers the SQL worker's page requests out of the volume. The answer goes through its own port, so that a sleeping worker can take it. */
import type { MessagePort } from 'node:worker_threads';
import { isTidemarkError } from '../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { type Lsn, toPageNumber } from '../../src/log/lsn.ts';
import type { PageVersion } from '../../src/messages/messages.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import type { SharedState } from './shared-state.ts';
import type { PageAnswer } from './worker-messages.ts';

export class PageService {
  readonly #volume: OpenVolume;
  readonly #port: MessagePort;
  readonly #shared: SharedState;

  constructor(volume: OpenVolume, port: MessagePort, shared: SharedState) {
    this.#volume = volume;
    this.#port = port;
    this.#shared = shared;
  }

  async serve(request: number, at: Lsn, pages: readonly number[]): Promise<void> {
    let answer: PageAnswer;
    try {
      answer = pack(request, at, pages, await this.#volume.readPages(at, pages.map(toPageNumber)));
    } catch (error) {
      const code = isTidemarkError(error) ? error.code : 'INTERNAL';
      const message = error instanceof Error ? error.message : String(error);
      answer = { request, error: { code, message: `a page could not be read from storage: ${message}` } };
    }
    this.#port.postMessage(answer, answer.error === null ? [answer.data.buffer] : []);
    this.#shared.announcePageAnswer();
  }
}

function pack(
  request: number,
  at: Lsn,
  pages: readonly number[],
  versions: readonly PageVersion[],
): PageAnswer {
  const lsns: number[] = [];
  const data = new Uint8Array(versions.reduce((sum, v) => sum + (v.lsn === 0 ? 0 : PAGE_SIZE_BYTES), 0));
  let offset = 0;
  for (const version of versions) {
    lsns.push(version.lsn);
    if (version.lsn === 0) continue;
    data.set(version.data, offset);
    offset += PAGE_SIZE_BYTES;
  }
  return { request, error: null, at, pages, lsns, data };
}

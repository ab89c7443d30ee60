/** What one compute node asks another for, over the network: an exchange that gets lost is told as such, whatever became of it. */
import { TidemarkError } from '../../../src/base/errors.ts';
import type { Links } from '../world/links.ts';
import type { SimProcess } from '../world/process.ts';

const REQUEST_BYTES = 200;

export function exchangeBetween<Result>(
  {
    links,
    asker,
    asked,
    timeoutMs,
  }: { links: Links; asker: SimProcess; asked: SimProcess; timeoutMs: number },
  act: () => Promise<Result>,
): Promise<Result> {
  const there = links.between(asker.name, asked.name);
  const back = links.between(asked.name, asker.name);
  return new Promise((resolve, reject) => {
    const silent = new TidemarkError('UNAVAILABLE', `${asked.name} does not answer`);
    const deadline = asker.after(timeoutMs, () => reject(silent));
    const answer = (end: () => void): void => {
      if (links.loses(back)) return;
      asker.later(links.delayMs(back, REQUEST_BYTES), 'compute-answer', () => {
        deadline.cancel();
        end();
      });
    };
    if (links.loses(there)) return;
    asked.later(links.delayMs(there, REQUEST_BYTES), 'compute-ask', () => {
      act().then(
        (result) => answer(() => resolve(result)),
        (error: unknown) => answer(() => reject(error as Error)),
      );
    });
  });
}

/** A commit that the end of its engine left open: the stream goes on with the volume's next engine. */
import { describe, expect, it } from 'vitest';
import type { EngineConnection } from '../../../compute-node/engine/api.ts';
import { STRONG } from '../../../compute-node/session/consistency.ts';
import { DEFAULT_SESSION_LIMITS } from '../../../compute-node/session/limits.ts';
import { Sessions } from '../../../compute-node/session/sessions.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { stepOf } from '../../support/core-harness.ts';
import { ManualScheduler } from '../../support/manual-scheduler.ts';

function connectionThat(run: EngineConnection['run'], isAutocommit = true): EngineConnection {
  return {
    run,
    isAutocommit,
    holdsWriterLock: false,
    interrupt: () => {},
    close: async () => {},
  } as Partial<EngineConnection> as EngineConnection;
}

function unknownAfter(code: 'DEPOSED' | 'NO_QUORUM'): EngineConnection['run'] {
  const cause = new TidemarkError(code, 'why');
  return () => Promise.reject(new TidemarkError('OUTCOME_UNKNOWN', 'committed or not', { cause }));
}

const works: EngineConnection['run'] = async () => ({ lsn: 7 as never, isAutocommit: true });

async function twoRequests(
  first: EngineConnection,
  sqls: readonly string[],
): Promise<[unknown, unknown, number]> {
  const sessions = new Sessions(DEFAULT_SESSION_LIMITS, new ManualScheduler());
  let connects = 0;
  const stream = sessions.open(async () => (connects++ === 0 ? first : connectionThat(works)));
  const ask = (...statements: readonly string[]) =>
    stream.run({ steps: statements.map((sql) => stepOf(sql)), consistency: STRONG, onEvent: () => {} }).then(
      () => 'done',
      (error: TidemarkError) => error.code,
    );
  return [await ask(...sqls), await ask('SELECT 1'), connects];
}

describe('a stream whose commit has an unknown outcome', () => {
  it('takes the next engine when this one has ended, for an autocommit and for a COMMIT', async () => {
    const one = connectionThat(unknownAfter('DEPOSED'));
    expect(await twoRequests(one, ['INSERT INTO t VALUES (1)'])).toEqual(['OUTCOME_UNKNOWN', 'done', 2]);
    const other = connectionThat(unknownAfter('DEPOSED'), false);
    expect(await twoRequests(other, ['COMMIT'])).toEqual(['OUTCOME_UNKNOWN', 'done', 2]);
  });

  it('runs nothing outside a transaction that the same request had begun', async () => {
    const one = connectionThat(unknownAfter('DEPOSED'));
    expect(await twoRequests(one, ['INSERT INTO t VALUES (1)', 'BEGIN'])).toEqual([
      'OUTCOME_UNKNOWN',
      'TRANSACTION_LOST',
      1,
    ]);
  });

  it('says so although the stream was closed meanwhile', async () => {
    const sessions = new Sessions(DEFAULT_SESSION_LIMITS, new ManualScheduler());
    const stream = sessions.open(async () =>
      connectionThat(async () => {
        void stream.close();
        throw new TidemarkError('OUTCOME_UNKNOWN', 'committed or not');
      }),
    );
    const asked = stream.run({ steps: [stepOf('COMMIT')], consistency: STRONG, onEvent: () => {} });
    await expect(asked).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  it('keeps the connection when the engine lives', async () => {
    const one = connectionThat(unknownAfter('NO_QUORUM'));
    expect((await twoRequests(one, ['INSERT INTO t VALUES (1)']))[2]).toBe(1);
  });
});

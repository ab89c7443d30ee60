/** `@libsql/client` over WebSocket, as most programs will have it: one client object for all, as it is meant to be used. */
import type { Client, Transaction } from '@libsql/client';
import { TidemarkError } from '../../src/base/errors.ts';
import type { WsTarget } from '../drivers/ws.ts';
import type { Arg, Mode, SqlClient, SqlStatement, SqlWay } from './way.ts';

export async function libsqlWay(target: WsTarget): Promise<SqlWay> {
  const { createClient } = await loadLibrary();
  const path = target.volume === 'main' ? '' : `/${target.volume}`;
  const client = createClient({
    url: `${target.httpOrigin.replace(/^http/, 'ws')}${path}`,
    // Its own limit is 20 at once; the number of clients is the benchmark's business.
    concurrency: 0,
    ...(target.authToken === null ? {} : { authToken: target.authToken }),
  });
  return {
    name: '@libsql/client',
    connect: async () => new LibsqlClient(client),
    close: async () => client.close(),
  };
}

async function loadLibrary(): Promise<typeof import('@libsql/client')> {
  try {
    return await import('@libsql/client');
  } catch (cause) {
    throw new TidemarkError('UNSUPPORTED', 'the package @libsql/client is not installed', {
      cause,
      nextStep: 'Run this from a checkout, after `npm ci`.',
    });
  }
}

/** For whatever has the interface of `@libsql/client`. */
export class LibsqlClient implements SqlClient {
  private readonly client: Pick<Client, 'execute' | 'batch' | 'transaction'>;

  constructor(client: Pick<Client, 'execute' | 'batch' | 'transaction'>) {
    this.client = client;
  }

  async run(sql: string, args: readonly Arg[]): Promise<number> {
    return (await this.client.execute(toInStatement({ sql, args }))).rows.length;
  }

  async batch(statements: readonly SqlStatement[], mode: Mode): Promise<void> {
    await this.client.batch(statements.map(toInStatement), mode);
  }

  async transaction(work: (run: SqlClient['run']) => Promise<void>, mode: Mode): Promise<void> {
    const transaction: Transaction = await this.client.transaction(mode);
    try {
      await work(async (sql, args) => (await transaction.execute(toInStatement({ sql, args }))).rows.length);
      await transaction.commit();
    } finally {
      transaction.close();
    }
  }

  close(): void {}
}

function toInStatement({ sql, args }: SqlStatement): { sql: string; args: (string | bigint)[] } {
  // A number of JavaScript's would be bound as REAL.
  return { sql, args: args.map((arg) => (typeof arg === 'number' ? BigInt(arg) : arg)) };
}

/** Hrana 3 over WebSocket in raw frames (drivers/ws.ts): a connection for each client; texts stored with the server, and sent once. */
import { WsConnection, type WsTarget } from '../drivers/ws.ts';
import { type Arg, beginSql, type Mode, type SqlClient, type SqlStatement, type SqlWay } from './way.ts';

export function wsWay(target: WsTarget): SqlWay {
  return {
    name: 'WebSocket',
    connect: async () => new WsClient(await WsConnection.open(target)),
    close: async () => {},
  };
}

export class WsClient implements SqlClient {
  readonly connection: WsConnection;
  private readonly stored = new Map<string, number>();

  constructor(connection: WsConnection) {
    this.connection = connection;
  }

  async run(sql: string, args: readonly Arg[]): Promise<number> {
    const id = await this.store(sql);
    const response = await this.connection.request(
      `{"type":"execute","stream_id":1,"stmt":${stmtJson(id, args)}}`,
    );
    return countRows(response);
  }

  async batch(statements: readonly SqlStatement[], mode: Mode): Promise<void> {
    let steps = `{"stmt":{"sql":"${beginSql(mode)}","want_rows":false}}`;
    let last = 0;
    for (const { sql, args } of statements) {
      steps += `,{"condition":{"type":"ok","step":${last}},"stmt":${stmtJson(await this.store(sql), args)}}`;
      last += 1;
    }
    steps +=
      `,{"condition":{"type":"ok","step":${last}},"stmt":{"sql":"COMMIT","want_rows":false}}` +
      `,{"condition":{"type":"not","cond":{"type":"ok","step":${last + 1}}},"stmt":{"sql":"ROLLBACK","want_rows":false}}`;
    const response = await this.connection.request(
      `{"type":"batch","stream_id":1,"batch":{"steps":[${steps}]}}`,
    );
    if (!response.includes(NO_ERRORS(last + 3)))
      throw new Error(`a batch failed: ${response.slice(0, 2_000)}`);
  }

  async transaction(work: (run: SqlClient['run']) => Promise<void>, mode: Mode): Promise<void> {
    await this.run(beginSql(mode), []);
    try {
      await work((sql, args) => this.run(sql, args));
    } catch (error) {
      await this.run('ROLLBACK', []).catch(() => undefined);
      throw error;
    }
    await this.run('COMMIT', []);
  }

  close(): void {
    this.connection.close();
  }

  private async store(sql: string): Promise<number> {
    const known = this.stored.get(sql);
    if (known !== undefined) return known;
    const id = this.stored.size + 1;
    this.stored.set(sql, id);
    await this.connection.request(JSON.stringify({ type: 'store_sql', sql_id: id, sql }));
    return id;
  }
}

const NO_ERRORS = (steps: number): string =>
  `"step_errors":[${new Array<string>(steps).fill('null').join(',')}]`;

function stmtJson(id: number, args: readonly Arg[]): string {
  return `{"sql_id":${id},"args":[${args.map(argJson).join(',')}]}`;
}

export function argJson(arg: Arg): string {
  if (typeof arg === 'number') return `{"type":"integer","value":"${arg}"}`;
  return `{"type":"text","value":${JSON.stringify(arg)}}`;
}

/** Without parsing: rows are arrays of objects in an array, and texts of benchmarks hold no brackets. */
export function countRows(response: string): number {
  const from = response.indexOf('"rows":[');
  if (from < 0 || response[from + 8] === ']') return 0;
  let rows = 1;
  for (let at = response.indexOf('],[', from); at >= 0; at = response.indexOf('],[', at + 1)) rows += 1;
  return rows;
}

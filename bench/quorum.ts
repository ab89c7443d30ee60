/**
 * `bench quorum`: one-row updates of about 100 bytes by primary key, each its own commit, acknowledged by four of six. Over the client
 * protocol (WebSocket), or, `in-process`, through the engine's interface with no protocol between.
 */
import { randomBytes } from 'node:crypto';
import type { Engine, EngineConnection, SqlValue } from '../compute-node/engine/api.ts';
import { WsConnection } from './drivers/ws.ts';
import { type LoadResult, runLoad } from './load.ts';
import type { Target } from './report.ts';
import type { BenchSubject, NodeLatency, Say } from './subject.ts';

export interface QuorumOptions {
  readonly clients: readonly number[];
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly rows: number;
}

export interface QuorumPhase extends LoadResult {
  readonly nodes: readonly NodeLatency[];
  /** From compute node to each storage node, heartbeats and framing included; null where not known. */
  readonly bytesPerUpdatePerNode: number | null;
}

const TABLE = 'bench_quorum';
/** The size class of a small business row. */
const PAYLOAD_CHARS = 100;
const COPIES = 6;
const CREATE = [
  `DROP TABLE IF EXISTS ${TABLE}`,
  `CREATE TABLE ${TABLE} (id INTEGER PRIMARY KEY, v TEXT NOT NULL)`,
] as const;
const UPDATE = `UPDATE ${TABLE} SET v = ? WHERE id = ?`;

function fillSql(rows: number): string {
  return `INSERT INTO ${TABLE} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
          SELECT i, hex(randomblob(${PAYLOAD_CHARS / 2})) FROM n`;
}

/** Payloads share nothing with each other, so that an update changes all of the row; cut from one text, so that they cost nothing. */
const RANDOM_TEXT = randomBytes(48 * 1024).toString('base64');

function payload(): string {
  const from = Math.floor(Math.random() * (RANDOM_TEXT.length - PAYLOAD_CHARS));
  return RANDOM_TEXT.slice(from, from + PAYLOAD_CHARS);
}

export async function benchQuorum(
  subject: BenchSubject,
  options: QuorumOptions,
  say: Say,
): Promise<QuorumPhase[]> {
  const setup = await WsConnection.open(subject.target);
  for (const sql of [...CREATE, fillSql(options.rows)]) await setup.execute(sql);
  const phases: QuorumPhase[] = [];
  try {
    for (const clients of options.clients) phases.push(await phase(subject, clients, options, say));
  } finally {
    await setup.execute(`DROP TABLE IF EXISTS ${TABLE}`).catch(() => undefined);
    setup.close();
  }
  return phases;
}

async function phase(
  subject: BenchSubject,
  clients: number,
  options: QuorumOptions,
  say: Say,
): Promise<QuorumPhase> {
  say(`${clients} client${clients === 1 ? '' : 's'} over WebSocket…`);
  const connections = await Promise.all(
    Array.from({ length: clients }, () => WsConnection.open(subject.target)),
  );
  const sent = (): number => connections.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
  let writtenBefore: number | null = null;
  let repliedBefore = 0;
  const operations = await Promise.all(
    connections.map(async (connection) => {
      await connection.request(JSON.stringify({ type: 'store_sql', sql_id: 1, sql: UPDATE }));
      return async () => {
        const id = 1 + Math.floor(Math.random() * options.rows);
        await connection.request(
          '{"type":"execute","stream_id":1,"stmt":{"sql_id":1,"want_rows":false,"args":[' +
            `{"type":"text","value":"${payload()}"},{"type":"integer","value":"${id}"}]}}`,
        );
      };
    }),
  );
  try {
    const result = await runLoad({
      operations,
      warmUpMs: options.warmUpMs,
      durationMs: options.durationMs,
      onMeasuring: () => {
        writtenBefore = subject.computeBytesWritten();
        repliedBefore = sent();
      },
    });
    const writtenAfter = subject.computeBytesWritten();
    const toStorage =
      writtenBefore === null || writtenAfter === null
        ? null
        : writtenAfter - writtenBefore - (sent() - repliedBefore);
    return {
      ...result,
      nodes: await subject.nodeLatencies(),
      bytesPerUpdatePerNode: toStorage === null ? null : toStorage / result.operations / COPIES,
    };
  } finally {
    for (const connection of connections) connection.close();
  }
}

/** The same work with no client protocol: the engine of a compute node in this process. */
export async function benchQuorumInProcess(
  engine: Engine,
  options: QuorumOptions,
  say: Say,
): Promise<QuorumPhase[]> {
  const setup = await engine.connect({ readonly: false });
  for (const sql of [...CREATE, fillSql(options.rows)]) await runOne(setup, sql, []);
  const phases: QuorumPhase[] = [];
  for (const clients of options.clients) {
    say(`${clients} client${clients === 1 ? '' : 's'} in process…`);
    const connections = await Promise.all(
      Array.from({ length: clients }, () => engine.connect({ readonly: false })),
    );
    const operations = connections.map((connection) => async () => {
      const id = BigInt(1 + Math.floor(Math.random() * options.rows));
      await runOne(connection, UPDATE, [payload(), id]);
    });
    const result = await runLoad({ operations, warmUpMs: options.warmUpMs, durationMs: options.durationMs });
    phases.push({ ...result, nodes: [], bytesPerUpdatePerNode: null });
    await Promise.all(connections.map((connection) => connection.close()));
  }
  await runOne(setup, `DROP TABLE ${TABLE}`, []);
  await setup.close();
  return phases;
}

async function runOne(connection: EngineConnection, sql: string, args: readonly SqlValue[]): Promise<void> {
  let failure: string | null = null;
  const statement = { sql, args, namedArgs: [], wantRows: false };
  await connection.run([{ statement, condition: null }], {
    consistency: 'strong',
    onEvent: (event) => {
      if (event.kind === 'step-error') failure = event.error.message;
    },
  });
  if (failure !== null) throw new Error(`${sql}: ${failure}`);
}

export function quorumTargets(phases: readonly QuorumPhase[], isInProcess: boolean): readonly Target[] {
  const at = (clients: number): QuorumPhase | undefined => phases.find((found) => found.clients === clients);
  const rate: Target = {
    name: `commits at 64 clients${isInProcess ? ' in process' : ''}`,
    wanted: isInProcess ? 8_000 : 4_000,
    is: 'at-least',
    unit: '/s',
    found: at(64)?.perSecond ?? null,
  };
  if (isInProcess) return [rate];
  return [
    { name: 'commit p50 at 1 client', wanted: 2.5, is: 'at-most', unit: 'ms', found: at(1)?.p50Ms ?? null },
    rate,
    {
      name: 'bytes to each storage node per update at 64 clients',
      wanted: 300,
      is: 'at-most',
      unit: 'B',
      found: at(64)?.bytesPerUpdatePerNode ?? null,
    },
  ];
}

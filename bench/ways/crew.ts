/** A way in as a contender: clients that connect, get ready, and do one operation again and again. */
import type { Contender } from '../contest.ts';
import type { SqlClient, SqlWay } from './way.ts';

export function contenderOf(
  way: SqlWay,
  operation: (client: SqlClient, index: number) => () => Promise<void>,
): Contender {
  return {
    name: way.name,
    crew: async (clients) => {
      const connected = await Promise.all(Array.from({ length: clients }, () => way.connect()));
      return {
        operations: connected.map(operation),
        close: async () => {
          await Promise.all(connected.map((client) => client.close()));
        },
      };
    },
  };
}

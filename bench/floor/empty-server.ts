/**
 * A server that speaks Hrana over WebSocket and does nothing: each request is answered with the same row at once. What `@libsql/client` reaches
 * against it is its own ceiling; our server cannot be asked for more. Run as a child.
 */
import { WebSocketServer } from 'ws';

const ROW =
  '{"type":"execute","result":{"cols":[{"name":"v","decltype":"TEXT"}],"rows":[[{"type":"text","value":"' +
  `${'x'.repeat(100)}"}]],"affected_row_count":0,"last_insert_rowid":"0"}}`;

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  perMessageDeflate: false,
  handleProtocols: (offered) => ['hrana3', 'hrana2'].find((name) => offered.has(name)) ?? false,
});
server.on('connection', (socket) => {
  socket.on('message', (data) => {
    const message = JSON.parse(String(data)) as {
      type: string;
      request_id: number;
      request?: { type: string };
    };
    if (message.type === 'hello') {
      socket.send('{"type":"hello_ok"}');
      return;
    }
    const kind = message.request?.type ?? '';
    const response = kind === 'execute' ? ROW : `{"type":"${kind}"}`;
    socket.send(`{"type":"response_ok","request_id":${message.request_id},"response":${response}}`);
  });
});
server.on('listening', () => process.send?.({ port: (server.address() as { port: number }).port }));
process.on('disconnect', () => process.exit());

/**
 * Two ways in which a client can be wrong about the protocol. `MalformedError`: one request does not say what it should; over WebSocket that
 * request is refused. `ProtocolError`: the conversation itself is broken; the WebSocket is closed. Over HTTP both are status 400.
 */
import { SessionError } from '../session/errors.ts';

export class MalformedError extends SessionError {
  constructor(message: string, nextStep?: string) {
    super('BAD_REQUEST', message, nextStep);
  }
}

export class ProtocolError extends SessionError {
  /** WebSocket close code: 1008 policy, 1007 invalid payload, 1003 unsupported frame. */
  readonly closeCode: number;

  constructor(message: string, closeCode = 1008) {
    super('BAD_REQUEST', message);
    this.closeCode = closeCode;
  }
}

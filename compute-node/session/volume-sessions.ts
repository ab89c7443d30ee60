/** An open volume, or a moment of one, as the session layer sees it. Who opens volumes, and when, is decided elsewhere (compute-node/node.ts). */
import type { EngineConnection } from '../engine/api.ts';

export interface VolumeSessions {
  /** Names the same again: of a moment, whichever way it was asked for, the LSN it stands for. */
  readonly name: string;
  /** To be called once. */
  connect(): Promise<EngineConnection>;
}

/**
 * Finds a volume by name, or a moment by NAME@WHEN, opening it when need be. Called for every new stream, and again when a stream's engine has ended, so that
 * streams outlive a take-over. Rejects VOLUME_NOT_FOUND, and whatever opening a volume can meet.
 */
export type ResolveVolume = (name: string) => Promise<VolumeSessions>;

/**
 * How a stream of `volume` gets its connection, now and after its engine has ended. A moment that depends on when it is asked for (`main@-15m`) is
 * settled by the first connection.
 */
export function connector(resolve: ResolveVolume, volume: string): () => Promise<EngineConnection> {
  let name = volume;
  return async () => {
    const sessions = await resolve(name);
    name = sessions.name;
    return sessions.connect();
  };
}

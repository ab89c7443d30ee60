/**
 * The part of the administration interface that is about timelines. `WHEN` is a moment as people write it (src/timeline/moment.ts); a source is
 * `VOLUME` or `VOLUME@WHEN`.
 *
 *   GET    /-/tree                               {volumes: [VolumeNode]}: every volume, whom it was cloned from, what it takes
 *   POST   /-/clones                             {source, name} → 201
 *   DELETE /-/volumes/NAME[?force=true]          drops it; force: although it is open
 *   POST   /-/volumes/NAME/backtrack             {to: WHEN} → where it is now, and the bookmark that leads back
 *   GET    /-/volumes/NAME/snapshots             {snapshots: […]}
 *   POST   /-/volumes/NAME/snapshots             {name, at?: WHEN} → 201
 *   DELETE /-/volumes/NAME/snapshots/SNAPSHOT
 *   GET    /-/volumes/NAME/window                how far back it can be read
 *   PUT    /-/volumes/NAME/window                {windowMs}
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { TidemarkError } from '../src/base/errors.ts';
import type { Timers } from '../src/env/env.ts';
import { parseMoment, splitMoment } from '../src/timeline/moment.ts';
import { readJson, sendJson } from './admin-http.ts';
import { pause } from './driver/pause.ts';
import type { HistoryWindow, ResolvedMoment, Timelines } from './timelines/api.ts';

const WINDOW_TIMEOUT_MS = 1_500;

/** Answers when the request is about timelines. False: it is not. */
export async function answerTimelines(
  timelines: Timelines,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  const [what = '', volume = '', part = '', last = '', ...rest] = pathname.split('/').slice(2).map(decoded);
  if (rest.length > 0) return false;
  const path = [what, volume && 'VOLUME', part, last && 'NAME'].filter((word) => word !== '').join('/');
  switch (`${request.method} ${path}`) {
    case 'GET tree':
      sendJson(response, 200, { volumes: await timelines.volumes() });
      return true;
    case 'POST clones': {
      const body = await readJson(request);
      const source = splitMoment(textField(body, 'source'));
      const { name, volume, from } = await timelines.clone(source, textField(body, 'name'));
      sendJson(response, 201, { name, volume, from: momentBody(from) });
      return true;
    }
    case 'DELETE volumes/VOLUME': {
      const force = searchParams.get('force') === 'true';
      sendJson(response, 200, await timelines.drop(volume, { force }));
      return true;
    }
    case 'POST volumes/VOLUME/backtrack': {
      const moment = parseMoment(textField(await readJson(request), 'to'));
      const { name, to, undo } = await timelines.backtrack(volume, moment);
      sendJson(response, 200, { name, to: momentBody(to), undo });
      return true;
    }
    case 'GET volumes/VOLUME/snapshots':
      sendJson(response, 200, { snapshots: await timelines.snapshots(volume) });
      return true;
    case 'POST volumes/VOLUME/snapshots': {
      const body = await readJson(request);
      const at = field(body, 'at') === undefined ? null : parseMoment(textField(body, 'at'));
      sendJson(response, 201, await timelines.createSnapshot(volume, textField(body, 'name'), at));
      return true;
    }
    case 'DELETE volumes/VOLUME/snapshots/NAME':
      sendJson(response, 200, await timelines.dropSnapshot(volume, last));
      return true;
    case 'GET volumes/VOLUME/window':
      sendJson(response, 200, await timelines.window(volume));
      return true;
    case 'PUT volumes/VOLUME/window': {
      const windowMs = field(await readJson(request), 'windowMs');
      if (typeof windowMs !== 'number' || !Number.isSafeInteger(windowMs) || windowMs < 0) {
        throw new TidemarkError('BAD_REQUEST', 'windowMs must be a whole number of milliseconds');
      }
      sendJson(response, 200, await timelines.setWindow(volume, windowMs));
      return true;
    }
    default:
      return false;
  }
}

/** Of volumes open here. One that does not answer in time is left out: a status is asked for when things fail. */
export async function windowsOf(
  timelines: Pick<Timelines, 'window'>,
  names: readonly string[],
  timers: Timers,
): Promise<Readonly<Record<string, HistoryWindow>>> {
  const late = pause(timers, WINDOW_TIMEOUT_MS).then(() => null);
  const windows = await Promise.all(
    names.map(async (name) => [name, await Promise.race([timelines.window(name).catch(() => null), late])]),
  );
  return Object.fromEntries(windows.filter(([, window]) => window !== null));
}

/** Whoever resolved it may know more than others are to depend on. */
function momentBody({ name, point, committedAtMicros }: ResolvedMoment): ResolvedMoment {
  const { volume, run, lsn } = point;
  return { name, point: { volume, run, lsn }, committedAtMicros };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new TidemarkError('BAD_REQUEST', 'the path is not valid percent-encoding', { cause });
  }
}

function textField(body: unknown, name: string): string {
  const value = field(body, name);
  if (typeof value === 'string' && value !== '') return value;
  throw new TidemarkError('BAD_REQUEST', `the body must be JSON with a text "${name}"`);
}

function field(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;
}

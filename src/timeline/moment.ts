/**
 * How people name a moment of a volume: `main@2026-11-21T10:00:00Z`, `main@-15m`, `main@lsn:123456`, `main@before-release` (a snapshot).
 * Here is only the notation; which read point a moment names is decided against the volume's runs (resolve-moment.ts).
 *
 * Times without a zone are UTC: servers, logs and clients rarely share a local time. A word that reads as a time is never a snapshot.
 */
import { TidemarkError } from '../base/errors.ts';
import { VOLUME_NAME_PATTERN } from '../base/limits.ts';
import { type Lsn, toLsn } from '../log/lsn.ts';

export type Moment =
  /** Everything committed by then, nothing after: what clients saw. Microseconds of the Unix epoch. */
  | { readonly kind: 'time'; readonly micros: number }
  /** So long before the request. */
  | { readonly kind: 'ago'; readonly micros: number }
  /** The newest commit at or below the LSN, on the run that the LSN belongs to. */
  | { readonly kind: 'lsn'; readonly lsn: Lsn }
  | { readonly kind: 'snapshot'; readonly name: string };

const MICROS_PER_SECOND = 1_000_000;
const UNIT_SECONDS: Readonly<Record<string, number>> = { d: 86_400, h: 3_600, m: 60, s: 1 };

const AGO = /^-(?:\d{1,9}[dhms])+$/;
const AGO_PART = /(\d{1,9})([dhms])/g;
const TIME =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|[+-]\d{2}:?\d{2})?$/i;
const LSN = /^lsn:(\d{1,16})$/i;

const FORMS =
  'a time (2026-11-21T10:00:00Z), a while ago (-15m, -2h30m, -1d), lsn:N, or the name of a snapshot';

/** Throws BAD_REQUEST, saying which forms there are. */
export function parseMoment(text: string): Moment {
  const lsn = LSN.exec(text);
  if (lsn !== null) {
    const value = Number(lsn[1]);
    if (!Number.isSafeInteger(value)) throw notAMoment(text);
    return { kind: 'lsn', lsn: toLsn(value) };
  }
  if (AGO.test(text)) return { kind: 'ago', micros: agoMicros(text) };
  const time = TIME.exec(text);
  if (time !== null) return { kind: 'time', micros: timeMicros(text, time) };
  if (VOLUME_NAME_PATTERN.test(text)) return { kind: 'snapshot', name: text };
  throw notAMoment(text);
}

/** `name@moment` in its parts; `moment` null when there is none. Names are not checked here. */
export function splitMoment(text: string): { readonly name: string; readonly moment: Moment | null } {
  const at = text.indexOf('@');
  if (at < 0) return { name: text, moment: null };
  return { name: text.slice(0, at), moment: parseMoment(text.slice(at + 1)) };
}

/** As parseMoment reads it. */
export function formatMoment(moment: Moment): string {
  switch (moment.kind) {
    case 'lsn':
      return `lsn:${moment.lsn}`;
    case 'snapshot':
      return moment.name;
    case 'time':
      return formatTime(moment.micros);
    case 'ago':
      return `-${Math.round(moment.micros / MICROS_PER_SECOND)}s`;
  }
}

/** RFC 3339 in UTC, with as many decimals as the time has. */
export function formatTime(micros: number): string {
  const seconds = Math.floor(micros / MICROS_PER_SECOND);
  const fraction = micros - seconds * MICROS_PER_SECOND;
  const whole = new Date(seconds * 1_000).toISOString().slice(0, 19);
  if (fraction === 0) return `${whole}Z`;
  return `${whole}.${String(fraction).padStart(6, '0').replace(/0+$/, '')}Z`;
}

function agoMicros(text: string): number {
  let seconds = 0;
  for (const [, amount, unit] of text.matchAll(AGO_PART))
    seconds += Number(amount) * (UNIT_SECONDS[unit!] ?? 0);
  return seconds * MICROS_PER_SECOND;
}

function timeMicros(text: string, parts: RegExpExecArray): number {
  const [, year, month, day, hour = '00', minute = '00', second = '00', fraction = '', zone = 'Z'] = parts;
  const utc = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // Date.parse lets 31 February become March: only what comes back unchanged is a day of the calendar.
  const isReal =
    !Number.isNaN(utc) && new Date(utc).toISOString().startsWith(`${year}-${month}-${day}T${hour}:`);
  if (!isReal) throw notAMoment(text);
  const micros =
    utc * 1_000 + Number(fraction.padEnd(6, '0').slice(0, 6)) - zoneSeconds(zone) * MICROS_PER_SECOND;
  if (micros < 0) throw notAMoment(text);
  return micros;
}

function zoneSeconds(zone: string): number {
  if (zone.toUpperCase() === 'Z') return 0;
  const digits = zone.replace(':', '');
  const seconds = Number(digits.slice(1, 3)) * 3_600 + Number(digits.slice(3, 5)) * 60;
  return digits.startsWith('-') ? -seconds : seconds;
}

function notAMoment(text: string): TidemarkError {
  return new TidemarkError('BAD_REQUEST', `'${text.slice(0, 80)}' names no moment`, {
    nextStep: `Give ${FORMS}.`,
  });
}

/**
 * The log of a process: one line per happening on stderr, JSON for machines, plain text when a person looks on (a terminal). stdout stays free
 * for what a command was asked to print.
 *
 * `fields` name what the line is about (volume, node, lsn…); an Error among them is written with its code, next step, cause and stack.
 */
import { TidemarkError } from '../base/errors.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
  /** The same log, every line of it with `fields` too. */
  with(fields: LogFields): Logger;
}

export interface LoggerOptions {
  /** Lines below it are dropped. */
  readonly level?: LogLevel;
  /** On every line: which process speaks. */
  readonly fields?: LogFields;
  readonly format?: 'json' | 'text';
  readonly write?: (line: string) => void;
  readonly nowMs?: () => number;
}

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const MAX_CAUSES = 5;

export function createLogger(options: LoggerOptions = {}): Logger {
  const level = options.level ?? 'info';
  const format = options.format ?? (process.stderr.isTTY ? 'text' : 'json');
  const write = options.write ?? ((line: string): void => void process.stderr.write(line));
  const nowMs = options.nowMs ?? Date.now;
  const render = format === 'json' ? renderJson : renderText;
  const make = (bound: LogFields): Logger => ({
    log(lineLevel, message, fields = {}) {
      if (RANK[lineLevel] < RANK[level]) return;
      write(`${render(new Date(nowMs()), lineLevel, message, { ...bound, ...fields })}\n`);
    },
    with: (fields) => make({ ...bound, ...fields }),
  });
  return make(options.fields ?? {});
}

/** For tests and for tools that report in other ways. */
export const silentLogger: Logger = { log: () => {}, with: () => silentLogger };

export function isLogLevel(text: string): text is LogLevel {
  return Object.hasOwn(RANK, text);
}

function renderJson(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  return JSON.stringify({ time: time.toISOString(), level, message, ...plainFields(fields) });
}

function renderText(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  const pairs = Object.entries(plainFields(fields)).map(([key, value]) => `${key}=${textOf(value)}`);
  return [time.toISOString().slice(11, 23), level.padEnd(5), message, ...pairs].join(' ');
}

function textOf(value: unknown): string {
  return typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

function plainFields(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, plain(value)]));
}

function plain(value: unknown): unknown {
  if (value instanceof Error) return plainError(value, MAX_CAUSES);
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return value;
}

function plainError(error: Error, causesLeft: number): object {
  const cause =
    error.cause instanceof Error && causesLeft > 0 ? plainError(error.cause, causesLeft - 1) : undefined;
  if (error instanceof TidemarkError) {
    return { code: error.code, message: error.message, nextStep: error.nextStep, cause };
  }
  return { name: error.name, message: error.message, stack: error.stack, cause };
}

/** How a process logs: settings that both kinds of node share. */
import { createLogger, isLogLevel, type Logger, type LogLevel } from '../../src/adapters/logger.ts';
import { TidemarkError } from '../../src/base/errors.ts';

export const LOG_SETTINGS = {
  logLevel: {
    key: 'logLevel',
    placeholder: 'LEVEL',
    help: 'debug, info, warn or error; default info',
    parse: (value: string): LogLevel => {
      if (isLogLevel(value)) return value;
      throw new TidemarkError('BAD_REQUEST', `"${value}" is not debug, info, warn or error`);
    },
  },
  logFormat: {
    key: 'logFormat',
    placeholder: 'FORMAT',
    help: 'json or text; default: text on a terminal',
    parse: (value: string): 'json' | 'text' => {
      if (value === 'json' || value === 'text') return value;
      throw new TidemarkError('BAD_REQUEST', `"${value}" is not json or text`);
    },
  },
} as const;

export function loggerOf(settings: {
  readonly logLevel?: LogLevel;
  readonly logFormat?: 'json' | 'text';
}): Logger {
  return createLogger({
    ...(settings.logLevel === undefined ? {} : { level: settings.logLevel }),
    ...(settings.logFormat === undefined ? {} : { format: settings.logFormat }),
  });
}

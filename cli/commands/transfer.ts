/** `tidemark import` and `tidemark export`: whole SQLite database files into and out of volumes. */
import { open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { TidemarkError } from '../../src/base/errors.ts';
import { splitMoment } from '../../src/timeline/moment.ts';
import { AdminClient } from '../client/admin.ts';
import { checkVolume, DEFAULT_VOLUME } from '../client/target.ts';
import type { CliContext } from '../context.ts';
import { formatBytes, formatDuration, ProgressBar } from '../terminal/progress.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

const SQLITE_MAGIC = 'SQLite format 3\0';

interface TransferFlags extends TargetFlags {
  readonly json?: boolean;
  readonly force?: boolean;
}

export function addImportCommand(program: Command, context: CliContext): void {
  addTargetOptions(program.command('import').description('Load a SQLite database file into an empty volume.'))
    .argument('<FILE>', 'a SQLite database file')
    .argument('[VOLUME]', 'made when there is none', DEFAULT_VOLUME)
    .option('--json', 'summary as JSON')
    .action(async (file: string, volume: string, flags: TransferFlags) => {
      checkVolume(volume);
      const sizeBytes = await checkDatabaseFile(file);
      const admin = new AdminClient(targetOf(flags, context));
      const bar = new ProgressBar(context.stderr, `Importing ${basename(file)}`, 'bytes');
      const startedMs = performance.now();
      try {
        const outcome = await admin.importDatabase(volume, file, sizeBytes, (done, total) =>
          bar.update(done, total),
        );
        bar.clear();
        const elapsedMs = performance.now() - startedMs;
        context.stdout.write(
          flags.json === true
            ? `${JSON.stringify({ volume, file, bytes: sizeBytes, ...outcome, elapsedMs: Math.round(elapsedMs) })}\n`
            : `${formatBytes(sizeBytes)} into volume ${volume} in ${formatDuration(elapsedMs)} ` +
                `(${outcome.pages} pages, LSN ${outcome.lsn})\n`,
        );
      } finally {
        bar.clear();
      }
    });
}

export function addExportCommand(program: Command, context: CliContext): void {
  addTargetOptions(
    program.command('export').description('Write a volume, or a moment of one, to a SQLite database file.'),
  )
    .argument('<VOLUME[@WHEN]>')
    .argument('<FILE>')
    .option('--force', 'overwrite the file')
    .option('--json', 'summary as JSON')
    .action(async (volume: string, file: string, flags: TransferFlags) => {
      checkVolume(splitMoment(volume).name);
      const path = resolve(file);
      if (flags.force !== true) await refuseExisting(path);
      const startedMs = performance.now();
      const { body, sizeBytes, lsn } = await new AdminClient(targetOf(flags, context)).exportDatabase(volume);
      const bar = new ProgressBar(context.stderr, `Exporting ${volume}`, 'bytes');
      let bytes = 0;
      try {
        bytes = await writeWhole(path, body, sizeBytes, (done) => bar.update(done, sizeBytes));
      } finally {
        bar.clear();
      }
      const elapsedMs = performance.now() - startedMs;
      context.stdout.write(
        flags.json === true
          ? `${JSON.stringify({ volume, file, bytes, lsn, elapsedMs: Math.round(elapsedMs) })}\n`
          : `${formatBytes(bytes)} into ${file} in ${formatDuration(elapsedMs)}${lsn === null ? '' : ` (LSN ${lsn})`}\n`,
      );
    });
}

async function checkDatabaseFile(file: string): Promise<number> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, 'r');
  } catch (cause) {
    throw new TidemarkError(
      'IO_ERROR',
      `cannot read ${file}: ${cause instanceof Error ? cause.message : cause}`,
      {
        cause,
        nextStep: 'Name a file that exists and may be read.',
      },
    );
  }
  try {
    const { size } = await handle.stat();
    const head = Buffer.alloc(SQLITE_MAGIC.length);
    const { bytesRead } = await handle.read(head, 0, head.length, 0).catch(() => ({ bytesRead: 0 }));
    if (bytesRead < head.length || head.toString('latin1') !== SQLITE_MAGIC) {
      throw new TidemarkError('NOT_A_DATABASE', `${file} is not a SQLite database`, {
        nextStep: 'For CSV or JSON rows use .import in `tidemark sql`; for SQL text use .read.',
      });
    }
    if (
      await stat(`${file}-wal`).then(
        ({ size: walBytes }) => walBytes > 0,
        () => false,
      )
    ) {
      throw new TidemarkError('NOT_A_DATABASE', `${file} has changes in ${file}-wal that are not in it yet`, {
        nextStep: `Close what uses it, or run: sqlite3 ${file} 'PRAGMA wal_checkpoint(TRUNCATE)'`,
      });
    }
    return size;
  } finally {
    await handle.close();
  }
}

async function refuseExisting(path: string): Promise<void> {
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (exists) {
    throw new TidemarkError('IO_ERROR', `${path} exists already`, {
      nextStep: 'Give --force to overwrite it.',
    });
  }
}

/** Under another name until it is complete and on disk. */
async function writeWhole(
  path: string,
  body: AsyncIterable<Buffer>,
  sizeBytes: number | null,
  onProgress: (doneBytes: number) => void,
): Promise<number> {
  const partial = join(dirname(path), `.${basename(path)}.${process.pid}.partial`);
  try {
    const handle = await open(partial, 'wx');
    let bytes = 0;
    try {
      for await (const chunk of body) {
        await handle.writeFile(chunk);
        bytes += chunk.length;
        onProgress(bytes);
      }
      if (sizeBytes !== null && bytes !== sizeBytes) {
        throw new TidemarkError('UNAVAILABLE', `the export ended after ${bytes} of ${sizeBytes} bytes`, {
          nextStep: 'Run it again; nothing was left behind.',
        });
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, path);
    return bytes;
  } catch (cause) {
    await rm(partial, { force: true });
    if (cause instanceof TidemarkError) throw cause;
    throw new TidemarkError(
      'IO_ERROR',
      `cannot write ${path}: ${cause instanceof Error ? cause.message : cause}`,
      {
        cause,
        nextStep: 'Nothing was left behind. Is the compute node up, and the disk not full?',
      },
    );
  }
}

/** What the writer says when it will not take an MTR. */
import { TidemarkError } from '../../src/base/errors.ts';
import { type Epoch, formatEpoch } from '../../src/log/epoch.ts';

export function deposedError(epoch: Epoch, by: Epoch): TidemarkError {
  return new TidemarkError(
    'DEPOSED',
    `this writer's term ${formatEpoch(epoch)} ended: ${formatEpoch(by)} was promised by a storage node`,
    { nextStep: 'Open the volume again, or send the request to the compute node that holds it now.' },
  );
}

export function volumeDropped(volume: string): TidemarkError {
  return new TidemarkError('VOLUME_DROPPED', `volume ${volume} was dropped`, {
    nextStep: 'List the volumes with `tidemark volumes`; a dropped one does not come back.',
  });
}

export function tooManyRecords(count: number, most: number): TidemarkError {
  return new TidemarkError('TOO_LARGE', `a transaction of ${count} pages; ${most} are the most`, {
    nextStep: 'Split the transaction into smaller ones.',
  });
}

export function overloaded(waitingRecords: number): TidemarkError {
  return new TidemarkError('OVERLOADED', `${waitingRecords} records wait for their quorum`, {
    nextStep: 'Wait until the storage nodes have caught up, then retry.',
  });
}

export function writerClosed(): TidemarkError {
  return new TidemarkError('UNAVAILABLE', 'the volume is closed', { nextStep: 'Open it again.' });
}

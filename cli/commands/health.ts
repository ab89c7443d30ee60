/** `tidemark health`: is one process well? For the healthchecks of containers; exit code 0 or 1. */
import type { Command } from 'commander';
import { TidemarkError } from '../../src/base/errors.ts';
import { parseHostPort } from '../../src/base/node-list.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { AdminClient } from '../client/admin.ts';
import type { CliContext } from '../context.ts';
import { addTargetOptions, type TargetFlags, targetOf } from './target-options.ts';

interface HealthFlags extends TargetFlags {
  readonly storageNode?: string;
  readonly json?: boolean;
}

const TIMEOUT_MS = 3_000;

export function addHealthCommand(program: Command, context: CliContext): void {
  addTargetOptions(
    program.command('health').description('Ask a process whether it is well; exit code 0 or 1.'),
  )
    .option('--storage-node <HOST:PORT>', 'ask a storage node; without it, the compute node')
    .option('--json', 'as JSON')
    .action(async (flags: HealthFlags) => {
      const answer =
        flags.storageNode === undefined
          ? await computeHealth(flags, context)
          : await storageHealth(flags.storageNode);
      context.stdout.write(
        flags.json === true ? `${JSON.stringify({ ok: true, ...answer })}\n` : `${answer.text}\n`,
      );
    });
}

async function computeHealth(flags: HealthFlags, context: CliContext): Promise<{ readonly text: string }> {
  const { ok, status, body } = await new AdminClient(targetOf(flags, context)).answers('/readyz');
  if (!ok)
    throw new TidemarkError('UNAVAILABLE', `the compute node is not ready (HTTP ${status}): ${body.trim()}`);
  return { text: 'ready' };
}

async function storageHealth(address: string): Promise<{ readonly text: string }> {
  parseHostPort(address);
  const { GrpcStorageNodeClient } = await import('../../src/adapters/grpc/client.ts');
  const client = new GrpcStorageNodeClient({ nodeId: 'health' as NodeId, address });
  try {
    const { nodeId, version, segments } = await client.call(
      'status',
      { clusterId: '' },
      { timeoutMs: TIMEOUT_MS },
    );
    return { text: `${nodeId} is up, version ${version}, ${segments.length} segments` };
  } finally {
    client.close();
  }
}

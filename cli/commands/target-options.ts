/** The options by which commands find their compute node. */
import type { Command } from 'commander';
import { DEFAULT_URL, parseTarget, type Target } from '../client/target.ts';
import type { CliContext } from '../context.ts';

export interface TargetFlags {
  readonly url?: string;
  readonly authToken?: string;
}

export function addTargetOptions(command: Command): Command {
  return command
    .option('--url <URL>', `compute node (TIDEMARK_URL; default ${DEFAULT_URL})`)
    .option('--auth-token <TOKEN>', 'token that the compute node asks for (TIDEMARK_AUTH_TOKEN)');
}

export function targetOf(flags: TargetFlags, context: CliContext, url?: string): Target {
  const text = url ?? flags.url ?? (context.env.TIDEMARK_URL || DEFAULT_URL);
  return parseTarget(text, flags.authToken ?? context.env.TIDEMARK_AUTH_TOKEN ?? null);
}

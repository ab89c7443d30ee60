/** Hrana's `Stmt`, `Batch` and `BatchCond` → the engine's statements, steps and conditions. */
import type { Condition, SqlValue, Statement, Step } from '../engine/api.ts';
import type { StoredSql } from '../session/stored-sql.ts';
import { decodeValue } from './decode-value.ts';
import { asArray, asInt32, asObject, asString, asUint32, type JsonObject, mismatch } from './json-read.ts';
import { MalformedError } from './protocol-error.ts';
import { type HranaVersion, requireVersion } from './version.ts';

export interface DecodeContext {
  readonly version: HranaVersion;
  readonly sqls: StoredSql;
  readonly maxConditionDepth: number;
}

const NOTHING: readonly never[] = [];

/** Exactly one of `sql` and `sql_id`. */
export function decodeSql(object: JsonObject, context: DecodeContext): string {
  const { sql, sql_id: sqlId } = object;
  if (sqlId == null) {
    if (typeof sql === 'string') return sql;
    if (sql != null) throw mismatch('sql', 'a string', sql);
    throw new MalformedError('neither sql nor sql_id is given', 'give exactly one of them');
  }
  requireVersion(context.version, 2, 'sql_id');
  if (sql != null) throw new MalformedError('both sql and sql_id are given', 'give exactly one of them');
  return context.sqls.get(asInt32(sqlId, 'sql_id'));
}

export function decodeStmt(json: unknown, context: DecodeContext): Statement {
  const object = asObject(json, 'stmt');
  const wantRows = object.want_rows;
  if (wantRows != null && typeof wantRows !== 'boolean') throw mismatch('want_rows', 'a boolean', wantRows);
  return {
    sql: decodeSql(object, context),
    args: decodeArgs(object.args),
    namedArgs: decodeNamedArgs(object.named_args),
    wantRows: wantRows ?? true,
  };
}

function decodeArgs(json: unknown): readonly SqlValue[] {
  if (json == null) return NOTHING;
  const array = asArray(json, 'args');
  const args = new Array<SqlValue>(array.length);
  for (let i = 0; i < array.length; i++) {
    try {
      args[i] = decodeValue(array[i]);
    } catch (error) {
      throw located(error, `args[${i}]`);
    }
  }
  return args;
}

function decodeNamedArgs(json: unknown): Statement['namedArgs'] {
  if (json == null) return NOTHING;
  return asArray(json, 'named_args').map((entry, i) => {
    try {
      const object = asObject(entry, 'a named argument');
      return { name: asString(object.name, 'the name'), value: decodeValue(object.value) };
    } catch (error) {
      throw located(error, `named_args[${i}]`);
    }
  });
}

export function decodeBatch(json: unknown, context: DecodeContext): readonly Step[] {
  const steps = asArray(asObject(json, 'batch').steps, 'batch.steps');
  return steps.map((entry, i) => {
    try {
      const object = asObject(entry, 'a step');
      return {
        statement: decodeStmt(object.stmt, context),
        condition:
          object.condition == null ? null : decodeCondition(object.condition, steps.length, context, 1),
      };
    } catch (error) {
      throw located(error, `steps[${i}]`);
    }
  });
}

function decodeCondition(json: unknown, steps: number, context: DecodeContext, depth: number): Condition {
  if (depth > context.maxConditionDepth) {
    throw new MalformedError(`a condition is nested deeper than ${context.maxConditionDepth}`);
  }
  const object = asObject(json, 'a condition');
  switch (object.type) {
    case 'ok':
    case 'error': {
      const step = asUint32(object.step, "a condition's step");
      if (step >= steps) throw new MalformedError(`a condition names step ${step}, but there are ${steps}`);
      return { kind: object.type, step };
    }
    case 'not':
      return { kind: 'not', cond: decodeCondition(object.cond, steps, context, depth + 1) };
    case 'and':
    case 'or': {
      const conds = asArray(object.conds, "a condition's conds");
      return {
        kind: object.type,
        conds: conds.map((cond) => decodeCondition(cond, steps, context, depth + 1)),
      };
    }
    case 'is_autocommit':
      requireVersion(context.version, 3, 'the condition is_autocommit');
      return { kind: 'is-autocommit' };
    default:
      throw new MalformedError(`${JSON.stringify(object.type)} is not a type of condition`);
  }
}

/** Says where in the message it was, on the way out. */
function located(error: unknown, where: string): unknown {
  return error instanceof MalformedError
    ? new MalformedError(`${where}: ${error.message}`, error.nextStep)
    : error;
}

/** Parses the statements about timelines (statement.ts), with what is bound to their parameters. Throws SqlFailure that tells the place. */
import { assertNever } from '../../../src/base/assert.ts';
import type { Statement } from '../../engine/api.ts';
import { timelineStatementKind } from './find.ts';
import { STATEMENT_FORMS, type TimelineStatement } from './statement.ts';
import { sqlFailure, syntaxError, type Token, tokensOf } from './tokens.ts';

/** What stands for a parameter. */
type Bind = (parameter: string) => string;

/** `statement` is one of ours: its kind is known (find.ts). */
export function parseTimelineStatement(
  statement: Pick<Statement, 'sql' | 'args' | 'namedArgs'>,
): TimelineStatement {
  return parse(statement.sql, binderOf(statement));
}

/** The parameters of one of our statements, in order, whatever is bound to them. */
export function timelineParameters(sql: string): readonly string[] {
  const found: string[] = [];
  parse(sql, (parameter) => {
    found.push(parameter);
    return parameter;
  });
  return found;
}

function parse(sql: string, bind: Bind): TimelineStatement {
  const kind = timelineStatementKind(sql)!;
  const parser = new Parser(sql, kind, bind);
  const statement = parser.statement(kind);
  parser.end();
  return statement;
}

class Parser {
  readonly #sql: string;
  readonly #form: string;
  readonly #bind: Bind;
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(sql: string, kind: TimelineStatement['kind'], bind: Bind) {
    this.#sql = sql;
    this.#form = STATEMENT_FORMS[kind];
    this.#bind = bind;
    this.#tokens = tokensOf(sql);
    while (this.#peek().kind === 'semicolon') this.#next++;
    // Letters alone told the kind: `SHOW volumes_of_mine` is none of ours.
    for (const word of kind.toUpperCase().split('-')) if (!this.#word(word)) throw this.#expected(word);
  }

  statement(kind: TimelineStatement['kind']): TimelineStatement {
    switch (kind) {
      case 'create-clone': {
        const name = this.#name('the name of the new volume');
        const from = this.#word('FROM') ? this.#name('the name of a volume') : null;
        return { kind, name, from, at: this.#at() };
      }
      case 'create-snapshot': {
        const name = this.#name('the name of the snapshot');
        const of = this.#of();
        return { kind, name, of, at: this.#at() };
      }
      case 'drop-volume':
        return { kind, name: this.#name('the name of a volume') };
      case 'drop-snapshot':
        return { kind, name: this.#name('the name of a snapshot'), of: this.#of() };
      case 'backtrack': {
        const volume = this.#isWord('TO') ? null : this.#name('the name of a volume, or TO');
        if (!this.#word('TO')) throw this.#expected('TO');
        return { kind, volume, to: this.#moment() };
      }
      case 'show-volumes':
        return { kind };
      case 'show-snapshots':
        return { kind, of: this.#of() };
      default:
        return assertNever(kind, 'statement about timelines');
    }
  }

  end(): void {
    while (this.#peek().kind === 'semicolon') this.#next++;
    if (this.#peek().kind !== 'end') throw this.#expected('the end of the statement');
  }

  #of(): string | null {
    return this.#word('OF') ? this.#name('the name of a volume') : null;
  }

  #at(): string | null {
    return this.#word('AT') ? this.#moment() : null;
  }

  #name(what: string): string {
    const token = this.#peek();
    if (token.kind !== 'word' && token.kind !== 'quoted' && token.kind !== 'parameter') {
      throw this.#expected(what);
    }
    this.#next++;
    if (this.#peek().text.startsWith('@')) {
      throw this.#expected("a moment is named by AT 'moment', not by @");
    }
    return token.kind === 'parameter' ? this.#bind(token.text) : token.text;
  }

  #moment(): string {
    const token = this.#peek();
    if (token.kind !== 'word' && token.kind !== 'quoted' && token.kind !== 'parameter') {
      throw this.#expected("a moment within quotes, like '-15m', '2026-11-21T10:00:00Z' or 'lsn:123456',");
    }
    this.#next++;
    return token.kind === 'parameter' ? this.#bind(token.text) : token.text;
  }

  /** Takes the keyword when it is next. */
  #word(word: string): boolean {
    if (!this.#isWord(word)) return false;
    this.#next++;
    return true;
  }

  #isWord(word: string): boolean {
    const token = this.#peek();
    return token.kind === 'word' && token.text.toUpperCase() === word;
  }

  #peek(): Token {
    return this.#tokens[Math.min(this.#next, this.#tokens.length - 1)]!;
  }

  #expected(what: string): Error {
    return syntaxError(this.#sql, this.#peek(), `${what} expected, as in ${this.#form}`);
  }
}

/** `?` takes the next positional argument, `?3` the third, a name the argument of that name. */
function binderOf({ args, namedArgs }: Pick<Statement, 'args' | 'namedArgs'>): Bind {
  let last = 0;
  return (parameter) => {
    let value = null as Statement['args'][number];
    if (parameter.startsWith('?')) {
      last = parameter === '?' ? last + 1 : Number(parameter.slice(1));
      value = args[last - 1] ?? null;
    } else {
      const bare = parameter.slice(1);
      value = namedArgs.find(({ name }) => name === parameter || name === bare)?.value ?? null;
    }
    if (typeof value === 'string') return value;
    throw sqlFailure(
      'BAD_REQUEST',
      `parameter ${parameter} has ${value === null ? 'no value' : 'a value that is not text'}`,
      { nextStep: 'Bind a text to it.' },
    );
  };
}

/** JSON.parse, but integers that a double cannot hold exactly come out as bigint. For texts that hold such digits; JSON.parse is faster for others. */

export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

const SPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const STRING = /"(?:[^"\\]|\\.)*"/sy;
const MAX_DEPTH = 200;

export function parseExact(text: string): JsonValue {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) throw new SyntaxError(`JSON nested deeper than ${MAX_DEPTH}`);
    this.space();
    const char = this.text[this.at];
    if (char === '{') return this.object(depth);
    if (char === '[') return this.array(depth);
    if (char === '"') return this.string();
    for (const [word, value] of [
      ['null', null],
      ['true', true],
      ['false', false],
    ] as const) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    const digits = this.match(NUMBER);
    const number = Number(digits);
    return /^-?\d+$/.test(digits) && !Number.isSafeInteger(number) ? BigInt(digits) : number;
  }

  end(): void {
    this.space();
    if (this.at !== this.text.length) this.fail();
  }

  private object(depth: number): JsonValue {
    const members: [string, JsonValue][] = [];
    this.list('}', () => {
      this.space();
      const name = this.string();
      this.space();
      this.expect(':');
      members.push([name, this.value(depth + 1)]);
    });
    return Object.fromEntries(members);
  }

  private array(depth: number): JsonValue {
    const items: JsonValue[] = [];
    this.list(']', () => items.push(this.value(depth + 1)));
    return items;
  }

  private list(closing: string, item: () => void): void {
    this.at++;
    this.space();
    if (this.text[this.at] === closing) {
      this.at++;
      return;
    }
    for (;;) {
      item();
      this.space();
      if (this.text[this.at] === closing) break;
      this.expect(',');
    }
    this.at++;
  }

  private string(): string {
    return JSON.parse(this.match(STRING)) as string;
  }

  private match(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    if (found === undefined) this.fail();
    this.at += found.length;
    return found;
  }

  private space(): void {
    SPACE.lastIndex = this.at;
    this.at += SPACE.exec(this.text)?.[0].length ?? 0;
  }

  private expect(char: string): void {
    if (this.text[this.at] !== char) this.fail();
    this.at++;
  }

  private fail(): never {
    const found = this.text[this.at];
    throw new SyntaxError(found === undefined ? 'unexpected end of JSON' : `unexpected "${found}" in JSON`);
  }
}

/**
 * Reads the fields of a decoded MessagePack array one after the other, each with its type and bounds, so that a value is either
 * exactly of its format or refused with CORRUPT.
 */
import { TidemarkError } from './errors.ts';

export class FieldReader {
  private readonly what: string;
  private readonly fields: readonly unknown[];
  private at = 0;

  /** `what` names the value in errors. */
  constructor(what: string, value: unknown) {
    if (!Array.isArray(value)) throw new TidemarkError('CORRUPT', `${what}: not an array`);
    this.what = what;
    this.fields = value;
  }

  int(name: string, min: number, max: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.next(name);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw this.corrupt(name, `not an integer from ${min} to ${max}`);
    }
    return value;
  }

  string(name: string, maxChars: number, minChars = 1): string {
    const value = this.next(name);
    if (typeof value !== 'string' || value.length < minChars || value.length > maxChars) {
      throw this.corrupt(name, `not a string of ${minChars} to ${maxChars} characters`);
    }
    return value;
  }

  bool(name: string): boolean {
    const value = this.next(name);
    if (typeof value !== 'boolean') throw this.corrupt(name, 'not a boolean');
    return value;
  }

  bytes(name: string): Uint8Array {
    const value = this.next(name);
    if (!(value instanceof Uint8Array)) throw this.corrupt(name, 'not a byte string');
    return value;
  }

  /** Every element must be consumed by `read`. */
  list<T>(name: string, read: (element: unknown, name: string) => T): T[] {
    const value = this.next(name);
    if (!Array.isArray(value)) throw this.corrupt(name, 'not an array');
    return value.map((element, index) => read(element, `${this.what}, ${name} ${index}`));
  }

  nullable<T>(name: string, read: (element: unknown, name: string) => T): T | null {
    const value = this.next(name);
    return value === null ? null : read(value, `${this.what}, ${name}`);
  }

  /** No field may be left. */
  end(): void {
    if (this.at !== this.fields.length)
      throw this.corrupt('end', `${this.fields.length - this.at} fields too many`);
  }

  /** For bounds that span fields. */
  check(condition: boolean, problem: string): void {
    if (!condition) throw this.corrupt('value', problem);
  }

  private next(name: string): unknown {
    if (this.at >= this.fields.length) throw this.corrupt(name, 'missing');
    const value = this.fields[this.at];
    this.at += 1;
    return value;
  }

  private corrupt(name: string, problem: string): TidemarkError {
    return new TidemarkError('CORRUPT', `${this.what}: ${name}: ${problem}`);
  }
}

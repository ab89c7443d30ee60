/**
 * What protobuf leaves open and src/messages/messages.ts promises: nested messages that must be there, 64-bit numbers that JavaScript
 * can hold, page numbers from 1, names of a sane form and length. Checkers are compiled once from the proto's own descriptors, so
 * that a new field is checked from the day it is added. Cores may rely on these shapes; everything else about a message is theirs.
 */
import { assert } from '../../base/assert.ts';

/** The parts of protobuf's DescriptorProto used here, as proto-loader gives them. */
export interface MessageDescriptor {
  readonly name: string;
  readonly field: readonly FieldDescriptor[];
}
export interface FieldDescriptor {
  readonly name: string;
  readonly jsonName?: string;
  readonly type: string;
  readonly label: string;
  readonly typeName: string;
}

/** null: well-formed; otherwise what is wrong, naming the field. */
export type ShapeCheck = (message: object) => string | null;
type ValueCheck = (value: unknown) => string | null;

/** Nested messages that may be absent, by message; a `refusal` always may. */
const NULLABLE: Readonly<Record<string, readonly string[]>> = {
  Refusal: ['promised'],
  RegisterPrepareReply: ['promisedBallot', 'acceptedBallot'],
  RegisterAcceptReply: ['promisedBallot'],
  PullRecordsReply: ['promisedEpoch'],
  PullPagesRequest: ['cursor'],
  PullPagesReply: ['cursor'],
  FenceReply: ['promisedEpoch', 'installedEpoch'],
  MemorySegment: ['installed'],
  MemoryRegister: ['acceptedBallot'],
  ExchangeMemoryRequest: ['asks', 'recalls'],
  ExchangeMemoryReply: ['asks', 'recalls'],
  SegmentStatus: ['promisedEpoch', 'installedEpoch'],
};

/** Volume ids are 16 base-32 characters today; the form is kept wider so that it may grow, and narrow enough to be part of keys. */
const VOLUME_FORM = /^[0-9A-Za-z_-]{1,64}$/;
const MAX_TEXT_LENGTH = 4096;

const FIELD_RULES: Readonly<Record<string, ValueCheck>> = {
  volume: (value) => (VOLUME_FORM.test(value as string) ? null : 'is not a volume id'),
  page: (value) => (value === 0 ? 'is not a page number' : null),
  pages: (value) => ((value as readonly unknown[]).includes(0) ? 'holds page number 0' : null),
};

export function compileShapes(
  messages: ReadonlyMap<string, MessageDescriptor>,
): (name: string) => ShapeCheck {
  const compiled = new Map<string, ShapeCheck>();
  const shapeOf = (name: string): ShapeCheck => {
    const known = compiled.get(name);
    if (known !== undefined) return known;
    const descriptor = messages.get(name);
    assert(descriptor !== undefined, `no descriptor of message ${name}`);
    const check = compileMessage(descriptor, shapeOf);
    compiled.set(name, check);
    return check;
  };
  return shapeOf;
}

function compileMessage(descriptor: MessageDescriptor, shapeOf: (name: string) => ShapeCheck): ShapeCheck {
  const checks: { readonly key: string; readonly check: ValueCheck }[] = [];
  for (const field of descriptor.field) {
    const key = camelCase(field.name);
    const check = compileField(descriptor.name, key, field, shapeOf);
    if (check !== null) checks.push({ key, check });
    const rule = FIELD_RULES[key];
    if (rule !== undefined && !isNested(field)) checks.push({ key, check: rule });
  }
  return (message) => {
    for (const { key, check } of checks) {
      const fault = check((message as Record<string, unknown>)[key]);
      if (fault !== null) return `${key} ${fault}`;
    }
    return null;
  };
}

function compileField(
  message: string,
  key: string,
  field: FieldDescriptor,
  shapeOf: (name: string) => ShapeCheck,
): ValueCheck | null {
  const value = compileValue(field, shapeOf);
  if (value === null) return null;
  if (field.label === 'LABEL_REPEATED') return (list) => firstFault(list as readonly unknown[], value);
  if (!isNested(field)) return value;
  const nullable = key === 'refusal' || (NULLABLE[message]?.includes(key) ?? false);
  return (nested) => {
    if (nested !== null && nested !== undefined) return value(nested);
    return nullable ? null : 'is missing';
  };
}

function compileValue(field: FieldDescriptor, shapeOf: (name: string) => ShapeCheck): ValueCheck | null {
  switch (field.type) {
    case 'TYPE_UINT64':
      return (value) => (Number.isSafeInteger(value) ? null : 'is larger than 2^53 - 1');
    case 'TYPE_STRING':
      return (value) => ((value as string).length <= MAX_TEXT_LENGTH ? null : 'is too long');
    case 'TYPE_MESSAGE': {
      const shape = shapeOf(field.typeName.split('.').at(-1) ?? '');
      return (value) => shape(value as object);
    }
    // 32-bit numbers, booleans and bytes cannot be wrong once decoded.
    case 'TYPE_UINT32':
    case 'TYPE_BOOL':
    case 'TYPE_BYTES':
      return null;
    default:
      throw new Error(`no shape rule for protobuf type ${field.type}: add one`);
  }
}

function isNested(field: FieldDescriptor): boolean {
  return field.type === 'TYPE_MESSAGE';
}

function firstFault(list: readonly unknown[], check: ValueCheck): string | null {
  for (const [index, value] of list.entries()) {
    const fault = check(value);
    if (fault !== null) return `[${index}] ${fault}`;
  }
  return null;
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

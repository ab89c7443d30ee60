/**
 * The service definition of proto/tidemark.proto as gRPC wants it, with (de)serializers that never throw and never let a malformed
 * message through: a deserializer gives the message as src/messages/messages.ts types it, or the `TidemarkError` that says why not.
 *
 * The generic (de)serializers of proto-loader cost about 1 µs per append message (measured), a fiftieth of the rest of a round trip: no
 * codec of our own here.
 */
import { fileURLToPath } from 'node:url';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { assert } from '../../base/assert.ts';
import { TidemarkError } from '../../base/errors.ts';
import type { StorageNodeMethod, StreamMethod } from '../../messages/messages.ts';
import { compileShapes, type MessageDescriptor, type ShapeCheck } from './shape.ts';

/** Beside `src` in the repository and, copied by the build, beside `dist/src`: the same relative path from both. */
export const PROTO_PATH = fileURLToPath(new URL('../../../proto/tidemark.proto', import.meta.url));
const SERVICE = 'tidemark.v1.StorageNode';

/** Method name in our messages → in the proto, and whether it is a stream in both directions. */
export const WIRE_METHODS: Readonly<
  Record<StorageNodeMethod, { readonly name: string; readonly isStream: boolean }>
> = {
  append: { name: 'Append', isStream: true },
  readPages: { name: 'ReadPages', isStream: true },
  heartbeat: { name: 'Heartbeat', isStream: true },
  registerPrepare: { name: 'RegisterPrepare', isStream: false },
  registerAccept: { name: 'RegisterAccept', isStream: false },
  registerList: { name: 'RegisterList', isStream: false },
  registerScan: { name: 'RegisterScan', isStream: false },
  fence: { name: 'Fence', isStream: false },
  inventory: { name: 'Inventory', isStream: false },
  install: { name: 'Install', isStream: false },
  pullRecords: { name: 'PullRecords', isStream: false },
  exchangeMemory: { name: 'ExchangeMemory', isStream: false },
  findCommit: { name: 'FindCommit', isStream: false },
  changedPages: { name: 'ChangedPages', isStream: false },
  pullPages: { name: 'PullPages', isStream: false },
  digestPages: { name: 'DigestPages', isStream: false },
  scrub: { name: 'Scrub', isStream: false },
  tellRetention: { name: 'TellRetention', isStream: false },
  status: { name: 'Status', isStream: false },
};
export const STORAGE_NODE_METHODS = Object.keys(WIRE_METHODS) as readonly StorageNodeMethod[];

export function isStreamMethod(method: StorageNodeMethod): method is StreamMethod {
  return WIRE_METHODS[method].isStream;
}

/** What a deserializer hands on: a well-formed message or the reason why it is none. */
export type Decoded = object | TidemarkError;

let loaded: ServiceDefinition | undefined;

/** Loaded once per process: the file does not change while it runs. */
export function storageNodeService(protoPath: string = PROTO_PATH): ServiceDefinition {
  if (protoPath !== PROTO_PATH) return loadService(protoPath);
  loaded ??= loadService(protoPath);
  return loaded;
}

export function methodDefinition(method: StorageNodeMethod): MethodDefinition<object, Decoded> {
  const definition = storageNodeService()[WIRE_METHODS[method].name];
  assert(definition !== undefined, `proto has no method ${WIRE_METHODS[method].name}`);
  return definition as MethodDefinition<object, Decoded>;
}

function loadService(protoPath: string): ServiceDefinition {
  const definitions = loadProto(protoPath);
  const shapes = compileShapes(messageDescriptors(definitions));
  const service = definitions[SERVICE] as ServiceDefinition | undefined;
  assert(service !== undefined, `${protoPath} defines no service ${SERVICE}`);
  const safe: Record<string, MethodDefinition<object, Decoded>> = {};
  for (const [name, method] of Object.entries(service)) {
    assert('requestType' in method && 'responseType' in method, `method ${name} has no message types`);
    const request = shapes(typeName(method.requestType));
    const response = shapes(typeName(method.responseType));
    safe[name] = {
      ...method,
      requestDeserialize: total(method.requestDeserialize, request, 'BAD_REQUEST'),
      responseDeserialize: total(method.responseDeserialize, response, 'CORRUPT'),
    };
  }
  return safe;
}

function loadProto(protoPath: string): PackageDefinition {
  try {
    return loadSync(protoPath, { longs: Number, keepCase: false, defaults: true, oneofs: true });
  } catch (cause) {
    throw new TidemarkError('IO_ERROR', `cannot load the message definitions ${protoPath}`, {
      cause,
      nextStep:
        'The installation is incomplete: install the package again (npm run build copies proto/ into dist/).',
    });
  }
}

function messageDescriptors(definitions: PackageDefinition): ReadonlyMap<string, MessageDescriptor> {
  const messages = new Map<string, MessageDescriptor>();
  for (const definition of Object.values(definitions)) {
    if (!('type' in definition)) continue;
    const descriptor = definition.type as MessageDescriptor;
    messages.set(descriptor.name, descriptor);
  }
  return messages;
}

function typeName(type: unknown): string {
  return (type as { readonly type: { readonly name: string } }).type.name;
}

function total(
  deserialize: (bytes: Buffer) => object,
  check: ShapeCheck,
  code: 'BAD_REQUEST' | 'CORRUPT',
): (bytes: Buffer) => Decoded {
  return (bytes) => {
    let message: object;
    try {
      message = deserialize(bytes);
    } catch (cause) {
      return new TidemarkError(code, 'the message is not valid protobuf of its type', { cause });
    }
    const fault = check(message);
    return fault === null ? message : new TidemarkError(code, `malformed message: ${fault}`);
  };
}

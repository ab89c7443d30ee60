/**
 * Register values as bytes: the envelope of base/envelope.ts around arrays of fields in the order of values.ts. Node ids are written once,
 * in a table, and named by their index, so that a manifest of thousands of PGs stays far below a message's size.
 *
 * Invariants
 * 1. Encoding is a function of the value: equal values, equal bytes (acceptors tell a repeated accept from a conflicting one by bytes).
 * 2. Decoding checks every field and the order that readers rely on (runs ascending and apart, parents before children, PGs dense, six
 *    different members); it throws nothing but CORRUPT or WRONG_FORMAT.
 */
import { softCrc32 } from '../base/crc32.ts';
import { type Format, openEnvelope, sealEnvelope } from '../base/envelope.ts';
import { FieldReader } from '../base/field-reader.ts';
import type { Epoch } from '../log/epoch.ts';
import { NO_LSN, type Lsn, type NodeId, type PgIndex, type RunId, type VolumeId } from '../log/lsn.ts';
import { COPIES } from '../quorum/quorum.ts';
import type { ReadPoint, Run } from '../timeline/run.ts';
import {
  type ClusterNode,
  type ClusterValue,
  type ManifestValue,
  type NameValue,
  type PgConfig,
  REGISTER_FORMAT,
  type RetentionValue,
} from './values.ts';

const CLUSTER: Format = { what: 'cluster value', tag: 0x10, version: REGISTER_FORMAT };
const NAME: Format = { what: 'name value', tag: 0x11, version: REGISTER_FORMAT };
const MANIFEST: Format = { what: 'manifest', tag: 0x12, version: REGISTER_FORMAT };
const RETENTION: Format = { what: 'retention value', tag: 0x13, version: REGISTER_FORMAT };

const MAX_ID_CHARS = 64;
const MAX_NAME_CHARS = 255;
const MAX_PAGE = 0xffff_fffe;

export function encodeCluster(value: ClusterValue): Uint8Array {
  const { clusterId, nodes, draining, constants } = value;
  return sealEnvelope(
    CLUSTER,
    [
      clusterId,
      nodes.map(({ nodeId, az, address }) => [nodeId, az, address]),
      draining,
      constants.lal,
      constants.leaseTermMs,
      constants.defaultPgPages,
    ],
    softCrc32,
  );
}

export function decodeCluster(bytes: Uint8Array): ClusterValue {
  const fields = new FieldReader(CLUSTER.what, openEnvelope(CLUSTER, bytes, softCrc32));
  const value: ClusterValue = {
    format: REGISTER_FORMAT,
    clusterId: fields.string('cluster id', MAX_ID_CHARS),
    nodes: fields.list('node', readClusterNode),
    draining: fields.list('draining node', readId) as NodeId[],
    constants: {
      lal: fields.int('lal', 1),
      leaseTermMs: fields.int('lease term', 1),
      defaultPgPages: fields.int('default PG pages', 1, MAX_PAGE),
    },
  };
  fields.end();
  const nodeIds = value.nodes.map((node) => node.nodeId);
  fields.check(areDistinct(nodeIds), 'two nodes of one id');
  fields.check(areDistinct(value.draining), 'one node drained twice');
  fields.check(
    value.draining.every((node) => nodeIds.includes(node)),
    'a draining node that is none of the cluster',
  );
  return value;
}

export function encodeName(value: NameValue): Uint8Array {
  return sealEnvelope(
    NAME,
    [value.name, value.volume, value.registerMembers, value.registerGeneration],
    softCrc32,
  );
}

export function decodeName(bytes: Uint8Array): NameValue {
  const fields = new FieldReader(NAME.what, openEnvelope(NAME, bytes, softCrc32));
  const value: NameValue = {
    format: REGISTER_FORMAT,
    name: fields.string('name', MAX_NAME_CHARS),
    volume: fields.nullable('volume', readId) as VolumeId | null,
    registerMembers: fields.list('register member', readId) as NodeId[],
    registerGeneration: fields.int('register generation', 0),
  };
  fields.end();
  fields.check(areMembers(value.registerMembers), `not ${COPIES} different register members`);
  return value;
}

export function encodeManifest(value: ManifestValue): Uint8Array {
  const nodes = [...new Set(value.pgs.flatMap((pg) => [...pg.members, ...(pg.proposed ?? [])]))].sort();
  const indexOf = new Map(nodes.map((node, index) => [node, index]));
  return sealEnvelope(
    MANIFEST,
    [
      value.volume,
      value.epoch.number,
      value.epoch.writerId,
      value.pageSizeBytes,
      value.pgPages,
      nodes,
      value.pgs.map(({ configVersion, members, proposed }) => [
        configVersion,
        members.map((node) => indexOf.get(node)),
        proposed === null ? null : proposed.map((node) => indexOf.get(node)),
      ]),
      value.runs.map(runFields),
      value.inheritedPgs,
    ],
    softCrc32,
  );
}

export function decodeManifest(bytes: Uint8Array): ManifestValue {
  const fields = new FieldReader(MANIFEST.what, openEnvelope(MANIFEST, bytes, softCrc32));
  const volume = fields.string('volume', MAX_ID_CHARS) as VolumeId;
  const epoch = readEpoch(fields);
  const pageSizeBytes = fields.int('page size', 512, 65_536);
  const pgPages = fields.int('PG pages', 1, MAX_PAGE);
  const nodes = fields.list('node', readId) as NodeId[];
  const pgs = fields.list('PG', (element, what) => readPg(element, what, nodes));
  const runs = fields.list('run', readRun);
  const inheritedPgs = fields.int('inherited PGs', 0);
  fields.end();
  fields.check(pgs.length > 0, 'no PG');
  fields.check(runs.length > 0, 'no run');
  fields.check(inheritedPgs <= pgs.length, 'more PGs inherited than there are');
  const value: ManifestValue = {
    format: REGISTER_FORMAT,
    volume,
    epoch,
    pageSizeBytes,
    pgPages,
    pgs: pgs.map((pg, index) => ({ pg: index as PgIndex, ...pg })),
    inheritedPgs,
    runs,
  };
  checkRuns(value, fields);
  return value;
}

export function encodeRetention(value: RetentionValue): Uint8Array {
  const pins = value.pins.map(({ name, point }) => [name, point.volume, point.run, point.lsn]);
  return sealEnvelope(RETENTION, [value.volume, value.floor, value.windowMs, value.dropped, pins], softCrc32);
}

export function decodeRetention(bytes: Uint8Array): RetentionValue {
  const fields = new FieldReader(RETENTION.what, openEnvelope(RETENTION, bytes, softCrc32));
  const value: RetentionValue = {
    format: REGISTER_FORMAT,
    volume: fields.string('volume', MAX_ID_CHARS) as VolumeId,
    floor: fields.int('floor', NO_LSN) as Lsn,
    windowMs: fields.int('window', 0),
    dropped: fields.bool('dropped'),
    pins: fields.list('pin', readPin),
  };
  fields.end();
  fields.check(areDistinct(value.pins.map((pin) => pin.name)), 'two pins of one name');
  return value;
}

function runFields(run: Run): unknown[] {
  return [
    run.id,
    run.epoch.number,
    run.epoch.writerId,
    run.firstLsn,
    run.lastLsn,
    run.parent === null ? null : [run.parent.volume, run.parent.run, run.parent.lsn],
    run.closingTails,
    run.openedAtMicros,
    run.lastCommitTimeMicros,
  ];
}

function readRun(element: unknown, what: string): Run {
  const fields = new FieldReader(what, element);
  const run: Run = {
    id: fields.int('id', 0) as RunId,
    epoch: readEpoch(fields),
    firstLsn: fields.int('first LSN', 1) as Lsn,
    lastLsn: fields.nullable('last LSN', readLsn),
    parent: fields.nullable('parent', readPoint),
    closingTails: fields.nullable('closing tails', (list, name) =>
      new FieldReader(name, [list]).list('tail', readLsn),
    ),
    openedAtMicros: fields.int('opening time', 0),
    lastCommitTimeMicros: fields.int('last commit time', 0),
  };
  fields.end();
  fields.check((run.lastLsn === null) === (run.closingTails === null), 'closed by half');
  fields.check(run.lastLsn === null || run.lastLsn >= run.firstLsn - 1, 'ends before it starts');
  return run;
}

/** What timeline/visibility.ts relies on. */
function checkRuns(value: ManifestValue, fields: FieldReader): void {
  const { runs, volume } = value;
  const firstLsnOf = new Map<RunId, Lsn>();
  for (const [index, run] of runs.entries()) {
    const next = runs[index + 1];
    fields.check(!firstLsnOf.has(run.id), 'two runs of one id');
    fields.check(run.lastLsn !== null || next === undefined, 'a run before the last is open');
    fields.check(
      next === undefined || (next.firstLsn > run.firstLsn && next.firstLsn > (run.lastLsn ?? 0)),
      'runs overlap or are out of order',
    );
    if (run.parent !== null && run.parent.volume === volume) {
      fields.check(firstLsnOf.has(run.parent.run), 'a run whose parent does not come before it');
      fields.check(run.parent.lsn < run.firstLsn, "a run that starts before its parent's point");
    }
    firstLsnOf.set(run.id, run.firstLsn);
  }
}

function readPg(element: unknown, what: string, nodes: readonly NodeId[]): Omit<PgConfig, 'pg'> {
  const fields = new FieldReader(what, element);
  const configVersion = fields.int('configuration version', 0);
  const readMember = (index: unknown, name: string): NodeId =>
    nodes[new FieldReader(name, [index]).int('member', 0, nodes.length - 1)] as NodeId;
  const readMembers = (list: unknown, name: string): readonly NodeId[] =>
    new FieldReader(name, [list]).list('member', readMember);
  const members = fields.list('member', readMember);
  const proposed = fields.nullable('proposed members', readMembers);
  fields.end();
  fields.check(areMembers(members), `not ${COPIES} different members`);
  fields.check(proposed === null || areMembers(proposed), `not ${COPIES} different proposed members`);
  return { configVersion, members, proposed };
}

function readClusterNode(element: unknown, what: string): ClusterNode {
  const fields = new FieldReader(what, element);
  const node: ClusterNode = {
    nodeId: fields.string('id', MAX_ID_CHARS) as NodeId,
    az: fields.string('AZ', MAX_NAME_CHARS),
    address: fields.string('address', 1024),
  };
  fields.end();
  return node;
}

function readPin(element: unknown, what: string): { readonly name: string; readonly point: ReadPoint } {
  const fields = new FieldReader(what, element);
  const name = fields.string('name', MAX_NAME_CHARS);
  const point = readPointFields(fields);
  fields.end();
  return { name, point };
}

function readPoint(element: unknown, what: string): ReadPoint {
  const fields = new FieldReader(what, element);
  const point = readPointFields(fields);
  fields.end();
  return point;
}

function readPointFields(fields: FieldReader): ReadPoint {
  return {
    volume: fields.string('volume', MAX_ID_CHARS) as VolumeId,
    run: fields.int('run', 0) as RunId,
    lsn: fields.int('LSN', NO_LSN) as Lsn,
  };
}

function readEpoch(fields: FieldReader): Epoch {
  return { number: fields.int('epoch number', 0), writerId: fields.string('writer id', MAX_ID_CHARS, 0) };
}

function readLsn(element: unknown, what: string): Lsn {
  return new FieldReader(what, [element]).int('LSN', NO_LSN) as Lsn;
}

function readId(element: unknown, what: string): string {
  return new FieldReader(what, [element]).string('id', MAX_ID_CHARS);
}

function areDistinct(values: readonly string[]): boolean {
  return new Set(values).size === values.length;
}

function areMembers(nodes: readonly NodeId[]): boolean {
  return nodes.length === COPIES && areDistinct(nodes);
}

/**
 * What the registers have chosen, known by counting acceptances where they are answered, or told of later (one that crashed before it could answer has
 * accepted all the same): a value is chosen once four acceptors have accepted it in one ballot. Two values chosen for one version, or an install of a manifest that was never chosen, are violations.
 */
import { Buffer } from 'node:buffer';
import type { IncomingRequest, OutgoingReply } from '../../../src/adapters/grpc/server.ts';
import { formatEpoch } from '../../../src/log/epoch.ts';
import type { NodeId, VolumeId } from '../../../src/log/lsn.ts';
import type { InstallRequest, RegisterAcceptRequest } from '../../../src/messages/messages.ts';
import { WRITE_QUORUM } from '../../../src/quorum/quorum.ts';
import { decodeManifest } from '../../../src/register/codec.ts';
import { decodeMoved } from '../../../src/register/place.ts';
import type { ManifestValue } from '../../../src/register/values.ts';
import type { World } from '../world/world.ts';

const MANIFEST_PREFIX = 'manifest/';
const RETENTION_PREFIX = 'retention/';

interface ManifestListener {
  onManifestHeardOf(manifest: ManifestValue): void;
  onManifestChosen(manifest: ManifestValue): void;
}

export class ChosenValues {
  readonly #world: World;
  readonly #oracle: ManifestListener;
  /** `key version ballot` → who accepted. */
  readonly #accepted = new Map<string, Set<NodeId>>();
  /** `key version` → value. */
  readonly #chosen = new Map<string, Uint8Array>();
  readonly #manifests = new Map<VolumeId, Uint8Array[]>();
  /** Retention values, as text. */
  readonly #retentions = new Set<string>();

  constructor(world: World, oracle: ManifestListener) {
    this.#world = world;
    this.#oracle = oracle;
  }

  onExchange(node: NodeId, request: IncomingRequest, reply: OutgoingReply): void {
    if (request.method === 'registerAccept' && reply.method === 'registerAccept' && reply.body.accepted)
      this.#onAccepted(node, request.body);
    if (request.method === 'registerPrepare' && reply.method === 'registerPrepare') {
      const { acceptedBallot: ballot, acceptedVersion: version, acceptedValue: value } = reply.body;
      if (ballot !== null) this.#onAccepted(node, { key: request.body.key, ballot, version, value });
    }
    if (request.method === 'install' && reply.method === 'install' && reply.body.installed)
      this.#onInstalled(node, request.body);
  }

  /** Whether the retention register of any volume ever chose this. */
  isChosenRetention(value: Uint8Array): boolean {
    return this.#retentions.has(Buffer.from(value).toString('latin1'));
  }

  #onAccepted(node: NodeId, { key, version, ballot, value }: Omit<RegisterAcceptRequest, 'clusterId'>): void {
    const name = `${key} ${version}`;
    const inBallot = `${name} ${formatEpoch(ballot)}`;
    const acceptors = this.#accepted.get(inBallot) ?? new Set();
    if (acceptors.has(node)) return;
    this.#accepted.set(inBallot, acceptors.add(node));
    if (acceptors.size === 1 && key.startsWith(MANIFEST_PREFIX))
      this.#oracle.onManifestHeardOf(decodeManifest(decodeMoved(value)?.value ?? value));
    if (acceptors.size !== WRITE_QUORUM) return;
    const before = this.#chosen.get(name);
    if (before !== undefined) {
      if (Buffer.compare(before, value) !== 0)
        this.#world.violate('register', `register ${key} has chosen two values for version ${version}`);
      return;
    }
    this.#chosen.set(name, value);
    // A tombstone carries the value that goes on elsewhere.
    const content = decodeMoved(value)?.value ?? value;
    if (key.startsWith(RETENTION_PREFIX)) this.#retentions.add(Buffer.from(content).toString('latin1'));
    if (!key.startsWith(MANIFEST_PREFIX)) return;
    const manifest = decodeManifest(content);
    const manifests = this.#manifests.get(manifest.volume) ?? [];
    manifests.push(content);
    this.#manifests.set(manifest.volume, manifests);
    this.#oracle.onManifestChosen(manifest);
  }

  #onInstalled(node: NodeId, { volume, manifest }: InstallRequest): void {
    const isChosen = this.#manifests.get(volume)?.some((chosen) => Buffer.compare(chosen, manifest) === 0);
    if (isChosen !== true)
      this.#world.violate('register', `${node} installed a manifest of ${volume} that was never committed`);
  }
}

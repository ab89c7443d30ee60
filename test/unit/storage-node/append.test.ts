import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId } from '../../../src/log/lsn.ts';
import { StorageCluster } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;

function opened(options: ConstructorParameters<typeof StorageCluster>[0] = {}) {
  const cluster = new StorageCluster(options);
  const volume = new TestVolume();
  for (const node of cluster.nodeIds) {
    expect(cluster.ask(node, 'install', volume.install()).installed).toBe(true);
  }
  return { cluster, volume };
}

describe('append', () => {
  test('acknowledges the SCL once the journal has it, not before', () => {
    const { cluster, volume } = opened();
    const records = volume.writeMany(3, 4);
    cluster.stalledDisks.add(NODE);
    let acked: number | null = null;
    cluster.send(NODE, 'append', volume.append(records), (reply) => {
      acked = reply.scl;
    });
    cluster.pump();
    expect(acked).toBeNull();
    cluster.stalledDisks.clear();
    cluster.pump();
    expect(acked).toBe(3);
  });

  test('answers a duplicate only behind the original that is still on its way to the disk', () => {
    const { cluster, volume } = opened();
    const request = volume.append(volume.writeMany(3, 4));
    cluster.stalledDisks.add(NODE);
    const acks: number[] = [];
    cluster.send(NODE, 'append', request, (reply) => acks.push(reply.scl));
    cluster.send(NODE, 'append', request, (reply) => acks.push(reply.scl));
    cluster.pump();
    expect(acks).toEqual([]);
    cluster.stalledDisks.clear();
    cluster.pump();
    expect(acks).toEqual([3, 3]);
  });

  test('keeps records beyond a gap, but the SCL stays until the gap is filled', () => {
    const { cluster, volume } = opened();
    const [a, b, c] = [volume.writeMany(2, 4), volume.writeMany(2, 4), volume.writeMany(2, 4)];
    expect(cluster.ask(NODE, 'append', volume.append(a)).scl).toBe(2);
    expect(cluster.ask(NODE, 'append', volume.append(c)).scl).toBe(2);
    expect(cluster.ask(NODE, 'append', volume.append(b)).scl).toBe(6);
  });

  test('refuses records whose birth epoch is not their run’s, and records in no run', () => {
    const { cluster, volume } = opened();
    cluster.ask(NODE, 'append', volume.append(volume.writeMany(4, 4)));
    const ghosts = volume.writeMany(2, 4);
    volume.takeOver('w2', 4 as Lsn);
    cluster.ask(NODE, 'fence', volume.fence());
    expect(cluster.ask(NODE, 'install', volume.install()).installed).toBe(true);
    const reply = cluster.ask(NODE, 'append', volume.append(ghosts));
    expect(reply.refusal?.code).toBe('CUT');
    const mine = volume.writeMany(1, 4).map((made) => ({ ...made, epoch: { number: 1, writerId: 'w1' } }));
    expect(cluster.ask(NODE, 'append', volume.append(mine)).refusal?.code).toBe('CORRUPT');
  });

  test('two records with one LSN and other bytes: refused, and the segment trusts itself no more, also after a restart', () => {
    const { cluster, volume } = opened();
    const twin = new TestVolume();
    const records = volume.writeMany(3, 4);
    const others = [twin.write(1, 9), twin.write(2, 8), twin.write(3, 200)];
    expect(cluster.ask(NODE, 'append', volume.append(records)).scl).toBe(3);
    expect(cluster.ask(NODE, 'append', twin.append(others)).refusal?.code).toBe('CORRUPT');
    expect(cluster.ask(NODE, 'append', volume.append(records)).refusal?.code).toBe('QUARANTINED');
    expect(cluster.ask(NODE, 'fence', volume.fence(0, { number: 5, writerId: 'x' })).intact).toBe(false);
    cluster.restart(NODE);
    cluster.pump();
    expect(cluster.ask(NODE, 'fence', volume.fence(0, { number: 5, writerId: 'x' })).intact).toBe(false);
  });

  test('refuses malformed boxcars, other clusters and unknown segments, each with its code', () => {
    const { cluster, volume } = opened();
    const good = volume.append(volume.writeMany(2, 4));
    const broken = { ...good, boxcar: good.boxcar.slice().fill(7, 20, 30) };
    expect(cluster.ask(NODE, 'append', broken).refusal?.code).toBe('CORRUPT');
    expect(cluster.ask(NODE, 'append', { ...good, clusterId: 'other' }).refusal?.code).toBe('WRONG_CLUSTER');
    expect(cluster.ask(NODE, 'append', { ...good, pg: 7 as never }).refusal?.code).toBe('NO_SEGMENT');
    expect(cluster.ask(NODE, 'append', { ...good, configVersion: 0 }).refusal?.code).toBe('STALE_CONFIG');
    expect(cluster.ask(NODE, 'append', good).scl).toBe(2);
  });

  test('refuses what lies too far beyond a gap', () => {
    const { cluster, volume } = opened({ limits: { maxBeyondGapBytes: 9_000 } });
    volume.writeMany(1, 4);
    const late = [volume.write(1, 1, { image: true }), volume.write(2, 2, { image: true })];
    cluster.ask(NODE, 'append', volume.append(late));
    const later = [volume.write(3, 3, { image: true })];
    expect(cluster.ask(NODE, 'append', volume.append(later)).refusal).toBeNull();
    expect(cluster.ask(NODE, 'append', volume.append([volume.write(3, 4)])).refusal?.code).toBe('OVERLOADED');
  });
});

import { expect, it } from 'vitest';
import type { NodeId } from '../../../src/log/lsn.ts';
import type { ClusterNode } from '../../../src/register/values.ts';
import { bootstrapSix, placeSix } from '../../../compute-node/volume/placement.ts';

const node = (nodeId: string, az: string): ClusterNode => ({
  nodeId: nodeId as NodeId,
  az,
  address: `${nodeId}:1`,
});
const six = ['az1-a', 'az2-a', 'az3-a', 'az1-b', 'az2-b', 'az3-b'].map((id) => node(id, id.slice(0, 3)));
const nine = [...six, node('az1-c', 'az1'), node('az2-c', 'az2'), node('az3-c', 'az3')];

it('takes two nodes of every zone', () => {
  expect(placeSix(six, new Map())).toEqual(['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b']);
});

it('prefers the least loaded nodes of a zone', () => {
  const loads = new Map([
    ['az1-a' as NodeId, 5],
    ['az2-b' as NodeId, 2],
  ]);
  expect(placeSix(nine, loads)).toEqual(['az1-b', 'az1-c', 'az2-a', 'az2-c', 'az3-a', 'az3-b']);
});

it('takes the three least loaded of four zones', () => {
  const twelve = [...six, node('az4-a', 'az4'), node('az4-b', 'az4')];
  const loads = new Map([['az2-a' as NodeId, 9]]);
  expect(placeSix(twelve, loads)).toEqual(['az1-a', 'az1-b', 'az3-a', 'az3-b', 'az4-a', 'az4-b']);
});

it('refuses fewer than three zones with two nodes each, and says what it found', () => {
  const five = six.slice(0, 5);
  expect(() => placeSix(five, new Map())).toThrow(/az1: 2, az2: 2, az3: 1/);
  expect(() => placeSix([], new Map())).toThrow(/none/);
});

it('derives the same bootstrap six when nodes are appended', () => {
  expect(bootstrapSix(nine)).toEqual(bootstrapSix(six));
});

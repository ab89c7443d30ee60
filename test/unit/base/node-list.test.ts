import { describe, expect, it } from 'vitest';
import { formatHostPort, formatNodeList, parseHostPort, parseNodeList } from '../../../src/base/node-list.ts';
import { isTidemarkError } from '../../../src/base/errors.ts';

const refused = (text: string): string => {
  try {
    parseNodeList(text);
  } catch (error) {
    if (!isTidemarkError(error, 'BAD_REQUEST')) throw error;
    expect(error.nextStep).toBeTruthy();
    return error.message;
  }
  throw new Error(`accepted: ${text}`);
};

describe('node list', () => {
  it('reads and writes the same list', () => {
    const text = 'az1-a=az1@127.0.0.1:7101,az2-a=az2@[::1]:7102,az3-a=az3@storage-6:7101';
    const nodes = parseNodeList(` ${text.replaceAll(',', ' , ')},`);
    expect(nodes[1]).toEqual({ nodeId: 'az2-a', az: 'az2', address: '[::1]:7102' });
    expect(formatNodeList(nodes)).toBe(text);
  });

  it('says what is wrong with a bad one', () => {
    expect(refused('')).toMatch(/empty/);
    expect(refused('az1-a@127.0.0.1:7101')).toMatch(/NODE=AZ@HOST:PORT/);
    expect(refused('a b=az1@h:1')).toMatch(/"a b" cannot be a node id/);
    expect(refused('a=a z@h:1')).toMatch(/availability zone/);
    expect(refused('a=az1@h')).toMatch(/not HOST:PORT/);
    expect(refused('a=az1@h:70000')).toMatch(/not HOST:PORT/);
    expect(refused('a=az1@h:0')).toMatch(/port 0/);
    expect(refused('a=az1@h:1,a=az1@h:2')).toMatch(/node id "a" stands twice/);
    expect(refused('a=az1@h:1,b=az1@h:1')).toMatch(/address "h:1" stands twice/);
  });

  it('reads listen addresses with port 0 where that is allowed', () => {
    expect(parseHostPort('[::]:0', { allowPortZero: true })).toEqual({ host: '::', port: 0 });
    expect(formatHostPort({ host: '::1', port: 7 })).toBe('[::1]:7');
  });
});

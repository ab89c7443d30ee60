/** The benchmarks' own WebSocket client, and the benchmarks over it, against an in-memory engine. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WsConnection } from '../../bench/drivers/ws.ts';
import { benchQuorum, quorumTargets } from '../../bench/quorum.ts';
import { hasShortfall, makeReport, summaryLine, targetsText } from '../../bench/report.ts';
import { benchScan } from '../../bench/scan.ts';
import { benchSelect } from '../../bench/select.ts';
import type { BenchSubject } from '../../bench/subject.ts';
import { startTestServer, type TestServer } from '../support/hrana-server.ts';

let server: TestServer;
let subject: BenchSubject;
beforeAll(async () => {
  server = await startTestServer({ volumes: ['main', 'dev'], token: 'secret' });
  subject = {
    target: { httpOrigin: server.url, volume: 'dev', authToken: 'secret' },
    nodeLatencies: async () => [],
    computeBytesWritten: () => null,
    restartCompute: async () => {},
  };
});
afterAll(() => server.close());

describe('the driver', () => {
  it('carries answers of every frame size', async () => {
    const connection = await WsConnection.open(subject.target);
    for (const length of [1, 60, 126, 70_000, 300_000]) {
      const rows = await connection.execute(`select '${'é'.repeat(length)}'`);
      expect(rows[0]?.[0]?.value).toBe('é'.repeat(length));
    }
    connection.close();
  });

  it('gives the server’s errors as errors', async () => {
    const connection = await WsConnection.open(subject.target);
    await expect(connection.execute('selekt')).rejects.toThrow(/syntax error/);
    expect(await connection.execute('select 1')).toEqual([[{ type: 'integer', value: '1' }]]);
    connection.close();
    await expect(connection.execute('select 1')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(WsConnection.open({ ...subject.target, authToken: 'wrong' })).rejects.toThrow();
    await expect(
      WsConnection.open({ ...subject.target, httpOrigin: 'http://127.0.0.1:1' }),
    ).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
  });
});

describe('the benchmarks', () => {
  const options = { clients: [1, 3], durationMs: 150, warmUpMs: 30, rows: 200 };

  it('measure updates and selects', async () => {
    const said: string[] = [];
    for (const run of [benchQuorum, benchSelect]) {
      const phases = await run(subject, options, (text) => said.push(text));
      expect(phases.map(({ clients }) => clients)).toEqual([1, 3]);
      for (const phase of phases) {
        expect(phase.operations).toBeGreaterThan(0);
        expect(phase.p50Ms).toBeLessThanOrEqual(phase.p999Ms);
        expect(phase.p999Ms).toBeLessThanOrEqual(phase.maxMs);
      }
    }
    expect(said).toContain('3 clients over WebSocket…');
  });

  it('measure a scan, and see that it saw everything', async () => {
    const result = await benchScan(subject, { megabytes: 1 }, () => {});
    expect(result.dataBytes).toBe(1_000_000);
    await expect(
      benchScan({ ...subject, restartCompute: null }, { megabytes: 1 }, () => {}),
    ).rejects.toMatchObject({
      code: 'UNSUPPORTED',
    });
  });

  it('compare with what was wanted, and say it in one line', () => {
    const load = { seconds: 1, operations: 1, p95Ms: 1, p99Ms: 1, p999Ms: 1, maxMs: 1, meanMs: 1 };
    const phase = { ...load, nodes: [], bytesPerUpdatePerNode: null };
    const phases = [
      { ...phase, clients: 1, perSecond: 500, p50Ms: 2 },
      { ...phase, clients: 64, perSecond: 3_999, p50Ms: 20 },
    ];
    const report = makeReport('quorum', {}, phases, quorumTargets(phases, false));
    expect(report.targets.map(({ isMet }) => isMet)).toEqual([true, false, null]);
    expect(hasShortfall(report)).toBe(true);
    expect(targetsText(report)).toContain('SHORT');
    expect(summaryLine(report)).toBe(
      'bench quorum: 1 of 2 targets met; commit p50 at 1 client 2 ms; commits at 64 clients 3,999 /s\n',
    );
    const well = phases.map((found) => ({ ...found, perSecond: 9_000 }));
    expect(hasShortfall(makeReport('quorum', {}, well, quorumTargets(well, false)))).toBe(false);
  });
});

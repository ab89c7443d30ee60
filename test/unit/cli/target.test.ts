/** URLs as people and clients write them. */
import { describe, expect, it } from 'vitest';
import { parsePlace, parseTarget, targetUrl, withVolume } from '../../../cli/client/target.ts';

describe('targets', () => {
  it.each([
    ['http://127.0.0.1:8080', 'http://127.0.0.1:8080', 'ws://127.0.0.1:8080', 'main'],
    ['localhost:8080/dev', 'http://localhost:8080', 'ws://localhost:8080', 'dev'],
    ['ws://h:1/a-1/', 'http://h:1', 'ws://h:1', 'a-1'],
    ['https://h/x', 'https://h', 'wss://h', 'x'],
    ['libsql://h:1', 'https://h:1', 'wss://h:1', 'main'],
    ['libsql://h:1/d?tls=0', 'http://h:1', 'ws://h:1', 'd'],
    ['http://h:1/main@lsn:5', 'http://h:1', 'ws://h:1', 'main@lsn:5'],
  ])('%s', (text, httpOrigin, wsOrigin, volume) => {
    expect(parseTarget(text, null)).toEqual({ httpOrigin, wsOrigin, volume, authToken: null });
  });

  it('takes a token from the URL before another', () => {
    expect(parseTarget('http://h?authToken=a', 'b').authToken).toBe('a');
    expect(parseTarget('http://h', 'b').authToken).toBe('b');
  });

  it.each([
    ['ftp://h', 'BAD_REQUEST'],
    ['http://', 'BAD_REQUEST'],
    ['http://h/Upper', 'BAD_NAME'],
    ['http://h/a/b', 'BAD_NAME'],
    ['http://h/v2', 'BAD_NAME'],
    ['http://h/%zz', 'BAD_REQUEST'],
  ])('%s is refused with %s', (text, code) => {
    expect(() => parseTarget(text, null)).toThrow(expect.objectContaining({ code }));
  });

  it.each([
    ['dev', 'http://h:1', 'dev'],
    ['main@-15m', 'http://h:1', 'main@-15m'],
    ['main@lsn:5', 'http://h:1', 'main@lsn:5'],
    ['dev@2026-11-21 10:00:00', 'http://h:1', 'dev@2026-11-21 10:00:00'],
    ['localhost', 'http://localhost', 'main'],
    ['other:2', 'http://other:2', 'main'],
    ['other.example/dev@lsn:5', 'http://other.example', 'dev@lsn:5'],
    ['http://127.0.0.1:3/main@-1h', 'http://127.0.0.1:3', 'main@-1h'],
  ])('%s is a place as people type it', (text, httpOrigin, volume) => {
    expect(parsePlace(text, parseTarget('h:1/x', 'token'))).toMatchObject({
      httpOrigin,
      volume,
      authToken: 'token',
    });
  });

  it('moves to another volume', () => {
    expect(targetUrl(withVolume(parseTarget('http://h:1', null), 'dev'))).toBe('http://h:1/dev');
    expect(targetUrl(parseTarget('h:1/main', null))).toBe('http://h:1');
  });
});

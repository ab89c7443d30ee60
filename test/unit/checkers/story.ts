/**
 * Histories written by hand, one transaction a line:
 *
 *     a 0..10 append x 1; list y 2 3
 *     b 5..20 unknown session=s level=snapshot lsn=7 write r 5; find r -
 *
 * `z` has the last look. Process, times (`0..` never ends), then what differs from `ok`, `level=strong`, the process's own session and no LSN; then operations:
 * `append KEY ELEMENT`, `list KEY ELEMENT…`, `write KEY VALUE`, `find KEY VALUE|-`, `transfer FROM TO AMOUNT`, `balances NAME=N…`.
 */
import type { History, Isolation, MicroOperation, Outcome, Transaction } from '../../checkers/history.ts';

export function story(text: string, openingBalances: Readonly<Record<string, number>> = {}): History {
  const lines = text.split('\n').map((line) => line.trim());
  const transactions = lines.filter((line) => line !== '').map(transactionIn);
  const last = transactions.find(({ process }) => process === 'z');
  return { transactions, openingBalances, settledAt: last?.invokedAt ?? Number.POSITIVE_INFINITY };
}

const WORDS = new Set(['append', 'list', 'write', 'find', 'transfer', 'balances']);

function transactionIn(line: string): Transaction {
  const [process = '', times = '', ...rest] = line.split(' ');
  const [start = '', end = ''] = times.split('..');
  const operationsFrom = rest.findIndex((word) => WORDS.has(word));
  let [outcome, session, isolation, lsn]: [Outcome, string, Isolation, number | null] = [
    'ok',
    process,
    'strong',
    null,
  ];
  for (const word of rest.slice(0, operationsFrom)) {
    const [name, value = ''] = word.split('=');
    if (name === 'session') session = value;
    else if (name === 'level') isolation = value as Isolation;
    else if (name === 'lsn') lsn = Number(value);
    else outcome = name as Outcome;
  }
  const operations = rest.slice(operationsFrom).join(' ').split('; ').map(operationIn);
  const completedAt = end === '' ? Number.POSITIVE_INFINITY : Number(end);
  return { process, session, isolation, invokedAt: Number(start), completedAt, outcome, operations, lsn };
}

function operationIn(text: string): MicroOperation {
  const [kind, key = '', ...rest] = text.split(' ');
  const [first = '', second = ''] = rest;
  switch (kind) {
    case 'append':
      return { kind, key, element: Number(first) };
    case 'list':
      return { kind: 'read-list', key, elements: rest.map(Number) };
    case 'write':
      return { kind, key, value: Number(first) };
    case 'find':
      return { kind: 'read-register', key, value: first === '-' ? null : Number(first) };
    case 'transfer':
      return { kind, from: key, to: first, amount: Number(second) };
    case 'balances': {
      const pairs = [key, ...rest].map((pair) => pair.split('=') as [string, string]);
      return {
        kind: 'read-accounts',
        balances: Object.fromEntries(pairs.map(([name, n]) => [name, Number(n)])),
      };
    }
    default:
      throw new Error(`no operation: ${text}`);
  }
}

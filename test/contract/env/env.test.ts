import { describe } from 'vitest';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { nodeRandom } from '../../../src/adapters/random.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { softCrc32 } from '../../../src/base/crc32.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { clockContract, crc32Contract, randomContract, timersContract } from './contracts.ts';

describe('nodeClock', () => clockContract(() => nodeClock));
describe('ManualClock', () => clockContract(() => new ManualClock()));
describe('nodeTimers', () => timersContract(() => nodeTimers));
describe('nodeRandom', () => randomContract(() => nodeRandom));
describe('SeededRandom', () => randomContract(() => new SeededRandom(42)));
describe('nodeCrc32', () => crc32Contract(nodeCrc32));
describe('softCrc32', () => crc32Contract(softCrc32));

/**
 * Property tests draw from one fixed seed, so that a run says something about the code and not about its luck. To look further:
 * TIDEMARK_PROPERTY_SEED=N, or `random` for another seed each time (fast-check prints it with a failure). What such a run finds becomes
 * an example of its test.
 */
import fc from 'fast-check';

const wanted = process.env.TIDEMARK_PROPERTY_SEED ?? '1';
if (wanted !== 'random') fc.configureGlobal({ seed: Number(wanted) });

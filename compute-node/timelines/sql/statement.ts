/**
 * The statements about timelines, as they are understood once parsed. SQLite knows none of them: each begins with two words that no SQL of its own
 * begins with, so that nothing it understands is ever taken from it.
 *
 *   CREATE CLONE name [FROM volume] [AT 'moment']
 *   CREATE SNAPSHOT name [OF volume] [AT 'moment']
 *   DROP VOLUME name
 *   DROP SNAPSHOT name [OF volume]
 *   BACKTRACK [volume] TO 'moment'
 *   SHOW VOLUMES
 *   SHOW SNAPSHOTS [OF volume]
 *
 * Where no volume is named, it is the one of the connection.
 */

export type TimelineStatement =
  | {
      readonly kind: 'create-clone';
      readonly name: string;
      readonly from: string | null;
      readonly at: string | null;
    }
  | {
      readonly kind: 'create-snapshot';
      readonly name: string;
      readonly of: string | null;
      readonly at: string | null;
    }
  | { readonly kind: 'drop-volume'; readonly name: string }
  | { readonly kind: 'drop-snapshot'; readonly name: string; readonly of: string | null }
  | { readonly kind: 'backtrack'; readonly volume: string | null; readonly to: string }
  | { readonly kind: 'show-volumes' }
  | { readonly kind: 'show-snapshots'; readonly of: string | null };

export const STATEMENT_FORMS: Readonly<Record<TimelineStatement['kind'], string>> = {
  'create-clone': "CREATE CLONE name [FROM volume] [AT 'moment']",
  'create-snapshot': "CREATE SNAPSHOT name [OF volume] [AT 'moment']",
  'drop-volume': 'DROP VOLUME name',
  'drop-snapshot': 'DROP SNAPSHOT name [OF volume]',
  backtrack: "BACKTRACK [volume] TO 'moment'",
  'show-volumes': 'SHOW VOLUMES',
  'show-snapshots': 'SHOW SNAPSHOTS [OF volume]',
};

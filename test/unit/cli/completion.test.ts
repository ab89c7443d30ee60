/** What Tab offers. */
import { describe, expect, it } from 'vitest';
import { complete } from '../../../cli/shell/completion.ts';

const names = {
  tables: ['cities', 'country', 'odd name'],
  columns: new Map([
    ['cities', ['name', 'lat', 'lng']],
    ['country', ['code', 'name']],
    ['odd name', ['a b']],
  ]),
  volumes: ['dev', 'dev-2', 'main'],
};
const dots = {
  names: ['.mode ', '.help', '.schema ', '.open '],
  args: { '.mode': ['csv', 'json'], '.schema': ['TABLE'], '.open': ['VOLUME'] },
};
const at = (line: string, earlier = '') => complete(line, earlier, names, dots);

describe('completion', () => {
  it('offers tables where a table stands', () => {
    expect(at('select * from c').candidates).toEqual(['cities', 'country']);
    expect(at('insert into od').candidates).toEqual(['"odd name"']);
    expect(at('update ci')).toEqual({ candidates: ['cities'], fragment: 'ci' });
  });

  it('offers the columns of a table and of its alias', () => {
    expect(at('select cities.l').candidates).toEqual(['lat', 'lng']);
    expect(at('from cities as x where x.na').candidates).toEqual(['name']);
    expect(at('where x.co', 'select * from country x').candidates).toEqual(['code']);
    expect(at('select nobody.x').candidates).toEqual([]);
  });

  it('offers columns of the tables named, then words, in the case that is typed', () => {
    expect(at('select * from cities where la').candidates).toEqual(['lat', 'last', 'last_insert_rowid']);
    expect(at('SEL').candidates).toEqual(['SELECT']);
    expect(at('sel').candidates).toEqual(['select']);
    expect(at('select ').candidates).toEqual([]);
  });

  it('offers volumes where a volume stands', () => {
    expect(at('drop volume d')).toEqual({ candidates: ['dev', 'dev-2'], fragment: 'd' });
    expect(at('create clone mine from dev-').candidates).toEqual(['dev-2']);
    expect(at('BACKTRACK m').candidates).toEqual(['main']);
    expect(at('show snapshots of ').candidates).toEqual(['dev', 'dev-2', 'main']);
    expect(at('create snapshot s of m').candidates).toEqual(['main']);
    expect(at('.open d').candidates).toEqual(['dev', 'dev-2']);
    expect(at('backtr').candidates).toEqual(['backtrack']);
    expect(at('select * from m').candidates).toEqual([]);
  });

  it('offers commands and their words', () => {
    expect(at('.m')).toEqual({ candidates: ['.mode '], fragment: '.m' });
    expect(at('.mode ').candidates).toEqual(['csv', 'json']);
    expect(at('.schema ci').candidates).toEqual(['cities']);
    expect(at('.m', 'select').candidates).not.toContain('.mode ');
  });
});

// postgres.js: values, statements that it prepares by itself, pipelines, cursors, COPY, transactions, denials, cancel.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  AWKWARD, RECORDED, SALARIES, application, cancelled, check, denied, done, failed, login, part, ran, refused, same,
  untilCancelled,
} from './record.mjs';

const postgres = part('postgres');

// Ids of this client's rows, so that clients do not meet.
const BASE = 8000;
const INSERT = 'insert into notes (id, body) values ($1, $2)';

async function values(sql) {
  for (let n = 0; n < 3; n += 1) {
    const body = [AWKWARD, 'plain', null][n];
    await sql`insert into notes (id, body) values (${BASE + n}, ${body})`;
    ran('execute', INSERT, [BASE + n, body], { rows_affected: 1 });
  }
  same(await sql`select body from notes where id = ${BASE}`, [{ body: AWKWARD }], 'values');
  ran('execute', 'select body from notes where id = $1', [BASE], { rows_returned: 1 });
  same((await sql.unsafe('select 1 as a; select 2 as b')).length, 2, 'two statements in one message');
  ran('query', 'select 1 as a; select 2 as b', undefined, { rows_returned: 2 });
  const rows = [10, 11, 12].map((n) => ({ id: BASE + n, body: `row ${n}` }));
  await sql`insert into notes ${sql(rows)}`;
  const several = 'insert into notes ("id","body")values($1,$2),($3,$4),($5,$6)';
  ran('execute', several, rows.flatMap(({ id, body }) => [id, body]), { rows_affected: 3 });
}

// All on their way before the first is answered.
async function pipelines(sql) {
  const query = 'select id from notes where id = $1';
  await Promise.all(Array.from({ length: 50 }, async (_, n) => {
    same(await sql`select id from notes where id = ${BASE + (n % 3)}`, [{ id: BASE + (n % 3) }], 'in a pipeline');
  }));
  for (let n = 0; n < 50; n += 1) ran('execute', query, [BASE + (n % 3)], { rows_returned: 1 });
  if (!RECORDED) return;
  // The one in the middle is refused, and no other.
  const [first, second, third] = [
    sql`select id from notes where id = ${BASE}`, sql`select amount from hr.salaries where person = ${'Ana'}`,
    sql`select id from notes where id = ${BASE + 1}`,
  ].map((asked) => asked.execute());
  same(await first, [{ id: BASE }], 'before the refusal');
  await refused(second);
  same(await third, [{ id: BASE + 1 }], 'after the refusal');
  ran('execute', query, [BASE], { rows_returned: 1 });
  denied('parse', `${SALARIES} where person = $1`);
  ran('execute', query, [BASE + 1], { rows_returned: 1 });
}

async function cursors(sql) {
  const sizes = [];
  await sql`select n from generate_series(1, 25) n`.cursor(10, (rows) => { sizes.push(rows.length); });
  same(sizes, [10, 10, 5], 'a cursor');
  for (const rows of sizes) ran('execute', 'select n from generate_series(1, 25) n', [], { rows_returned: rows });
}

async function transactions(sql) {
  await sql.begin(async (tx) => {
    await tx`update notes set body = ${'kept'} where id = ${BASE + 1}`;
    const inner = tx.savepoint(async (deeper) => {
      await deeper`update notes set body = ${'not kept'} where id = ${BASE + 1}`;
      throw new Error('back to the savepoint');
    });
    await inner.then(() => check(false, 'it went through'), () => {});
  });
  const change = 'update notes set body = $1 where id = $2';
  ran('query', 'begin ');
  ran('execute', change, ['kept', BASE + 1], { rows_affected: 1 });
  ran('execute', 'savepoint "s0"', []);
  ran('execute', change, ['not kept', BASE + 1], { rows_affected: 1 });
  ran('execute', 'rollback to "s0"', []);
  ran('execute', 'commit', []);
}

async function copies(sql) {
  const rows = Array.from({ length: 100 }, (_, n) => `${BASE + 100 + n}\tcopied ${n}\n`);
  await pipeline(Readable.from(rows), await sql`copy notes (id, body) from stdin`.writable());
  ran('query', 'copy notes (id, body) from stdin', undefined, { rows_affected: 100 });
  let lines = 0;
  const out = await sql`copy (select id from notes where id between 8100 and 8199) to stdout`.readable();
  for await (const chunk of out) lines += chunk.toString().split('\n').length - 1;
  same(lines, 100, 'COPY out');
  ran('query', 'copy (select id from notes where id between 8100 and 8199) to stdout', undefined, { rows_returned: 100 });
}

async function failures(sql) {
  await refused(sql`insert into notes (id, body) values (${BASE}, ${'again'})`, '23505');
  failed('execute', INSERT, '23505', [BASE, 'again']);
}

async function denials(sql) {
  if (!RECORDED) return;
  await refused(sql.unsafe(SALARIES));
  denied('query', SALARIES);
  // In a transaction: nothing works until it is over, which sql.begin sees to.
  const inside = sql.begin(async (tx) => {
    await tx`update notes set body = ${'not to stay'} where id = ${BASE + 1}`;
    await refused(tx.unsafe(SALARIES));
    await refused(tx.unsafe('select 1'), '25P02');
    throw new Error('rolled back');
  });
  await inside.then(() => check(false, 'it went through'), (error) => same(error.message, 'rolled back', 'the end'));
  ran('query', 'begin ');
  ran('execute', 'update notes set body = $1 where id = $2', ['not to stay', BASE + 1], { rows_affected: 1 });
  denied('query', SALARIES);
  failed('query', 'select 1', '25P02');
  ran('execute', 'rollback', []);
  same(await sql`select body from notes where id = ${BASE + 1}`, [{ body: 'kept' }], 'after the rollback');
  ran('execute', 'select body from notes where id = $1', [BASE + 1], { rows_returned: 1 });
}

async function cancels(sql) {
  const sleeping = sql`select pg_sleep(${60})`.execute();
  await untilCancelled(sleeping, () => sleeping.cancel());
  cancelled('execute', 'select pg_sleep($1)', [60]);
  same(await sql`select ${'still here'} as word`, [{ word: 'still here' }], 'after cancelling');
  ran('execute', 'select $1 as word', ['still here'], { rows_returned: 1 });
}

const sql = postgres({ ...login, max: 1, fetch_types: false, connection: { application_name: application } });
for (const chapter of [values, pipelines, cursors, transactions, copies, failures, denials, cancels]) await chapter(sql);
await sql.end();
done();

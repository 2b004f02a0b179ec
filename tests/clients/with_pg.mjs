// node-postgres: values, named statements, cursors by portal, COPY by streams, transactions, denials, cancel.
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  AWKWARD, RECORDED, SALARIES, SLEEP, application, cancelled, check, denied, done, failed, login, part, ran, refused,
  same, untilCancelled,
} from './record.mjs';

const pg = part('pg');
const Cursor = part('pg-cursor');
const { from: copyFrom, to: copyTo } = part('pg-copy-streams');

// Ids of this client's rows, so that clients do not meet.
const BASE = 7000;
const INSERT = 'insert into notes (id, body) values ($1, $2)';

async function values(db) {
  await db.query(INSERT, [BASE, AWKWARD]);
  ran('execute', INSERT, [BASE, AWKWARD], { rows_affected: 1 });
  const query = 'select body from notes where id = $1';
  same((await db.query(query, [BASE])).rows, [{ body: AWKWARD }], 'values');
  ran('execute', query, [BASE], { rows_returned: 1 });
  same((await db.query('select 1 as a; select 2 as b')).length, 2, 'two statements in one message');
  ran('query', 'select 1 as a; select 2 as b', undefined, { rows_returned: 2 });
}

async function prepared(db) {
  for (let n = 0; n < 5; n += 1) {
    const values = [BASE + 10 + n, n === 4 ? null : `row ${n}`];
    await db.query({ name: 'keep', text: INSERT, values });
    ran('execute', INSERT, values, { rows_affected: 1 });
  }
  const binary = { text: 'select id from notes where id >= $1 and id < $2 order by id', values: [BASE, BASE + 20], binary: true };
  same((await db.query(binary)).rows.length, 6, 'a result in binary');
  ran('execute', binary.text, binary.values, { rows_returned: 6 });
}

async function cursors(db) {
  const query = 'select n from generate_series(1, $1) n';
  const cursor = db.query(new Cursor(query, [25]));
  for (const rows of [10, 10, 5]) {
    same((await cursor.read(10)).length, rows, 'a cursor');
    ran('execute', query, [25], { rows_returned: rows });
  }
  await cursor.close();
}

async function transactions(db) {
  const change = 'update notes set body = $1 where id = $2';
  for (const [end, body] of [['COMMIT', 'kept'], ['ROLLBACK', 'not kept']]) {
    await db.query('BEGIN');
    ran('query', 'BEGIN');
    await db.query(change, [body, BASE + 10]);
    ran('execute', change, [body, BASE + 10], { rows_affected: 1 });
    await db.query(end);
    ran('query', end);
  }
  same((await db.query(`select body from notes where id = ${BASE + 10}`)).rows, [{ body: 'kept' }], 'commit and rollback');
  ran('query', `select body from notes where id = ${BASE + 10}`, undefined, { rows_returned: 1 });
}

async function copies(db) {
  const into = 'copy notes (id, body) from stdin';
  const rows = Array.from({ length: 200 }, (_, n) => `${BASE + 100 + n}\tcopied ${n}\n`);
  await pipeline(Readable.from(rows), db.query(copyFrom(into)));
  ran('query', into, undefined, { rows_affected: 200 });
  const out = `copy (select id from notes where id between ${BASE + 100} and ${BASE + 299}) to stdout`;
  let lines = 0;
  const sink = new Writable({
    write(chunk, _, next) {
      lines += chunk.toString().split('\n').length - 1;
      next();
    },
  });
  await pipeline(db.query(copyTo(out)), sink);
  same(lines, 200, 'COPY out');
  ran('query', out, undefined, { rows_returned: 200 });
}

async function failures(db) {
  await refused(db.query(INSERT, [BASE, 'again']), '23505');
  failed('execute', INSERT, '23505', [BASE, 'again']);
}

async function denials(db) {
  if (!RECORDED) return;
  const byName = `${SALARIES} where person = $1`;
  for (const inside of [false, true]) {
    if (inside) {
      await db.query('BEGIN');
      ran('query', 'BEGIN');
    }
    await refused(db.query(byName, ['Ana']));
    denied('parse', byName);
    if (inside) {
      await refused(db.query('select 1'), '25P02');
      failed('query', 'select 1', '25P02');
      await db.query('ROLLBACK');
      ran('query', 'ROLLBACK');
    }
  }
  await refused(db.query(SALARIES));
  denied('query', SALARIES);
  // Queued at once: node-postgres sends one after the other's answer, and each has its own.
  const queued = [db.query('select $1::int as n', [1]), db.query(SALARIES), db.query('select $1::int as n', [2])];
  same((await queued[0]).rows, [{ n: 1 }], 'before the refusal');
  await refused(queued[1]);
  same((await queued[2]).rows, [{ n: 2 }], 'after the refusal');
  ran('execute', 'select $1::int as n', [1], { rows_returned: 1 });
  denied('query', SALARIES);
  ran('execute', 'select $1::int as n', [2], { rows_returned: 1 });
}

// It cancels by a connection of its own, without TLS, as clients did before libpq 17.
async function cancels(db) {
  const sleeping = new pg.Query(SLEEP);
  const over = new Promise((resolve, reject) => {
    sleeping.callback = (error, result) => (error ? reject(error) : resolve(result));
  });
  db.query(sleeping);
  await untilCancelled(over, () => new Promise((resolve) => {
    const other = new pg.Client({ ...login, ssl: false });
    other.cancel(db, sleeping);
    other.connection.stream.once('close', resolve);
  }));
  cancelled('query', SLEEP);
  same((await db.query("select 'still here' as word")).rows, [{ word: 'still here' }], 'after cancelling');
  ran('query', "select 'still here' as word", undefined, { rows_returned: 1 });
}

const db = new pg.Client({ ...login, application_name: application });
await db.connect();
for (const chapter of [values, prepared, cursors, transactions, copies, failures, denials, cancels]) await chapter(db);
await db.end();
check(true);
done();

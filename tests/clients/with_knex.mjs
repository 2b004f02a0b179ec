// Knex: a pool, a builder of statements, transactions with savepoints, streams, batches, denials, time limits.
import {
  AWKWARD, RECORDED, application, check, denied, done, failed, login, part, ran, refused, same,
} from './record.mjs';

const knex = part('knex');

// Ids of this client's rows, so that clients do not meet.
const BASE = 9000;

const db = knex({
  client: 'pg',
  connection: { ...login, application_name: application },
  // One connection, so that its statements have one order.
  pool: { min: 0, max: 1 },
});

// When it opens a connection it asks for the version.
ran('query', 'select version();', undefined, { rows_returned: 1 });

const id = (n) => ({ id: BASE + n });

await db('notes').insert({ ...id(0), body: AWKWARD });
ran('execute', 'insert into "notes" ("body", "id") values ($1, $2)', [AWKWARD, BASE], { rows_affected: 1 });
same(await db('notes').select('body').where(id(0)).first(), { body: AWKWARD }, 'values');
ran('execute', 'select "body" from "notes" where "id" = $1 limit $2', [BASE, 1], { rows_returned: 1 });
same((await db.raw('select ?::int + ?::int as n', [2, 3])).rows, [{ n: 5 }], 'raw SQL');
ran('execute', 'select $1::int + $2::int as n', [2, 3], { rows_returned: 1 });

// In pieces, in a transaction of its own.
const rows = Array.from({ length: 25 }, (_, n) => ({ ...id(10 + n), body: `row ${n}` }));
await db.batchInsert('notes', rows, 10);
ran('query', 'BEGIN;');
for (let at = 0; at < rows.length; at += 10) {
  const piece = rows.slice(at, at + 10);
  const marks = piece.map((_, n) => `($${2 * n + 1}, $${2 * n + 2})`).join(', ');
  const text = `insert into "notes" ("body", "id") values ${marks}`;
  ran('execute', text, piece.flatMap((row) => [row.body, row.id]), { rows_affected: piece.length });
}
ran('query', 'COMMIT;');

// A transaction in a transaction is a savepoint, by a name that Knex makes.
const savepoints = [];
db.on('query', ({ sql }) => { if (sql.includes('SAVEPOINT')) savepoints.push(sql); });
await db.transaction(async (outer) => {
  await outer('notes').where(id(10)).update({ body: 'kept' });
  const inner = outer.transaction(async (deeper) => {
    await deeper('notes').where(id(10)).delete();
    throw new Error('back to the savepoint');
  });
  await inner.then(() => check(false, 'it went through'), () => {});
});
ran('query', 'BEGIN;');
ran('execute', 'update "notes" set "body" = $1 where "id" = $2', ['kept', BASE + 10], { rows_affected: 1 });
check(savepoints.length === 2 && savepoints[1].startsWith('ROLLBACK TO'), savepoints);
ran('query', savepoints[0]);
ran('execute', 'delete from "notes" where "id" = $1', [BASE + 10], { rows_affected: 1 });
ran('query', savepoints[1]);
ran('query', 'COMMIT;');

await refused(db('notes').insert({ ...id(0), body: 'again' }), '23505');
failed('execute', 'insert into "notes" ("body", "id") values ($1, $2)', '23505', ['again', BASE]);

if (RECORDED) {
  const salaries = (asker) => asker.withSchema('hr').from('salaries').select('amount').where({ person: 'Ana' });
  const sent = 'select "amount" from "hr"."salaries" where "person" = $1';
  await refused(salaries(db));
  denied('parse', sent);
  // In a transaction: nothing works until it is over, which db.transaction sees to.
  const inside = db.transaction(async (asker) => {
    await asker('notes').where(id(10)).update({ body: 'not to stay' });
    await refused(salaries(asker));
    await refused(asker.raw('select 1'), '25P02');
    throw new Error('rolled back');
  });
  await inside.then(() => check(false, 'it went through'), (error) => same(error.message, 'rolled back', 'the end'));
  ran('query', 'BEGIN;');
  ran('execute', 'update "notes" set "body" = $1 where "id" = $2', ['not to stay', BASE + 10], { rows_affected: 1 });
  denied('parse', sent);
  failed('query', 'select 1', '25P02');
  ran('query', 'ROLLBACK');
  same(await db('notes').where(id(10)).pluck('body'), ['kept'], 'after the rollback');
  ran('execute', 'select "body" from "notes" where "id" = $1', [BASE + 10], { rows_returned: 1 });
}

await db.destroy();
done();

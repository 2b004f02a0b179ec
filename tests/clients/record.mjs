// What a client program knows of each statement it ran, as record.py has it; printed at its end as one JSON list.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

// Packages of tests/parts, where npm put them.
export const part = createRequire(new URL('../parts/package.json', import.meta.url));

// Whether the way goes by Hansard, where the rules of the tests hold.
export const RECORDED = process.env.HANSARD === '1';
export const SALARIES = 'select amount from hr.salaries';
export const SLEEP = 'select pg_sleep(60)';
export const AWKWARD = 'it\'s \\ a "test" – 漢字;\nselect 1 -- no';
// How long to wait for a cancel request to do its work before the next one: the first may come before the statement.
const CANCEL_AGAIN_MS = 300;

// The way in: TLS that knows whom it talks to, and a token as the password.
export const login = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
  ssl: { ca: readFileSync(process.env.PGSSLROOTCERT) },
};
export const application = process.env.PGAPPNAME;

const statements = [];

// Notes one statement: how it was asked, its text on the wire, its values, and what the client was told.
export function ran(request, text, params, known = {}) {
  const shown = (value) => (value === null || value === undefined ? null : String(value));
  statements.push({ request, text, ...(params && { params: params.map(shown) }), ...known });
}

export function failed(request, text, sqlstate, params) {
  ran(request, text, params, { status: 'error', sqlstate });
}

export function denied(request, text) {
  ran(request, text, undefined, { decision: 'deny', status: 'denied', sqlstate: '42501' });
}

export function cancelled(request, text, params) {
  ran(request, text, params, { status: 'cancelled', sqlstate: '57014' });
}

// A client that got something else than it should have ends the test.
export function check(condition, what) {
  if (condition) return;
  process.stderr.write(`the client got something else: ${what}\n`);
  process.exit(1);
}

export function same(got, wanted, what) {
  check(JSON.stringify(got) === JSON.stringify(wanted), `${what}: ${JSON.stringify(got)}`);
}

// Awaits an error of this SQLSTATE; a denial is signed by who denied.
export async function refused(promise, sqlstate = '42501') {
  const error = await promise.then(() => check(false, `not refused by ${sqlstate}`), (error) => error);
  check(error.code === sqlstate, `expected ${sqlstate}: ${error.stack}`);
  if (sqlstate === '42501') check(error.message.includes('hansard:'), `the refusal says ${error.message}`);
}

// Awaits what takes long and cancels it from beside until it ends so.
export async function untilCancelled(promise, cancel) {
  let ended = false;
  const over = refused(promise, '57014').then(() => { ended = true; });
  while (!ended) {
    await Promise.race([over, new Promise((resolve) => setTimeout(resolve, CANCEL_AGAIN_MS))]);
    if (!ended) await cancel();
  }
}

export function done() {
  process.stdout.write(JSON.stringify(statements));
}

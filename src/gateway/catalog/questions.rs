//! What is asked of a PostgreSQL catalog (15 to 18), in text that names nothing of the client's.
//!
//! After the first question the path is empty but for the server's own schema, so that every other name in a definition
//! comes with its schema.

/// The path that a session begins with, the server's own schema in its place in it.
pub(super) const PATH: &str = "SELECT unnest(pg_catalog.current_schemas(true))";

/// The role that a session begins with.
pub(super) const ROLE: &str = "SELECT pg_catalog.current_setting('role')";

/// One look: a snapshot that nothing can change, and not longer than a session waits for.
pub(super) const BEGIN: &str = "SET search_path = pg_catalog; SET statement_timeout = '8s'; \
     BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The end of the snapshot, before [`definition`]s are asked for: from here each question is a transaction of its own, and
/// one that meets a lock that somebody holds, or waits for, is refused instead of waiting.
pub(super) const LET_GO: &str = "COMMIT; SET lock_timeout = '1ms'";

/// The definition of the view with a number. It locks the view and all that it names, as reading the view does, until the
/// end of its transaction.
pub(super) fn definition(number: u32) -> String {
    format!("SELECT pg_get_viewdef({number})")
}

/// Schema, name, columns as a JSON array.
pub(super) const RELATIONS: &str = "\
SELECT n.nspname, c.relname,
  coalesce((SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]')::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_(toast|temp)'";

/// Schema, name, number of views that are not the server's own.
pub(super) const VIEWS: &str = "\
SELECT n.nspname, c.relname, c.oid
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_(toast|temp)'";

/// Schema and name of a table and of one directly above it.
pub(super) const PARENTS: &str = "\
SELECT cn.nspname, c.relname, pn.nspname, p.relname
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND p.relkind IN ('r', 'p', 'f')";

/// Schema and name of a table and of one that its rules name, those rules left out that make a view.
pub(super) const RULES: &str = "\
SELECT DISTINCT n.nspname, c.relname, rn.nspname, r.relname
FROM pg_rewrite w
JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
JOIN pg_class r ON r.oid = d.refobjid JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE w.ev_type <> '1' AND r.oid <> c.oid AND n.nspname <> 'pg_catalog'";

/// Schema and name of a foreign table, and what its options call the remote one.
pub(super) const FOREIGN: &str = "\
SELECT n.nspname, c.relname,
  coalesce((SELECT option_value FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'schema_name'), n.nspname),
  coalesce((SELECT option_value FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'table_name'), c.relname)
FROM pg_foreign_table f
JOIN pg_class c ON c.oid = f.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace";

/// Schema and name of functions that are not the server's own, whether an extension brought it, what it is, and its number
/// with those of its namesakes as a JSON array.
pub(super) const ROUTINES: &str = "\
SELECT n.nspname, p.proname, bool_and(EXISTS (
  SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')),
  json_agg(DISTINCT l.lanname), bool_or(p.provolatile = 'v'), bool_or(p.prosecdef), json_agg(p.oid::int8 ORDER BY p.oid)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
GROUP BY 1, 2";

/// An operator that neither the server nor an extension brought, and its function.
pub(super) const OPERATORS: &str = "\
SELECT o.oprname, n.nspname, p.proname
FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE o.oid >= 16384 AND NOT EXISTS (
  SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e')";

/// A type, and the function of a cast into it that neither the server nor an extension brought.
pub(super) const CASTS: &str = "\
SELECT t.typname, n.nspname, p.proname
FROM pg_cast k JOIN pg_type t ON t.oid = k.casttarget
JOIN pg_proc p ON p.oid = k.castfunc JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE k.oid >= 16384 AND NOT EXISTS (
  SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = k.oid AND d.deptype = 'e')";

/// A domain, and one of its conditions: `CHECK (…)`.
pub(super) const DOMAINS: &str = "\
SELECT t.typname, pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_type t ON t.oid = c.contypid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE c.contype = 'c' AND n.nspname NOT IN ('pg_catalog', 'information_schema')";

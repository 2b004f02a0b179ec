//! What is asked of a PostgreSQL catalog (15 to 18) about our own login, in text that names nothing of the client's. The
//! path is the server's own schema alone.

/// The login itself: its name, the attributes that stand above all rights, whether the database is its own, whether it may
/// make schemas in it.
pub(super) const LOGIN: &str = "\
SELECT r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls,
  pg_has_role(d.datdba, 'USAGE'), has_database_privilege(d.oid, 'CREATE')
FROM pg_roles r, pg_database d WHERE r.rolname = session_user AND d.datname = current_database()";

/// Roles that it can become by SET ROLE, on all levels, with their attributes and whether the server brought them.
pub(super) const ROLES: &str = "\
SELECT r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls, r.oid < 16384
FROM pg_roles r WHERE r.rolname <> session_user AND pg_has_role(session_user, r.oid, 'MEMBER')
ORDER BY 1";

/// Functions that are not the server's own, triggers aside, and those that leave the database: the server's own for files, those of extensions for other servers, those in a
/// language that may do anything, and those that run with a superuser's rights. With what they do, and whether our login
/// and whether everybody may call them.
pub(super) const ROUTINES: &str = "\
SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), coalesce(f.does, ''),
  has_function_privilege(session_user, p.oid, 'EXECUTE') AND has_schema_privilege(session_user, n.oid, 'USAGE'),
  EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
          WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
JOIN pg_roles o ON o.oid = p.proowner
LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = d.refobjid
CROSS JOIN LATERAL (SELECT CASE
  WHEN p.proname ~ '^dblink' OR e.extname IN ('dblink', 'http', 'pg_net', 'plproxy', 'aws_s3', 'aws_lambda', 'azure_storage')
    THEN 'servers'
  WHEN e.extname = 'adminpack' OR n.nspname = 'pg_catalog'
    AND p.proname ~ '^(lo_import|lo_export|pg_read_file|pg_read_binary_file|pg_ls_|pg_stat_file|pg_file_)' THEN 'files'
  WHEN NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c') THEN 'language'
  WHEN p.prosecdef AND o.rolsuper THEN 'superuser'
  END AS does) f
WHERE (f.does IS NOT NULL OR n.nspname NOT IN ('pg_catalog', 'information_schema'))
  AND n.nspname !~ '^pg_(toast|temp)' AND p.prorettype <> 'trigger'::regtype
ORDER BY 1, 2, 3";

/// Other servers that it may use.
pub(super) const SERVERS: &str = "\
SELECT s.srvname FROM pg_foreign_server s WHERE has_server_privilege(session_user, s.oid, 'USAGE') ORDER BY 1";

/// Schemas that are not the server's own: whether they are on the path that a session begins with (`{path}`, an array),
/// and whether our login and whether everybody may make objects in them.
pub(super) const SCHEMAS: &str = "\
SELECT n.nspname, n.nspname = ANY ({path}), has_schema_privilege(session_user, n.oid, 'CREATE'),
  EXISTS (SELECT 1 FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
          WHERE a.grantee = 0 AND a.privilege_type = 'CREATE')
FROM pg_namespace n
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY 1";

/// Tables and what shows rows like one: kind, columns, those that our login may read, what else it may do, whether they
/// are its own, what everybody may do; then the sequences that belong to a table.
pub(super) const TABLES: &str = "\
SELECT n.nspname, c.relname, c.relkind,
  coalesce((SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]')::text,
  coalesce((SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND has_column_privilege(session_user, c.oid, a.attnum, 'SELECT')), '[]')::text,
  has_any_column_privilege(session_user, c.oid, 'INSERT'),
  has_any_column_privilege(session_user, c.oid, 'UPDATE'),
  has_table_privilege(session_user, c.oid, 'DELETE, TRUNCATE'),
  pg_has_role(c.relowner, 'USAGE'),
  coalesce((SELECT json_agg(DISTINCT e.privilege_type) FROM (
              SELECT a.privilege_type, a.grantee FROM aclexplode(c.relacl) a
              UNION SELECT a.privilege_type, a.grantee FROM pg_attribute t, aclexplode(t.attacl) a
              WHERE t.attrelid = c.oid AND NOT t.attisdropped) e
            WHERE e.grantee = 0), '[]')::text,
  coalesce((SELECT json_agg(json_build_array(sn.nspname, s.relname)) FROM pg_depend d
            JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = c.oid AND d.deptype = 'a'), '[]')::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY 1, 2";

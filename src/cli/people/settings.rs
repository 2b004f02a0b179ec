//! Settings of a client, in the form that the client reads; never with a token. Where a client can fetch its password itself,
//! they say how: by `hansard token`, for each connection anew.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::sign_in::Hidden;

/// What settings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// A line for a shell
    Psql,
    /// A block for pg_service.conf
    Service,
    /// postgresql://…
    Url,
    /// Variables for a shell
    Env,
    /// pgjdbc, with the class that fetches the password
    Jdbc,
    /// Npgsql, with the provider that fetches the password
    Npgsql,
    /// A block for odbc.ini, and how Python connects by it
    Odbc,
    /// SQLAlchemy, with the hook that fetches the password
    Sqlalchemy,
    /// node-postgres, with the function that fetches the password
    Node,
    /// Steps in DBeaver
    Dbeaver,
    /// Steps in pgAdmin
    Pgadmin,
}

/// What a client needs beside the token.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) target: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
    /// PEM file of the authorities that vouch for the host.
    pub(super) authorities: PathBuf,
}

impl Settings {
    /// As libpq reads them from the environment.
    pub(super) fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGDATABASE", self.database.clone()),
            ("PGUSER", self.user.clone()),
            ("PGSSLMODE", "verify-full".to_owned()),
            ("PGSSLROOTCERT", self.authorities()),
        ]
    }

    /// The line of a password file that gives the token to this host, port and user alone.
    pub(super) fn password_line(&self, token: &Hidden) -> String {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
        let (host, user, token) = (escaped(&self.host), escaped(&self.user), escaped(token.reveal()));
        format!("{host}:{}:*:{user}:{token}\n", self.port)
    }

    /// The settings as that client reads them.
    pub(super) fn in_form(&self, form: Form) -> String {
        match form {
            Form::Psql => self.psql(),
            Form::Service => self.service(),
            Form::Url => self.url(),
            Form::Env => self.env(),
            Form::Jdbc => self.jdbc(),
            Form::Npgsql => self.npgsql(),
            Form::Odbc => self.odbc(),
            Form::Sqlalchemy => self.sqlalchemy(),
            Form::Node => self.node(),
            Form::Dbeaver => self.dbeaver(),
            Form::Pgadmin => self.pgadmin(),
        }
    }

    fn authorities(&self) -> String {
        self.authorities.display().to_string()
    }

    fn pairs(&self) -> [(&'static str, String); 6] {
        [
            ("host", self.host.clone()),
            ("port", self.port.to_string()),
            ("dbname", self.database.clone()),
            ("user", self.user.clone()),
            ("sslmode", "verify-full".to_owned()),
            ("sslrootcert", self.authorities()),
        ]
    }

    fn psql(&self) -> String {
        let pairs = self.pairs().map(|(key, value)| format!("{key}={}", conninfo(&value)));
        format!("PGPASSWORD=\"$(hansard token {})\" psql {}", self.target, shell(&pairs.join(" ")))
    }

    fn service(&self) -> String {
        let mut text = format!("[{}]\n", self.target);
        for (key, value) in self.pairs() {
            line(&mut text, format_args!("{key}={value}"));
        }
        line(&mut text, format_args!("# PGPASSWORD=\"$(hansard token {0})\" psql service={0}", self.target));
        text
    }

    fn url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let (user, database) = (percent(&self.user), percent(&self.database));
        format!("postgresql://{user}@{host}:{}/{database}?{}", self.port, self.tls_query())
    }

    fn tls_query(&self) -> String {
        format!("sslmode=verify-full&sslrootcert={}", percent(&self.authorities()))
    }

    fn env(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.environment() {
            line(&mut text, format_args!("export {name}={}", shell(&value)));
        }
        line(&mut text, format_args!("export PGPASSWORD=\"$(hansard token {})\"", self.target));
        text
    }

    fn jdbc(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let url = format!(
            "jdbc:postgresql://{host}:{}/{}?user={}&{}&authenticationPluginClassName=HansardToken",
            self.port,
            percent(&self.database),
            percent(&self.user),
            self.tls_query()
        );
        format!(
            "{url}\n\n\
             // pgjdbc asks this class for the password of each connection; put it on the class path.\n\
             public class HansardToken implements org.postgresql.plugin.AuthenticationPlugin {{\n    \
                 public char[] getPassword(org.postgresql.plugin.AuthenticationRequestType type)\n            \
                         throws org.postgresql.util.PSQLException {{\n        \
                     try {{\n            \
                         Process process = new ProcessBuilder(\"hansard\", \"token\", \"{target}\").start();\n            \
                         String token = new String(process.getInputStream().readAllBytes()).trim();\n            \
                         if (process.waitFor() == 0) return token.toCharArray();\n        \
                     }} catch (java.io.IOException | InterruptedException e) {{ /* said below */ }}\n        \
                     throw new org.postgresql.util.PSQLException(\"hansard gave no token; run: hansard login\",\n                \
                             org.postgresql.util.PSQLState.INVALID_PASSWORD);\n    \
                 }}\n\
             }}\n",
            target = self.target
        )
    }

    fn npgsql(&self) -> String {
        let quoted = |value: &str| format!("'{}'", value.replace('\'', "''"));
        let string = [
            format!("Host={}", quoted(&self.host)),
            format!("Port={}", self.port),
            format!("Database={}", quoted(&self.database)),
            format!("Username={}", quoted(&self.user)),
            "SSL Mode=VerifyFull".to_owned(),
            format!("Root Certificate={}", quoted(&self.authorities())),
        ]
        .join(";");
        format!(
            "// Npgsql asks for the password of each connection.\n\
             var builder = new Npgsql.NpgsqlDataSourceBuilder({string});\n\
             string Token() {{\n    \
                 var start = new System.Diagnostics.ProcessStartInfo(\"hansard\", \"token {target}\") \
                     {{ RedirectStandardOutput = true }};\n    \
                 using var process = System.Diagnostics.Process.Start(start)!;\n    \
                 var token = process.StandardOutput.ReadToEnd().Trim();\n    \
                 process.WaitForExit();\n    \
                 return process.ExitCode == 0 ? token : throw new Exception(\"run: hansard login\");\n\
             }}\n\
             builder.UsePasswordProvider(_ => Token(), (_, _) => new ValueTask<string>(Token()));\n\
             await using var source = builder.Build();\n",
            string = json(&string),
            target = self.target
        )
    }

    fn odbc(&self) -> String {
        let target = &self.target;
        let mut text = format!("[{target}]\nDriver=PostgreSQL Unicode\n");
        for (key, value) in [
            ("Servername", self.host.clone()),
            ("Port", self.port.to_string()),
            ("Database", self.database.clone()),
            ("Username", self.user.clone()),
            ("SSLmode", "verify-full".to_owned()),
            ("Pqopt", format!("sslrootcert={}", conninfo(&self.authorities()))),
        ] {
            line(&mut text, format_args!("{key}={value}"));
        }
        let command = format!("subprocess.check_output([\"hansard\", \"token\", \"{target}\"], text=True).strip()");
        text + &format!("# Python: pyodbc.connect(\"DSN={target};PWD=\" + {command})\n")
    }

    fn sqlalchemy(&self) -> String {
        format!(
            "import subprocess\n\
             import sqlalchemy\n\n\
             engine = sqlalchemy.create_engine(sqlalchemy.URL.create(\n    \
                 \"postgresql+psycopg\", username={user}, host={host}, port={port}, database={database},\n    \
                 query={{\"sslmode\": \"verify-full\", \"sslrootcert\": {authorities}}},\n\
             ))\n\n\n\
             @sqlalchemy.event.listens_for(engine, \"do_connect\")\n\
             def fresh_token(dialect, record, arguments, parameters):\n    \
                 command = [\"hansard\", \"token\", \"{target}\"]\n    \
                 parameters[\"password\"] = subprocess.check_output(command, text=True).strip()\n",
            user = json(&self.user),
            host = json(&self.host),
            port = self.port,
            database = json(&self.database),
            authorities = json(&self.authorities()),
            target = self.target
        )
    }

    fn node(&self) -> String {
        format!(
            "import {{ execFileSync }} from 'node:child_process';\n\
             import {{ readFileSync }} from 'node:fs';\n\
             import pg from 'pg';\n\n\
             export const pool = new pg.Pool({{\n  \
                 host: {host},\n  port: {port},\n  database: {database},\n  user: {user},\n  \
                 password: () => execFileSync('hansard', ['token', '{target}'], {{ encoding: 'utf8' }}).trim(),\n  \
                 ssl: {{ ca: readFileSync({authorities}, 'utf8') }},\n\
             }});\n",
            host = json(&self.host),
            port = self.port,
            database = json(&self.database),
            user = json(&self.user),
            authorities = json(&self.authorities()),
            target = self.target
        )
    }

    fn dbeaver(&self) -> String {
        format!(
            "1. Database > New Database Connection > PostgreSQL\n\
             2. Main: Host {host}, Port {port}, Database {database}\n\
             3. Authentication: Database Native, Username {user}; leave \"Save password\" off\n\
             4. SSL: Use SSL, Root certificate {authorities}, SSL mode verify-full\n\
             5. At each connection DBeaver asks for the password: paste what this prints:\n   \
                hansard token {target}\n\n\
             Or without any token: leave this running, and take the host, port and database that it names, without SSL:\n   \
                hansard proxy {target}\n",
            host = self.host,
            port = self.port,
            database = self.database,
            user = self.user,
            authorities = self.authorities(),
            target = self.target
        )
    }

    fn pgadmin(&self) -> String {
        format!(
            "1. Object > Register > Server\n\
             2. General: Name {target}\n\
             3. Connection: Host {host}, Port {port}, Maintenance database {database}, Username {user}\n\
             4. Parameters: SSL mode verify-full, Root certificate {authorities}\n\
             5. Advanced: Password exec command hansard token {target}, Password exec expiration 300\n   \
                (in pgAdmin's server mode there is no such command: paste what it prints)\n",
            host = self.host,
            port = self.port,
            database = self.database,
            user = self.user,
            authorities = self.authorities(),
            target = self.target
        )
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    writeln!(text, "{line}").unwrap_or_default();
}

/// A value of libpq's connection string.
fn conninfo(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A word of a shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A text as JSON writes it, which C#, Python and JavaScript read alike.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text as a part of a URL.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn settings() -> Settings {
        Settings {
            target: "clinic".to_owned(),
            host: "db.example.com".to_owned(),
            port: 5432,
            database: "it's $(id)".to_owned(),
            user: "ana@example.org".to_owned(),
            authorities: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
        }
    }

    #[test]
    fn every_client_is_told_the_host_and_where_the_password_comes_from() {
        for form in Form::value_variants() {
            let text = settings().in_form(*form);
            assert!(text.contains("db.example.com") && text.contains("ca-certificates.crt"), "{form:?}: {text}");
            let fetches = text.contains("token") && text.contains("clinic");
            assert!(fetches || *form == Form::Url, "{form:?}: {text}");
        }
    }

    #[test]
    fn what_a_shell_or_a_url_would_act_on_is_quoted() {
        assert_eq!(
            settings().in_form(Form::Psql),
            "PGPASSWORD=\"$(hansard token clinic)\" psql 'host=db.example.com port=5432 dbname='\\''it\\'\\''s $(id)'\\'' \
             user=ana@example.org sslmode=verify-full sslrootcert=/etc/ssl/certs/ca-certificates.crt'"
        );
        assert_eq!(
            settings().in_form(Form::Url),
            "postgresql://ana%40example.org@db.example.com:5432/it%27s%20%24%28id%29?sslmode=verify-full\
             &sslrootcert=%2Fetc%2Fssl%2Fcerts%2Fca-certificates.crt"
        );
        assert!(settings().in_form(Form::Env).contains("export PGDATABASE='it'\\''s $(id)'\n"));
        let host = Settings { host: "::1".to_owned(), ..settings() };
        assert!(host.in_form(Form::Url).contains("@[::1]:5432/"));
        assert_eq!(host.password_line(&Hidden::new("a:b")), "\\:\\:1:5432:*:ana@example.org:a\\:b\n");
    }
}

//! How people sign in and connect: the built program's `login`, `token`, `whoami` and `connect`, a certified issuer, a browser
//! without a screen, and real clients through a real Hansard.

#![expect(clippy::unwrap_used, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

use serde_json::Value;
use support::{Folder, Hansard, Issuer, Store, free_port, lossy, node, part, python, repository, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hansard");
/// How long something may take that happens at once.
const SOON: Duration = Duration::from_secs(20);

/// A Hansard that tells people how to sign in.
struct Office {
    hansard: Hansard,
    address: String,
}

impl Office {
    fn open(issuer: &'static Issuer) -> Self {
        let port = free_port();
        let client = "client = { id = \"hansard-cli\", resource = \"api://hansard\", prompt = \"consent\", \
                      scopes = [\"profile\", \"offline_access\"], redirect = \"http://127.0.0.1/back\" }";
        let edit = |config: String| {
            let told = format!("algorithms = [\"RS256\"]\n{client}\n");
            config.replace("algorithms = [\"RS256\"]\n", &told)
                + &format!("[sign_in]\naddress = \"127.0.0.1:{port}\"\n[operators]\nroles = \"dba\"\n")
        };
        let rules = fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
        let hansard = Hansard::start_on(Store::Folder, &rules, issuer, &edit);
        Self { hansard, address: format!("https://localhost:{port}") }
    }

    /// The certificate that it made itself, which is also that of the listener.
    fn certificate(&self) -> PathBuf {
        self.hansard.folder().join("journal/tls/self-signed.crt")
    }
}

/// A person with a machine of their own.
struct Person {
    home: Folder,
    name: &'static str,
}

impl Person {
    fn new(name: &'static str) -> Self {
        let person = Self { home: Folder::new("person"), name };
        person.sits_before(&format!("exec {} \"$1\"", person.browser()));
        person
    }

    /// The command of a browser that goes through to the end.
    fn browser(&self) -> String {
        let browser = repository("tests/parts/browser.mjs");
        format!("'{}' '{}' {}", node().get_program().display(), browser.display(), self.name)
    }

    /// Has another script be the browser.
    fn sits_before(&self, script: &str) {
        let path = self.home.join("browser");
        fs::write(&path, format!("#!/bin/sh\n{script} >'{}' 2>&1\n", self.home.join("page").display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What the browser showed last.
    fn page(&self) -> String {
        fs::read_to_string(self.home.join("page")).unwrap()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for name in ["SSH_CONNECTION", "SSH_TTY", "DISPLAY", "WAYLAND_DISPLAY", "PGPASSWORD"] {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", self.home.path()).env("HOME", self.home.path());
        command.env("BROWSER", self.home.join("browser")).stdin(Stdio::null());
        let folder = Path::new(PROGRAM).parent().unwrap().display().to_string();
        command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()));
        command
    }

    fn hansard(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(Path::new(PROGRAM));
        command.args(arguments);
        command
    }

    /// The exit code, and both streams.
    fn runs(&self, arguments: &[&str]) -> (i32, String, String) {
        ended(&mut self.hansard(arguments))
    }

    fn signs_in_at(&self, office: &Office) -> String {
        let ca_file = office.certificate();
        let (code, out, said) = self.runs(&["login", &office.address, "--ca-file", ca_file.to_str().unwrap()]);
        assert_eq!((code, out.as_str()), (0, ""), "{said}");
        said
    }

    /// Their token, which is all that is printed.
    fn token(&self) -> String {
        let (code, out, said) = self.runs(&["token"]);
        assert_eq!((code, said.as_str()), (0, ""));
        let token = out.strip_suffix('\n').unwrap().to_owned();
        assert!(token.split('.').count() == 3 && !token.contains(char::is_whitespace), "{token}");
        token
    }

    fn kept(&self) -> PathBuf {
        self.home.join("hansard/sign-ins.json")
    }
}

fn ended(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), lossy(&stdout), lossy(&stderr))
}

fn shared() -> Office {
    Office::open(Issuer::shared())
}

#[test]
fn somebody_signs_in_by_a_browser_once_and_connects_by_name() {
    let (office, ana) = (shared(), Person::new("ana"));
    let said = ana.signs_in_at(&office);
    for line in
        ["Opening your browser", "Signed in as ana by http://127.0.0.1", "roles: analyst", "is renewed by itself"]
    {
        assert!(said.contains(line), "{line}:\n{said}");
    }
    assert!(said.contains(&format!("kept in: {}", ana.kept().display())), "{said}");
    assert!(said.contains("Next: hansard connect app"), "{said}");
    assert!(wait_for("the last page", SOON, || Some(ana.page()).filter(|page| !page.is_empty())).contains("signed in"));
    assert_eq!(fs::metadata(ana.kept()).unwrap().permissions().mode() & 0o777, 0o600);

    let (code, out, said) = ana.runs(&["whoami"]);
    assert_eq!((code, said.as_str()), (0, ""));
    let who: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&who["name"], &who["subject"]), (&Value::from("ana"), &Value::from("u-ana")));
    assert_eq!((&who["targets"][0], &who["renews_itself"]), (&Value::from("app"), &Value::from(true)));
    let (_, claims, _) = ana.runs(&["whoami", "--claims"]);
    assert_eq!(serde_json::from_str::<Value>(&claims).unwrap()["groups"][0], "reporting");

    let (code, out, said) = ana.runs(&["connect", "app", "--", "-X", "-At", "-c", "SELECT 6 * 7"]);
    assert_eq!((code, out.as_str()), (0, "42\n"), "{said}");
    assert!(said.contains("Connecting as ana to app/app"), "{said}");
    let (code, _, said) = ana.runs(&["-q", "connect", "app", "app", "--", "-X", "-c", "SELECT * FROM hr.salaries"]);
    assert_eq!(code, 1);
    assert!(said.contains("salaries-are-private"), "{said}");
    let by_whom = "SELECT DISTINCT subject FROM statements WHERE application = 'psql'";
    let rows = office.hansard.archive().query_until(by_whom, |rows| !rows.is_empty());
    assert_eq!(rows[0]["subject"], "u-ana");
}

#[test]
fn a_code_on_another_device_signs_in_as_well() {
    let (office, dora) = (shared(), Person::new("dora"));
    let (code, said) = by_device(&dora, &office);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Signed in as dora"), "{said}");
    assert_eq!(dora.token().split('.').count(), 3);

    let refuser = Person::new("refuser");
    let (code, said) = by_device(&refuser, &office);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("refused: access_denied"), "{said}");
    assert!(!refuser.kept().exists(), "nothing is kept of a sign-in that did not come about");
}

/// Signs in by a code, as over SSH: the exit code, and what was said after the code.
fn by_device(person: &Person, office: &Office) -> (i32, String) {
    let ca_file = office.certificate();
    let mut login = person.hansard(&["login", &office.address, "--ca-file", ca_file.to_str().unwrap()]);
    let mut login = login.env("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(login.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.next().unwrap();
    let (url, rest) = line.strip_prefix("To sign in, open ").and_then(|rest| rest.split_once(" and enter ")).unwrap();
    let code = rest.split_whitespace().next().unwrap();
    let mut browser = node();
    browser.arg(repository("tests/parts/browser.mjs")).arg(person.name).arg(format!("{url}?user_code={code}"));
    browser.output().unwrap();
    let said: Vec<String> = lines.collect();
    (login.wait().unwrap().code().unwrap(), said.join("\n"))
}

#[test]
fn an_answer_that_belongs_to_something_else_does_not_end_a_sign_in_and_a_no_of_the_issuer_does() {
    let office = shared();
    let ana = Person::new("ana");
    // Somebody else on the machine knocks first.
    let back = "$(printf %s \"$1\" | sed -n 's/.*redirect_uri=http%3A%2F%2F127.0.0.1%3A\\([0-9]*\\)%2Fback.*/\\1/p')";
    let knock = format!("curl -s --noproxy '*' -o '{}' -w '%{{http_code}}' ", ana.home.join("knocked").display());
    let (forged, through) = (format!("{knock}\"http://127.0.0.1:{back}/back?code=x&state=y\""), ana.browser());
    ana.sits_before(&format!("{forged}; {through} \"$1\""));
    ana.signs_in_at(&office);
    assert!(fs::read_to_string(ana.home.join("knocked")).unwrap().contains("another sign-in"));

    let refuser = Person::new("refuser");
    let ca_file = office.certificate();
    let (code, _, said) = refuser.runs(&["login", &office.address, "--ca-file", ca_file.to_str().unwrap()]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("refused: access_denied: not you"), "{said}");
    assert!(
        wait_for("the page", SOON, || Some(refuser.page()).filter(|page| !page.is_empty())).contains("not signed in")
    );
}

#[test]
fn a_token_is_renewed_in_silence_by_one_at_a_time_until_the_issuer_ends_it() {
    let issuer: &'static Issuer = Box::leak(Box::new(Issuer::start()));
    let (office, ana) = (Office::open(issuer), Person::new("ana"));
    // Shorter than what a client is given to start, so that every command renews.
    issuer.lifetimes(30, 3_600);
    ana.signs_in_at(&office);
    let first = ana.token();
    let tokens: Vec<String> = scope(|threads| {
        let asked: Vec<_> = (0..6).map(|_| threads.spawn(|| ana.token())).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(tokens.iter().all(|token| *token != first), "they were renewed");
    // A refresh token that is used twice ends the sign-in at this issuer.
    ana.token();

    issuer.lifetimes(1, 1);
    ana.token();
    sleep(Duration::from_secs(2));
    for _ in 0..2 {
        let (code, out, said) = ana.runs(&["token"]);
        assert_eq!((code, out.as_str()), (4, ""));
        assert_eq!(said, format!("sign-in needed: hansard login {}\n", office.address));
    }
    assert_eq!(ana.runs(&["connect", "app"]).0, 4);
    let kept = fs::read_to_string(ana.kept()).unwrap();
    assert!(!kept.contains(&first) && kept.contains("\"refresh\":null"), "what has ended is not kept");
}

#[test]
fn an_issuer_that_is_away_ends_nothing_that_is_still_good() {
    let issuer: &'static Issuer = Box::leak(Box::new(Issuer::start()));
    let (office, ana) = (Office::open(issuer), Person::new("ana"));
    issuer.lifetimes(8, 3_600);
    ana.signs_in_at(&office);
    let token = ana.token();
    issuer.stop_answering();
    assert_eq!(ana.token(), token, "it is good for some seconds");
    sleep(Duration::from_secs(9));
    let (code, out, said) = ana.runs(&["token"]);
    assert_eq!((code, out.as_str()), (7, ""), "{said}");
    assert!(said.contains("does not answer"), "{said}");
}

#[test]
fn no_token_is_among_the_arguments_or_in_the_environment_of_any_process() {
    let (office, ana) = (shared(), Person::new("ana"));
    ana.signs_in_at(&office);
    let token = ana.token();
    let mut command = ana.hansard(&["connect", "app", "--", "-X", "-At", "-c", "SELECT 'slept', pg_sleep(5)"]);
    let child: Child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let sleeps = format!("/proc/{}/cmdline", child.id());
    // It became psql, and psql runs the statement.
    let is_psql = |line: String| line.contains("pg_sleep") && !line.contains("connect");
    wait_for("psql", SOON, || Some(lossy(&fs::read(&sleeps).ok()?)).filter(|line| is_psql(line.clone())));
    sleep(Duration::from_secs(1));
    let signature = token.rsplit('.').next().unwrap();
    let mut looked = 0;
    for process in fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()) {
        for file in ["cmdline", "environ"] {
            let Ok(bytes) = fs::read(process.join(file)) else { continue };
            looked += 1;
            assert!(!lossy(&bytes).contains(signature), "{}", process.join(file).display());
        }
    }
    assert!(looked > 4, "{looked}");
    assert_eq!(lossy(&child.wait_with_output().unwrap().stdout), "slept|\n");
    assert!(!office.hansard.log().contains(signature));
}

#[test]
fn a_tool_that_knows_no_token_comes_in_by_a_door_of_the_persons_own() {
    let (office, ana) = (shared(), Person::new("ana"));
    let (code, _, said) = ana.runs(&["proxy", "app"]);
    assert_eq!(code, 4, "{said}");
    ana.signs_in_at(&office);
    let port = free_port().to_string();
    let mut proxy = ana.hansard(&["proxy", "app", "--port", &port]);
    let mut proxy = proxy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(&format!("app  host 127.0.0.1  port {port}  database app")), "{line}");

    let psql = |more: &str, statement: &str| {
        let mut psql = ana.command(Path::new("psql"));
        psql.args(["-X", "-At", "-c", statement]).arg(format!("host=127.0.0.1 port={port} dbname=app user=x {more}"));
        ended(&mut psql)
    };
    assert_eq!(psql("", "SELECT 6 * 7"), (0, "42\n".to_owned(), String::new()));
    let (code, _, said) = psql("sslmode=disable", "SELECT * FROM hr.salaries");
    assert_eq!(code, 1);
    assert!(said.contains("salaries-are-private"), "{said}");
    let long = "SELECT sum(length(x)) FROM (SELECT repeat('x', 1000000) AS x FROM generate_series(1, 20)) AS many";
    assert_eq!(psql("", long).1, "20000000\n");

    fs::remove_file(ana.kept()).unwrap();
    let (code, _, said) = psql("", "SELECT 1");
    assert_eq!(code, 2);
    assert!(said.contains("FATAL:  hansard: sign-in needed: hansard login https://localhost"), "{said}");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(proxy.id()).unwrap()).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert_eq!(proxy.wait().unwrap().code(), Some(0));
}

#[test]
fn a_session_by_the_door_of_ones_own_outlives_its_token() {
    let issuer: &'static Issuer = Box::leak(Box::new(Issuer::start()));
    let (office, ana) = (Office::open(issuer), Person::new("ana"));
    issuer.lifetimes(6, 3_600);
    ana.signs_in_at(&office);
    let port = free_port().to_string();
    let mut proxy = ana.hansard(&["proxy", "app", "--port", &port]);
    let mut proxy = proxy.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut psql = ana.command(Path::new("psql"));
    psql.args(["-X", "-At", "-c", "SELECT 1", "-c", "SELECT pg_sleep(14)", "-c", "SELECT 2"]);
    psql.arg(format!("host=127.0.0.1 port={port} dbname=app user=x application_name=outlives"));
    let (code, out, said) = ended(&mut psql);
    assert_eq!((code, out.as_str()), (0, "1\n\n2\n"), "{said}");
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    let renewed = "select detail from events where kind = 'token_renewed'";
    let rows = office.hansard.archive().query_until(renewed, |rows| rows.len() >= 2);
    assert!(rows.len() < 20, "at a pace: {}", rows.len());
}

#[test]
fn an_operator_looks_at_sessions_and_ends_them_by_name_and_nobody_else_does() {
    let (office, ana, dora) = (shared(), Person::new("ana"), Person::new("dora"));
    ana.signs_in_at(&office);
    let (code, _, said) = dora.runs(&["sessions", "ls"]);
    assert_eq!(code, 4, "{said}");
    dora.signs_in_at(&office);
    let mut psql = ana.hansard(&["-q", "connect", "app", "--", "-X", "-c", "SELECT pg_sleep(60)"]);
    let psql = psql.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let listed = || {
        let (code, out, said) = dora.runs(&["sessions", "ls", "--who", "u-ana", "-o", "json"]);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<Vec<Value>>(&out).unwrap().into_iter().find(|session| session["state"] == "active")
    };
    let session = wait_for("the session", SOON, listed);
    let id = session["session"].as_str().unwrap();
    assert_eq!((&session["application"], &session["target"]), (&Value::from("psql"), &Value::from("app")));
    assert!(session["running"].as_str().unwrap().starts_with(&format!("{id}.")), "{session}");
    let (code, out, _) = dora.runs(&["sessions", "ls", "-o", "table"]);
    assert!(code == 0 && out.contains(id) && out.contains("active"), "{out}");
    let (code, out, _) = dora.runs(&["sessions", "show", id, "-o", "table"]);
    assert!(code == 0 && out.contains("reporting"), "{out}");

    let (code, _, said) = ana.runs(&["sessions", "kill", id, "--reason", "mine"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("is not an operator here"), "{said}");
    assert_eq!(dora.runs(&["sessions", "kill", id]).0, 2, "a reason is needed");
    assert_eq!(dora.runs(&["sessions", "show", "K7Q4M2XKDT"]).0, 6);
    let kill = ["sessions", "kill", id, "--reason", "CHG-1182 freeze", "--block", "10m", "-o", "table"];
    let (code, _, said) = dora.runs(&kill);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("Closed {id}.")) && said.contains("Blocked until "), "{said}");
    let ended = psql.wait_with_output().unwrap();
    assert!(
        lossy(&ended.stderr).contains("hansard: session closed on purpose by Dora Admin: CHG-1182 freeze"),
        "{ended:?}"
    );
    assert_eq!(dora.runs(&kill).0, 6, "it is gone");

    let again = ["-q", "connect", "app", "--", "-X", "-c", "SELECT 1"];
    let (code, _, said) = ana.runs(&again);
    assert!(code == 2 && said.contains("is blocked until"), "{said}");
    let (code, out, _) = dora.runs(&["sessions", "blocks", "-o", "ndjson"]);
    assert!(code == 0 && out.contains("u-ana"), "{out}");
    assert_eq!(dora.runs(&["sessions", "unblock", "u-ana"]).0, 0);
    assert_eq!(ana.runs(&again).0, 0);
}

#[test]
fn printed_settings_work_as_they_are() {
    let (office, ana) = (shared(), Person::new("ana"));
    ana.signs_in_at(&office);
    let printed = |form: &str| {
        let (code, out, said) = ana.runs(&["connect", "app", "--print", form]);
        assert_eq!((code, said.as_str()), (0, ""));
        assert!(!out.contains("eyJ"), "a token: {out}");
        out
    };
    let shell = |script: &str| {
        let mut sh = ana.command(Path::new("/bin/sh"));
        let (code, out, said) = ended(sh.arg("-euc").arg(script));
        assert_eq!(code, 0, "{script}\n{said}");
        out
    };
    let asks = "-X -At -c 'SELECT 6 * 7'";
    assert_eq!(shell(&format!("{} {asks}", printed("psql").trim_end())), "42\n");
    let url = printed("url");
    assert_eq!(shell(&format!("PGPASSWORD=$(hansard token app) psql '{}' {asks}", url.trim_end())), "42\n");
    assert_eq!(shell(&format!("{}psql {asks}", printed("env"))), "42\n");
    let services = ana.home.join("services");
    fs::write(&services, printed("service")).unwrap();
    let by_service = "PGPASSWORD=$(hansard token app) psql service=app";
    assert_eq!(shell(&format!("export PGSERVICEFILE='{}'; {by_service} {asks}", services.display())), "42\n");

    let ask = "with engine.connect() as it: print(it.execute(sqlalchemy.text('SELECT 6 * 7')).scalar())";
    let program = ana.home.join("ask.py");
    fs::write(&program, format!("{}\n{ask}\n", printed("sqlalchemy"))).unwrap();
    let (code, out, said) = ended(ana.command(Path::new(python().get_program())).arg(&program));
    assert_eq!((code, out.as_str()), (0, "42\n"), "{said}");

    let modules = part("node-postgres", "tests/parts/node_modules");
    std::os::unix::fs::symlink(modules, ana.home.join("node_modules")).unwrap();
    let ask = "console.log((await pool.query('SELECT 6 * 7 AS n')).rows[0].n);\nawait pool.end();";
    let program = ana.home.join("ask.mjs");
    fs::write(&program, format!("{}\n{ask}\n", printed("node"))).unwrap();
    let (code, out, said) = ended(ana.command(Path::new(node().get_program())).arg(&program));
    assert_eq!((code, out.as_str()), (0, "42\n"), "{said}");
    let odbc = printed("odbc");
    let connection = odbc.lines().find_map(|line| line.strip_prefix("# Python: ")).unwrap();
    let (ini, program) = (ana.home.join("odbc.ini"), ana.home.join("ask_odbc.py"));
    fs::write(&ini, &odbc).unwrap();
    let ask = format!("it = {connection}\nprint(it.execute('SELECT 6 * 7').fetchone()[0])\n");
    fs::write(&program, format!("import pyodbc, subprocess\n{ask}")).unwrap();
    let mut command = ana.command(Path::new(python().get_program()));
    let (code, out, said) = ended(command.env("ODBCINI", &ini).arg(&program));
    assert_eq!((code, out.as_str()), (0, "42\n"), "{said}");

    let jdbc = printed("jdbc");
    let (url, class) = (jdbc.lines().next().unwrap(), jdbc.find("public class").unwrap());
    let with_main = |main: &str| jdbc.get(class..).unwrap().replacen('{', &format!("{{\n{main}\n"), 1);
    let main = "public static void main(String[] url) throws Exception {
        try (var it = java.sql.DriverManager.getConnection(url[0]);
                var rows = it.createStatement().executeQuery(\"SELECT 6 * 7\")) {
            rows.next();
            System.out.println(rows.getInt(1));
        }
    }";
    fs::write(ana.home.join("HansardToken.java"), with_main(main)).unwrap();
    let jar = "/usr/share/java/postgresql.jar";
    let java = format!("cd '{}'; javac -cp {jar} HansardToken.java; java -cp .:{jar}", ana.home.path().display());
    assert_eq!(shell(&format!("{java} HansardToken '{url}'")), "42\n");
    for form in ["npgsql", "dbeaver", "pgadmin"] {
        assert!(printed(form).contains("localhost"), "{form}");
    }
}

#[test]
fn what_stands_in_the_way_has_a_code_and_says_what_to_do() {
    let (office, ana) = (shared(), Person::new("ana"));
    for command in [&["token"][..], &["whoami"], &["connect", "app"]] {
        let (code, out, said) = ana.runs(command);
        assert_eq!((code, out.as_str()), (4, ""), "{command:?}");
        assert!(said.contains("hansard login"), "{said}");
    }
    let login = |address: &str| ana.runs(&["login", address]);
    let (code, _, said) = ana.runs(&["login"]);
    assert_eq!(code, 2, "{said}");
    let (code, _, said) = login("http://hansard.example");
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("must begin with https://"), "{said}");
    let (code, _, said) = login(&format!("http://127.0.0.1:{}", free_port()));
    assert_eq!(code, 7, "{said}");
    let (code, _, said) = login(Issuer::shared().url());
    assert_eq!(code, 6, "{said}");
    let (code, _, said) = login(&office.address);
    assert_eq!(code, 7, "a certificate that nobody vouches for: {said}");
    assert!(said.contains("certificate"), "{said}");

    ana.signs_in_at(&office);
    let (code, _, said) = ana.runs(&["connect", "ap"]);
    assert_eq!((code, said.as_str()), (6, "there is no target \"ap\"; there are app\n"));
    // A target that came after the login is asked for where it was.
    let kept = fs::read_to_string(ana.kept()).unwrap().replace("\"name\":\"app\"", "\"name\":\"old\"");
    fs::write(ana.kept(), kept).unwrap();
    assert_eq!(ana.runs(&["token", "app"]).0, 0);
    assert_eq!(ana.runs(&["token", "old"]).0, 6);
    fs::set_permissions(ana.kept(), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out, said) = ana.runs(&["token"]);
    assert_eq!((code, out.as_str()), (1, ""), "{said}");
    assert!(said.contains("can be read by others"), "{said}");
}

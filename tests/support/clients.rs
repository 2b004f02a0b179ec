//! Real clients: psql, tokio-postgres, and the Python programs of `tests/clients/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio_postgres::config::SslMode;
use tokio_rustls::rustls;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::{Expected, lossy, output, python, repository};

/// What a client needs to come in, by Hansard or directly.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) port: u16,
    pub(crate) user: String,
    /// A token, or directly the role's password.
    pub(crate) password: String,
    pub(crate) database: String,
    /// By which the rows of the archive and of the server's log are told apart.
    pub(crate) application: String,
    /// Whether the way goes by Hansard, where the rules of the tests hold.
    pub(crate) recorded: bool,
    /// Who signed the certificate, where a client is to ask whom it talks to.
    pub(crate) authority: Option<PathBuf>,
}

impl Login {
    /// As clients of libpq read it; the others read it from there.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", &self.user);
        command.env("PGPASSWORD", &self.password).env("PGDATABASE", &self.database);
        command.env("PGAPPNAME", &self.application).env("PGSSLMODE", "require");
        command.env("HANSARD", if self.recorded { "1" } else { "0" });
        if let Some(authority) = &self.authority {
            command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", authority);
        }
    }
}

/// Runs a program of `tests/clients/` to its end and returns every statement that it ran, in order.
pub(crate) fn client(program: &str, login: &Login, arguments: &[&str]) -> Vec<Expected> {
    let mut command = python();
    command.arg(repository("tests/clients").join(program)).args(arguments);
    told(program, &mut command, login)
}

/// Runs a client to its end that prints what it ran, as `tests/clients/record.py` does.
pub(crate) fn told(program: &str, command: &mut Command, login: &Login) -> Vec<Expected> {
    login.environment(command);
    let printed = output(command, "");
    serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{program} printed something else ({error}):\n{printed}"))
}

/// Runs one statement through psql and interrupts it as a person does with Ctrl-C, once it runs: what psql said.
pub(crate) fn interrupted(login: &Login, statement: &str, runs: impl FnOnce()) -> String {
    let mut command = Command::new("psql");
    command.args(["-X", "-A", "-t", "-q", "-v", "VERBOSITY=verbose", "-c", statement]);
    login.environment(&mut command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    runs();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    lossy(&child.wait_with_output().unwrap().stderr)
}

/// What psql did with a script: whether it ended well, and what it printed.
#[derive(Debug)]
pub(crate) struct Psql {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a script through psql, statement by statement, as a person would type it.
pub(crate) fn psql(login: &Login, script: &str) -> Psql {
    psql_to("", login, script)
}

/// The same with more in the connection string, such as `hostaddr=127.0.0.1 host=db.example sslmode=verify-full`.
pub(crate) fn psql_to(conninfo: &str, login: &Login, script: &str) -> Psql {
    let mut command = Command::new("psql");
    command.args(["-X", "-A", "-t", "-q", "-v", "VERBOSITY=verbose", "-f", "-", "-d", conninfo]);
    login.environment(&mut command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("psql is missing ({error}); run: make setup-test"));
    let mut stdin = child.stdin.take().unwrap();
    let script = script.to_owned();
    // psql leaves without reading when it is not let in.
    let writer = std::thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, script.as_bytes())));
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Psql { success: done.status.success(), stdout: lossy(&done.stdout), stderr: lossy(&done.stderr) }
}

/// Runs one statement through the newest libpq, that of psycopg, with more in the connection string: rows as `a|b`, one per
/// line, or the error.
pub(crate) fn libpq(conninfo: &str, login: &Login, sql: &str) -> Result<String, String> {
    let mut command = python();
    command.arg(repository("tests/clients/libpq.py")).arg(conninfo).arg(sql);
    login.environment(&mut command);
    let done = command.output().unwrap();
    let (printed, said) = (lossy(&done.stdout), lossy(&done.stderr));
    match done.status.code() {
        Some(0) => Ok(printed.trim_end().to_owned()),
        Some(1) if !said.contains("Traceback") => Err(said),
        _ => panic!("libpq.py failed:\n{said}"),
    }
}

/// Connects with tokio-postgres over TLS.
pub(crate) async fn connect(login: &Login) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(login.port).user(&login.user).password(&login.password);
    config.dbname(&login.database).application_name(&login.application).ssl_mode(SslMode::Require);
    let (client, connection) = config.connect(encryption(login)).await?;
    // How the connection ends is what the tests ask the archive.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// TLS for a client of the tests, also for its cancel requests.
pub(crate) fn encryption(login: &Login) -> tokio_postgres_rustls::MakeRustlsConnect {
    let config = login.authority.as_deref().map_or_else(unverified, verified);
    tokio_postgres_rustls::MakeRustlsConnect::new(rustls::ClientConfig::clone(&config))
}

/// TLS that asks whom it talks to, as `sslmode=verify-full`.
fn verified(authority: &Path) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// TLS that takes any certificate.
pub(crate) fn unverified() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

/// `sslmode=require`: encrypts and does not ask who it is, as libpq does. Hansard's certificate is its own.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

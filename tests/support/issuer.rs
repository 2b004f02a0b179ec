//! The issuer: the certified `oidc-provider` on loopback, shared by the tests of one binary.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::leash::Leash;
use super::{Folder, node, part, repository};

/// The audience of the tests' Hansard.
pub(crate) const AUDIENCE: &str = "api://hansard";

/// A running issuer. Its people: `ana` (analyst), `dev` (developer), `dora` (dba), `robot` (workload), `nobody` (no role),
/// and `guest`, whose role is asked for with the token.
#[derive(Debug)]
pub(crate) struct Issuer {
    leash: Leash,
    url: String,
}

impl Issuer {
    /// The issuer of this test binary, started at first use.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Issuer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// An issuer of one's own, for tests that change its keys.
    pub(crate) fn start() -> Self {
        part("oidc-provider", "tests/parts/node_modules/oidc-provider");
        let mut command = node();
        command.arg(repository("tests/parts/issuer.mjs"));
        let mut leash = Leash::start("the issuer", Folder::new("issuer"), "TERM", &command);
        let url = leash.wait(|log| log.lines().find_map(|line| line.strip_prefix("ready ").map(str::to_owned)));
        Self { leash, url }
    }

    /// Its `iss`, which is also where its discovery document is found.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A token for Hansard that lives an hour.
    pub(crate) fn token(&self, client: &str) -> String {
        self.token_for(client, AUDIENCE, Duration::from_secs(3600))
    }

    /// A token for `audience` that lives `lifetime`.
    pub(crate) fn token_for(&self, client: &str, audience: &str, lifetime: Duration) -> String {
        self.mint(client, audience, &lifetime.as_secs().to_string())
    }

    /// A token that only the issuer can read.
    pub(crate) fn opaque_token(&self, client: &str) -> String {
        self.token_for(client, "api://opaque", Duration::from_secs(3600))
    }

    /// Takes such a token back.
    pub(crate) fn takes_back(&self, client: &str, token: &str) {
        let form = format!("client_id={client}&client_secret=only-for-tests&token={token}");
        self.post("/token/revocation", &form);
    }

    /// A token for Hansard that ended `ago`.
    pub(crate) fn expired_token(&self, client: &str, ago: Duration) -> String {
        self.mint(client, AUDIENCE, &format!("-{}", ago.as_secs()))
    }

    /// A token for Hansard that lives an hour, of a person with this one role.
    pub(crate) fn token_of_role(&self, role: &str) -> String {
        let escaped: String = role.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.mint("guest", AUDIENCE, &format!("3600&roles={escaped}"))
    }

    /// A token for Hansard that lives an hour, of somebody with this subject and the role `workload`. The subject is a word.
    pub(crate) fn token_of_subject(&self, subject: &str) -> String {
        self.mint("guest", AUDIENCE, &format!("3600&roles=workload&subject={subject}"))
    }

    /// Signs with a new key from now on; the old ones stay in the key set.
    pub(crate) fn rotate_keys(&self) {
        self.post("/test/rotate", "");
    }

    /// Signs with a new key from now on; the old ones leave the key set.
    pub(crate) fn forget_keys(&self) {
        self.post("/test/forget", "");
    }

    /// How long what people get by signing in lives from now on, in seconds: their tokens, and what renews them.
    pub(crate) fn lifetimes(&self, access: u32, refresh: u32) {
        self.post(&format!("/test/lifetimes?access={access}&refresh={refresh}"), "");
    }

    /// Has it tell, at this address, which shows this certificate, that somebody has logged out of the session `sid` there. Gives
    /// "told", or why it was not taken.
    pub(crate) fn logs_out(&self, person: &str, sid: &str, at: &str, certificate: &str) -> String {
        self.post(&format!("/test/logout?person={person}&sid={sid}&at={at}"), certificate)
    }

    /// A token with these claims and no others, signed with the key that signs now. `typ` empty: its header has none.
    pub(crate) fn signs(&self, typ: &str, claims: &serde_json::Value) -> String {
        self.post(&format!("/test/sign?typ={}", typ.replace('+', "%2B")), &claims.to_string())
    }

    /// Ends its process.
    pub(crate) fn stop_answering(&self) {
        kill_process(self.leash.pid(), Signal::KILL).unwrap();
    }

    fn mint(&self, client: &str, audience: &str, lifetime: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_secret=only-for-tests\
             &resource={audience}&lifetime={lifetime}"
        );
        let body = self.post("/token", &form);
        let answer: serde_json::Value = serde_json::from_str(&body)
            .unwrap_or_else(|error| panic!("the issuer's answer is no JSON ({error}): {body}"));
        answer["access_token"].as_str().unwrap_or_else(|| panic!("the issuer gave no token: {body}")).to_owned()
    }

    /// One POST over HTTP/1.0, which closes after the answer and never chunks it.
    fn post(&self, path: &str, form: &str) -> String {
        let host = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let length = form.len();
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\n{form}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.split(' ').nth(1).is_some_and(|code| code.starts_with('2')), "the issuer said:\n{answer}");
        body.to_owned()
    }
}

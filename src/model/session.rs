//! A session: one authenticated client connection, its two ends, and why it ended.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{NodeName, Principal, SessionId, Sha256, Timestamp};

/// The client's end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where the client is.
    pub address: SocketAddr,
    /// Where the connection came from, if that was a load balancer that is trusted to say where the client is.
    #[serde(default)]
    pub balancer: Option<SocketAddr>,
    /// `TLSv1.3`, `TLSv1.2`; absent on a plain connection.
    pub tls_version: Option<String>,
    /// `application_name` as the client gave it.
    pub application: Option<String>,
    /// The certificate that the client showed, if one was asked for and an authority of the listener's vouched for it.
    #[serde(default)]
    pub client_certificate: Option<ClientCertificate>,
}

/// What a client's certificate said: a second factor. Who acts is what the token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// Whose it is, in the form of RFC 4514: `CN=ana,O=Contoso`.
    pub subject: String,
    /// The common name in that, if there is exactly one.
    pub common_name: Option<String>,
    /// SHA-256 of its DER.
    pub sha256: Sha256,
    /// Its mail addresses, as it has them (`rfc822Name`).
    pub emails: Vec<String>,
    /// Its host names.
    pub dns_names: Vec<String>,
    /// Its URIs.
    pub uris: Vec<String>,
}

/// What a connection for replication replicates (PostgreSQL's startup parameter `replication`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// The changes of the database that it is for, decoded; it takes SQL too.
    Database,
    /// The log of the whole server, and its files.
    Server,
}

/// How far an intent had come when its statement was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// To stable storage: a crash of the machine cannot lose it.
    #[default]
    Flushed,
    /// To the journal's file and not yet to stable storage: a crash of the recorder cannot lose it, one of the machine can.
    Written,
}

impl Recorded {
    /// The word in columns and config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flushed => "flushed",
            Self::Written => "written",
        }
    }
}

/// A session as it was opened. Everything a record needs to know beside the statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The recorder that holds it.
    pub node: NodeName,
    /// When the upstream login was about to begin.
    pub opened: Timestamp,
    /// Who.
    pub principal: Principal,
    /// Where from.
    pub peer: Peer,
    /// The target's name in config.
    pub target: String,
    /// The wire protocol: `postgresql`.
    pub protocol: String,
    /// The database the client asked for.
    pub database: String,
    /// Who the session is at the database: the user of the target's own credentials.
    pub database_user: String,
    /// The rules that let it connect.
    pub rules: Vec<String>,
    /// The version of the rules in force.
    pub policy_version: String,
    /// How far the intents of its statements come before they are released; a journal from before there was a choice says
    /// nothing, and flushed.
    #[serde(default)]
    pub recorded: Recorded,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The client said goodbye.
    ClientTerminated,
    /// The client's connection ended without a goodbye.
    ClientGone,
    /// The database closed the connection.
    UpstreamGone,
    /// The database could not be reached or refused the login.
    UpstreamRefused,
    /// A peer broke the wire protocol.
    ProtocolViolation,
    /// The token ended.
    TokenExpired,
    /// The session was as old as the target lets one become.
    MaxAge,
    /// An operator ended it.
    Killed,
    /// The issuer of its token said that the access ended: a logout, a revocation, a change of who somebody is.
    Revoked,
    /// Nothing was asked for longer than the target lets a session be idle.
    IdleTimeout,
    /// The same in a transaction.
    IdleInTransactionTimeout,
    /// The client took nothing of what was held for it for longer than the target lets it.
    ClientNotReading,
    /// The journal could not record.
    RecordingImpossible,
    /// The recorder stopped.
    Shutdown,
    /// The recorder died; seen at the next start.
    RecorderDied,
}

impl CloseReason {
    /// The word in columns and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientTerminated => "client_terminated",
            Self::ClientGone => "client_gone",
            Self::UpstreamGone => "upstream_gone",
            Self::UpstreamRefused => "upstream_refused",
            Self::ProtocolViolation => "protocol_violation",
            Self::TokenExpired => "token_expired",
            Self::MaxAge => "max_age",
            Self::Killed => "killed",
            Self::Revoked => "revoked",
            Self::IdleTimeout => "idle_timeout",
            Self::IdleInTransactionTimeout => "idle_in_transaction_timeout",
            Self::ClientNotReading => "client_not_reading",
            Self::RecordingImpossible => "recording_impossible",
            Self::Shutdown => "shutdown",
            Self::RecorderDied => "recorder_died",
        }
    }
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionClosed {
    /// Which.
    pub session: SessionId,
    /// When.
    pub closed: Timestamp,
    /// Why.
    pub reason: CloseReason,
    /// One sentence more, for people; never a secret, never SQL.
    pub detail: Option<String>,
    /// How many statements it had.
    pub statements: u64,
    /// Bytes from the client, after the handshake.
    pub bytes_in: u64,
    /// Bytes to the client, after the handshake.
    pub bytes_out: u64,
    /// `server_version` as the database reported it.
    pub server_version: Option<String>,
}

/// A client that was not let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRefused {
    /// The name the session would have had; it is in the error text.
    pub session: SessionId,
    /// The recorder.
    pub node: NodeName,
    /// When.
    pub time: Timestamp,
    /// Where from.
    pub peer: Peer,
    /// Who, if the token was good and the rules said no.
    pub principal: Option<Principal>,
    /// The target's name in config.
    pub target: String,
    /// The wire protocol: `postgresql`.
    pub protocol: String,
    /// The database the client asked for.
    pub database: Option<String>,
    /// Who the session would have been at the database.
    pub database_user: Option<String>,
    /// The SQLSTATE that the client got.
    pub sqlstate: String,
    /// The cause, as a word: `expired`, `bad_signature`, `denied`.
    pub cause: String,
    /// The rules that denied, if rules did.
    pub rules: Vec<String>,
    /// The version of the rules, if they were asked.
    pub policy_version: Option<String>,
}

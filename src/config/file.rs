//! The shape of the file: its sections, keys and types, and what each is for.
//!
//! This page is the reference: the reader accepts these keys, and `schemas/config.v1.json` repeats these sentences.
//! Defaults stand in [`super::checks`]; a test holds the ones written here to them.

use std::path::PathBuf;

use super::cluster::ClusterSection;
use super::issuers::{IdentitySection, IssuerSection};
use super::limits::Connections;
use super::logins::LoginSection;
use super::reading::{Field, Findings, FromToml, Keys, Located, Named, Node, OneOrMany, choice, section};
use super::sign_in::{OAuthBearerSection, OperatorsSection, SignInSection};
use super::units::{Age, Percent, Size};
use super::values::{Address, Network, NodeSetting, SecretSection, Server, TargetChoice, Upstream, Version};

section! {
    /// The configuration of hansard.
    File {
        /// The format of this file. A newer one than the program knows is an error.
        version: Option<Located<Version>>,
        /// The recorder's name in every record and segment: 1 to 63 of a-z A-Z 0-9 - _ . and no dot in front. Default:
        /// the machine's hostname.
        node: Option<Located<NodeSetting>>,
        /// Who may vouch for people and workloads; any number, told apart by the `iss` of a token.
        issuer: Located<Named<IssuerSection>>,
        /// What the claims of an issuer's tokens mean; bears the issuer's name.
        identity: Option<Located<Named<IdentitySection>>>,
        /// Where clients connect. Default: one listener on loopback for the only target.
        listener: Option<Located<Named<ListenerSection>>>,
        /// The databases behind.
        target: Located<Named<TargetSection>>,
        /// What is permitted.
        policy: Located<PolicySection>,
        /// The durable local log that every statement passes before the database sees it.
        journal: Option<Located<JournalSection>>,
        /// Where the archive is.
        storage: Located<StorageSection>,
        /// How the archive is made so that others can check it.
        evidence: Option<Located<EvidenceSection>>,
        /// Other recorders in front of the same databases. Default: none.
        cluster: Option<Located<ClusterSection>>,
        /// Where people's tools learn how to sign in. Default: nowhere.
        sign_in: Option<Located<SignInSection>>,
        /// Who may look at open sessions, end them and block people. Default: nobody.
        operators: Option<Located<OperatorsSection>>,
        /// What the program takes on at most.
        limits: Option<Located<LimitsSection>>,
        /// How serving ends when a stop is asked for.
        drain: Option<Located<DrainSection>>,
        /// What the program says about itself.
        telemetry: Option<Located<TelemetrySection>>,
    }
}

section! {
    /// A place where clients connect.
    #[derive(Default)]
    ListenerSection {
        /// Address and port.
        #[schemars(extend("default" = "127.0.0.1:6432"))]
        address: Option<Located<Address>>,
        /// Host and port by which people reach it, for `[sign_in]` to tell them. Default: the host that they asked there, and the
        /// port of `address`.
        public: Option<Located<Upstream>>,
        /// The targets that clients of this listener reach. Of several, the database that a client asks for chooses: a
        /// target has its own name and those in its `databases`. Or the host name does, for a target that is given as
        /// { name = "…", sni = "…" }. The only one without `sni` takes every database. Default: the only target.
        targets: Option<Located<OneOrMany<TargetChoice>>>,
        /// Certificate and key shown to clients. Default: a self-signed certificate, made at the first start.
        tls: Option<Located<ListenerTlsSection>>,
        /// Whether a client may connect without TLS. "loopback" allows it where both the listener and the target are on
        /// loopback; the token is readable on the way.
        #[schemars(extend("default" = "refuse"))]
        plain: Option<Located<Plain>>,
        /// Load balancers in front, which say by the PROXY protocol (version 2) where a client is. Default: there are none,
        /// and a client is where its connection came from.
        proxy_protocol: Option<Located<ProxyProtocolSection>>,
        /// Clients bring their tokens by SASL OAUTHBEARER (RFC 7628), as libpq 18 does, which signs people in by itself; {} is enough
        /// where there is one issuer. Others cannot come in here: give them a listener of their own. Default: the token is the
        /// password, as every client can send it.
        oauth_bearer: Option<Located<OAuthBearerSection>>,
    }
}

section! {
    /// Load balancers that say where a client is.
    ProxyProtocolSection {
        /// Their addresses or networks, such as "10.0.4.0/24". A connection from there must begin with the header; what comes
        /// from elsewhere must not. Everything that connects from there can claim to be any client, so name no more than the
        /// balancers; other nodes of the cluster need a listener of their own if they are among them.
        from: Located<OneOrMany<Network>>,
    }
}

section! {
    /// The certificate of a listener. Its files are read anew when they change.
    ListenerTlsSection {
        /// PEM file with the certificate and those between it and the authority.
        cert: Located<PathBuf>,
        /// The private key in PEM, by reference.
        key: Located<SecretSection>,
        /// PEM file of the authorities that vouch for certificates of clients, as a second factor beside the token. Default:
        /// clients are asked for none.
        client_ca_file: Option<Located<PathBuf>>,
        /// With `client_ca_file`, whether a client must show a certificate. One that those authorities do not vouch for is
        /// refused either way. Default: "required".
        client_certificates: Option<Located<ClientCertificates>>,
    }
}

choice! {
    /// Whether a client must show a certificate.
    pub ClientCertificates {
        /// Without one, nobody is let in.
        Required = "required",
        /// Rules may look at it (`context has client_certificate`).
        Optional = "optional",
    }
}

choice! {
    /// Whether clients may connect without TLS.
    pub Plain {
        /// Never.
        Refuse = "refuse",
        /// On a loopback listener in front of a loopback target.
        Loopback = "loopback",
    }
}

section! {
    /// A database server behind us.
    TargetSection {
        /// What it speaks.
        engine: Located<Engine>,
        /// Its host and port, or the folder of its Unix socket and its port, as "/run/postgresql:5432"; or a list of at
        /// most 16 of these, which are tried in their order for each session.
        upstream: Located<OneOrMany<Server>>,
        /// Which of them a session goes to, as libpq's setting of that name.
        #[schemars(extend("default" = "any"))]
        target_session_attrs: Option<Located<SessionAttrs>>,
        /// How the way to it is protected. Default: verified against the system's authorities.
        tls: Option<Located<UpstreamTlsSection>>,
        /// How we sign in there; or a list of at most 64 such logins, of which each session gets the first that is its
        /// person's, or the one whose user the client asks for, if that is theirs too.
        login: Located<OneOrMany<LoginSection>>,
        /// Other names for databases: what the client asks for, and what it gets. Names not listed pass as they are.
        databases: Option<Located<Named<String>>>,
        /// Rules for sessions.
        session: Option<Located<SessionSection>>,
        /// How far a statement's record comes before the statement is sent.
        #[schemars(extend("default" = "flushed"))]
        recorded: Option<Located<Recorded>>,
        /// The longest message from a client; at most 1GiB.
        #[schemars(extend("default" = "256MiB"))]
        max_message: Option<Located<Size>>,
    }
}

choice! {
    /// Which of several database servers a session goes to.
    pub SessionAttrs {
        /// The first that takes it.
        Any = "any",
        /// The first whose sessions can write.
        ReadWrite = "read-write",
        /// The first whose sessions cannot write.
        ReadOnly = "read-only",
        /// The first that is no standby.
        Primary = "primary",
        /// The first that is a standby.
        Standby = "standby",
        /// The first that is a standby; if none takes it, the first that takes it.
        PreferStandby = "prefer-standby",
    }
}

choice! {
    /// The kind of a database server.
    pub Engine {
        /// PostgreSQL and what speaks its protocol.
        PostgreSql = "postgresql",
    }
}

section! {
    /// Protection of the way to a database server.
    #[derive(Default)]
    UpstreamTlsSection {
        /// "disable" is for a server on loopback.
        #[schemars(extend("default" = "verify-full"))]
        mode: Option<Located<UpstreamTlsMode>>,
        /// PEM file of the authorities that may vouch for the server. Default: the system's.
        ca_file: Option<Located<PathBuf>>,
        /// PEM file of a certificate that we show to the server beside the password, for a server that asks for one
        /// (`clientcert` in pg_hba.conf), with those between it and the authority. Default: none.
        cert: Option<Located<PathBuf>>,
        /// With `cert`, its private key in PEM, by reference.
        key: Option<Located<SecretSection>>,
    }
}

choice! {
    /// How far the server's certificate is checked.
    pub(super) UpstreamTlsMode {
        /// TLS; the authority and the name must fit.
        VerifyFull = "verify-full",
        /// No TLS.
        Disable = "disable",
    }
}

section! {
    /// Rules for sessions of a target.
    #[derive(Default)]
    SessionSection {
        /// What happens when the token ends before the session does.
        #[schemars(extend("default" = "finish-transaction-then-close"))]
        on_token_expiry: Option<Located<OnTokenExpiry>>,
        /// Which sessions are opened read-only at the database, as a second wall behind the rules. Not for a pooler between
        /// that takes no startup parameter `default_transaction_read_only`.
        #[schemars(extend("default" = "by-rules"))]
        read_only: Option<Located<ReadOnly>>,
        /// What the database's own log and lists call a session (application_name) until its client sets another name.
        #[schemars(extend("default" = "keep"))]
        application_name: Option<Located<ApplicationName>>,
        /// How long a session may be open of which nothing is asked, outside of a transaction; 1s to 30d. Default: for ever.
        idle: Option<Located<Age>>,
        /// The same in a transaction, which is rolled back; 1s to 30d. Default: for ever.
        idle_in_transaction: Option<Located<Age>>,
        /// How long a statement may run before it is cancelled; the session lives on. 1s to 30d. Default: for ever.
        statement: Option<Located<Age>>,
        /// How long a client may take nothing of what is held for it; 1s to 30d.
        #[schemars(extend("default" = "1h"))]
        unread: Option<Located<Age>>,
        /// How old a session may become, whatever its token says; 1s to 30d. Then it ends as at the end of its token, and with
        /// on_token_expiry = "keep" when no transaction is open. Default: for ever.
        max_age: Option<Located<Age>>,
    }
}

choice! {
    /// How far a statement's record comes before the statement is sent.
    pub Recorded {
        /// To stable storage.
        Flushed = "flushed",
        /// To the journal's file: a crash of the machine can lose the last milliseconds of the record.
        Written = "written",
    }
}

choice! {
    /// What happens when the token ends before the session does.
    pub OnTokenExpiry {
        /// The open transaction may end, then the session is closed.
        FinishTransactionThenClose = "finish-transaction-then-close",
        /// The session is closed at once.
        Close = "close",
        /// The session lives on.
        Keep = "keep",
    }
}

choice! {
    /// Which sessions are opened read-only at the database.
    pub ReadOnly {
        /// Those of people whom the rules could never permit a write, a call or a definition there.
        ByRules = "by-rules",
        /// None.
        Never = "never",
    }
}

choice! {
    /// What the database calls a session.
    pub ApplicationName {
        /// What its client calls itself.
        Keep = "keep",
        /// The same with the session's reference behind it, "psql K7Q4M2XKDT", within the 63 bytes that the server keeps.
        Session = "session",
    }
}

section! {
    /// What is permitted.
    PolicySection {
        /// Files of Cedar rules, or folders whose *.cedar files are read.
        path: Located<OneOrMany<PathBuf>>,
    }
}

section! {
    /// The durable local log.
    #[derive(Default)]
    JournalSection {
        /// Its folder; nobody else may write there.
        #[schemars(extend("default" = "/var/lib/hansard/journal"))]
        path: Option<Located<PathBuf>>,
        /// The room it may take on disk. When it is full, statements are refused.
        #[schemars(extend("default" = "10GiB"))]
        max: Option<Located<Size>>,
        /// The share of that room from which on new sessions are refused.
        #[schemars(extend("default" = "80%"))]
        refuse_new_sessions_at: Option<Located<Percent>>,
    }
}

section! {
    /// Where the archive is.
    StorageSection {
        /// file:///folder, or az://container/prefix for Azure Blob storage.
        url: Located<String>,
        /// Azure: the storage account.
        account: Option<Located<String>>,
        /// Azure: how we prove who we are.
        auth: Option<Located<StorageAuth>>,
        /// Azure, auth = "key": the account key, by reference.
        key: Option<Located<SecretSection>>,
        /// Azure, auth = "sas": the shared access signature, by reference.
        sas: Option<Located<SecretSection>>,
        /// Azure, auth = "managed_identity" or "workload_identity": which identity. Default: the machine's own.
        client_id: Option<Located<String>>,
        /// Azure: the service's URL, for sovereign clouds and the emulator. https, except on loopback.
        endpoint: Option<Located<String>>,
        /// When a segment is closed and shipped.
        segment: Option<Located<SegmentSection>>,
    }
}

choice! {
    /// How we prove to Azure who we are.
    pub(super) StorageAuth {
        /// The account's key.
        Key = "key",
        /// A shared access signature.
        Sas = "sas",
        /// The identity of the machine.
        ManagedIdentity = "managed_identity",
        /// The identity that Kubernetes federates.
        WorkloadIdentity = "workload_identity",
    }
}

section! {
    /// When a segment is closed and shipped: whichever comes first.
    #[derive(Default)]
    SegmentSection {
        /// The age of its first entry.
        #[schemars(extend("default" = "60s"))]
        max_age: Option<Located<Age>>,
        /// The bytes of its entries.
        #[schemars(extend("default" = "64MiB"))]
        max_size: Option<Located<Size>>,
    }
}

section! {
    /// How the archive is made so that others can check it.
    #[derive(Default)]
    EvidenceSection {
        /// The folder of the signing keys; made at the first start, with a key. Default: `keys` in the journal's folder.
        keys: Option<Located<PathBuf>>,
        /// While the recorder runs, it says so this often, so that silence means something; 1s to 1h.
        #[schemars(extend("default" = "5m"))]
        heartbeat: Option<Located<Age>>,
        /// An authority that vouches for the time of checkpoints. Default: none.
        timestamps: Option<Located<TimestampsSection>>,
        /// Another place, best in other hands, that each new checkpoint is copied to, and each stamp; while it is away,
        /// the newest waits. Default: none.
        copy: Option<Located<CopySection>>,
    }
}

section! {
    /// A place that checkpoints are copied to. The keys mean what they mean in [storage].
    CopySection {
        /// file:///folder, or az://container/prefix for Azure Blob storage.
        url: Located<String>,
        /// Azure: the storage account.
        account: Option<Located<String>>,
        /// Azure: how we prove who we are.
        auth: Option<Located<StorageAuth>>,
        /// Azure, auth = "key": the account key, by reference.
        key: Option<Located<SecretSection>>,
        /// Azure, auth = "sas": the shared access signature, by reference.
        sas: Option<Located<SecretSection>>,
        /// Azure, auth = "managed_identity" or "workload_identity": which identity. Default: the machine's own.
        client_id: Option<Located<String>>,
        /// Azure: the service's URL, for sovereign clouds and the emulator. https, except on loopback.
        endpoint: Option<Located<String>>,
    }
}

section! {
    /// A timestamp authority (RFC 3161).
    TimestampsSection {
        /// Where it answers; http or https.
        url: Located<String>,
        /// PEM file of the authorities whose timestamps are taken.
        authorities: Located<PathBuf>,
        /// How often the newest checkpoint is stamped; 1s to 1d.
        #[schemars(extend("default" = "1h"))]
        every: Option<Located<Age>>,
    }
}

section! {
    /// What the program takes on at most.
    #[derive(Default)]
    LimitsSection {
        /// Connections of clients at a time, over all listeners; 1 to 100000. Each needs two open files, for which the system's
        /// limit is raised; if that does not suffice, fewer are taken and the log says so. Whoever comes then reads 53300.
        #[schemars(extend("default" = 2000))]
        connections: Option<Located<Connections>>,
        /// Sessions of one person or workload at a time, over all targets; 1 to 100000. Whoever has as many reads 53300. Default: as
        /// many as there are connections.
        sessions_per_identity: Option<Located<Connections>>,
        /// How long a client may take to its startup packet, and then to its token; 5s to 10m. Who fails to sign in again and again
        /// waits for each answer, up to 8s.
        #[schemars(extend("default" = "60s"))]
        sign_in: Option<Located<Age>>,
        /// The memory for messages that do not come in one read, of all sessions together; at least 1MiB. A message waits 10s for
        /// it and is then refused with 53200, and at once if it would never fit.
        #[schemars(extend("default" = "1GiB"))]
        memory: Option<Located<Size>>,
    }
}

section! {
    /// How serving ends when a stop is asked for.
    #[derive(Default)]
    DrainSection {
        /// How long open transactions may go on then; at most 1h. Idle sessions end at once. What is open after it is broken
        /// off.
        #[schemars(extend("default" = "10s"))]
        limit: Option<Located<Age>>,
    }
}

section! {
    /// What the program says about itself.
    #[derive(Default)]
    TelemetrySection {
        /// The log on standard error; never SQL, values or tokens.
        log: Option<Located<LogSection>>,
        /// Counters and health over plain HTTP: /metrics for Prometheus, /livez and /readyz for whoever starts and stops
        /// us. Never SQL, values, tokens or names of people. Default: none.
        metrics: Option<Located<MetricsSection>>,
    }
}

section! {
    /// Counters and health.
    MetricsSection {
        /// Address and port; for the network that operators are in, as nobody is asked who they are.
        address: Located<Address>,
    }
}

section! {
    /// The log on standard error.
    #[derive(Default)]
    LogSection {
        /// Default: text on a terminal, json otherwise.
        format: Option<Located<LogFormat>>,
        /// The least important thing that is said. The environment variable HANSARD_LOG goes before it.
        #[schemars(extend("default" = "info"))]
        level: Option<Located<LogLevel>>,
    }
}

choice! {
    /// The form of the log.
    pub LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// The least important thing that is logged.
    pub LogLevel {
        /// What needs somebody now.
        Error = "error",
        /// What may need somebody.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// How it happens.
        Debug = "debug",
        /// Everything but content.
        Trace = "trace",
    }
}

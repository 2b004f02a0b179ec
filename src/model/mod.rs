//! The words. Plain values that every part speaks in: no I/O, no clock, no randomness.
//!
//! One meaning each, in code, columns, messages and papers:
//!
//! * **principal** who acts, exactly as the verified token said · **issuer** who vouched
//! * **target** a named database server behind us · **upstream** the connection to it
//! * **session** one authenticated client connection
//! * **statement** one unit the client asked to execute: one `Query` message or one `Execute`
//! * **facts** what was understood of a statement · **effect** one action on one object
//! * **rule** one policy · **decision** allow or deny, by which rules
//! * **intent** the entry before forwarding · **outcome** the entry after · **record** both joined
//! * **reference** `K7Q4M2XKDT.42`: session and statement number

mod acting;
mod catalog;
mod decision;
mod entry;
mod facts;
mod id;
mod principal;
mod record;
mod session;
mod shared;
mod statement;
mod time;

pub use acting::{Acting, RoleChange};
pub use catalog::{Catalog, Relation, Routine};
pub use decision::{Decision, RuleId, Verdict};
pub use entry::{
    Entry, EventDetails, LogState, Numbered, RecorderEvent, RecorderEventKind, SegmentCut, SegmentShipped,
};
pub use facts::{Action, Effect, Facts, Handle, Kind, Object, ObjectKind, RoutineTraits, Touch};
pub use id::{Asked, EntrySeq, Ids, NoDigest, NodeName, Reference, SegmentNo, SessionId, Sha256, UnreadableId};
pub use principal::{AtIssuer, Credential, Holder, Principal, PrincipalKind, TokenFacts};
pub use record::{Intent, Outcome, OutcomeStatus, Prepared, Record};
pub use session::{ClientCertificate, CloseReason, LoginRefused, Peer, Recorded, Replication, Session, SessionClosed};
pub use statement::{HandleName, Param, ParamFormat, Request, SqlText, Statement};
pub use time::{Clock, Timestamp};

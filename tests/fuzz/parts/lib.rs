//! The parts of Hansard that read what others wrote: the package's own files under the package's own name, without the
//! engines that read nothing of the kind and take most of the time to build. That the parts stand without the rest is
//! what `tests/architecture.rs` promises.

#[path = "../../../src/journal/mod.rs"]
pub mod journal;
#[path = "../../../src/model/mod.rs"]
pub mod model;
#[path = "../../../src/policy/mod.rs"]
pub mod policy;
#[path = "../../../src/seal/mod.rs"]
pub mod seal;
#[path = "../../../src/sql/mod.rs"]
pub mod sql;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;

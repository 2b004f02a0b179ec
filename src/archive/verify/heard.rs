//! What notes say of a log: hand-overs, checkpoints here and elsewhere, timestamps.

use std::collections::BTreeMap;

use futures::stream;
use futures::{StreamExt, TryStreamExt};

use super::super::error::ArchiveError;
use super::Request;
use super::findings::{Class, NodeCoverage, Report, Weight};
use super::inventory::{LogObjects, READS_AT_ONCE};
use super::trust::{Said, Trust};
use crate::model::{NodeName, Sha256, Timestamp};
use crate::seal::checkpoint::origin;
use crate::seal::log::LogObject;
use crate::seal::note::Note;
use crate::seal::timestamp::{self, TimestampError};
use crate::seal::transition::{NoTransition, Transition};
use crate::store::{Store, StoreError};

/// The hand-overs that both keys signed.
pub(super) async fn transitions(
    store: &Store,
    node: &NodeName,
    objects: &LogObjects,
    report: &mut Report,
) -> Result<BTreeMap<String, Transition>, ArchiveError> {
    let mut transitions = BTreeMap::new();
    for (size, old, new) in &objects.key_changes {
        let name = LogObject::KeyChange(*size, *old, *new).name(node);
        let bytes = match store.get(&name).await {
            Err(StoreError::Missing { .. }) => continue,
            read => read?,
        };
        let read = Note::read(&bytes).map_err(NoTransition::from).and_then(|note| Transition::read(&note));
        match read {
            Ok(read) if (read.size, read.old.id(), read.new.id()) == (*size, *old, *new) => {
                transitions.insert(name, read);
            }
            Ok(_) => {
                let detail = "it is another hand-over than its name says".to_owned();
                report.find_of(Class::Altered, Weight::Contradiction, &name, (node, None), detail);
            }
            Err(problem) => {
                report.find_of(Class::Altered, Weight::Contradiction, &name, (node, None), problem.to_string());
            }
        }
    }
    Ok(transitions)
}

/// What the checkpoints of the archive, and those that were kept elsewhere, say of the log, if they are trusted.
pub(super) async fn said(
    store: &Store,
    request: &Request,
    node: &NodeName,
    objects: &LogObjects,
    trust: &Trust,
    report: &mut Report,
) -> Result<BTreeMap<u64, Vec<(String, Said)>>, ArchiveError> {
    let names = objects.checkpoints.iter().map(|(size, key)| (*size, LogObject::Checkpoint(*size, *key).name(node)));
    let notes: Vec<(u64, String, Option<Vec<u8>>)> = stream::iter(names)
        .map(|(size, name)| async move {
            match store.get(&name).await {
                Ok(bytes) => Ok((size, name, Some(bytes.to_vec()))),
                Err(StoreError::Missing { .. }) => Ok((size, name, None)),
                Err(error) => Err(ArchiveError::from(error)),
            }
        })
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await?;
    let mut said: BTreeMap<u64, Vec<(String, Said)>> = BTreeMap::new();
    for (size, name, bytes) in notes {
        let Some(bytes) = bytes else { continue };
        match trust.hear(&bytes) {
            Ok(heard) if heard.size == size => said.entry(size).or_default().push((name, heard)),
            Ok(heard) => {
                let detail = format!("it is the checkpoint of size {}", heard.size);
                report.find_in(Class::Altered, &name, (node, size), detail);
            }
            Err(problem) => report.find_in(problem.class(), &name, (node, size), problem.to_string()),
        }
    }
    for kept in request.kept.iter().filter(|kept| kept.origin.as_deref() == Some(&*origin(node))) {
        match trust.hear(&kept.bytes) {
            Ok(heard) => said.entry(heard.size).or_default().push((kept.name.clone(), heard)),
            Err(problem) => report.find(problem.class(), &kept.name, problem.to_string()),
        }
    }
    Ok(said)
}

/// Holds the stamps against the authorities that are trusted.
pub(super) async fn stamps(
    store: &Store,
    request: &Request,
    node: &NodeName,
    objects: &LogObjects,
    (coverage, report): (&mut NodeCoverage, &mut Report),
) -> Result<BTreeMap<u64, Timestamp>, ArchiveError> {
    let mut stamped: BTreeMap<u64, Timestamp> = BTreeMap::new();
    for (size, key) in &objects.stamps {
        let Some(authorities) = &request.authorities else {
            coverage.stamps_unchecked += 1;
            continue;
        };
        let (name, of) = (LogObject::Stamp(*size, *key).name(node), LogObject::Checkpoint(*size, *key).name(node));
        let (stamp, note) = match (store.get(&name).await, store.get(&of).await) {
            (Err(StoreError::Missing { .. }), _) => continue,
            (Ok(_), Err(StoreError::Missing { .. })) => {
                let detail = format!("{of}, which was stamped, is not here");
                report.find_in(Class::Missing, &of, (node, *size), detail);
                continue;
            }
            (stamp, note) => (stamp?, note?),
        };
        match timestamp::verify(&stamp, Sha256::of(&note), None, authorities) {
            Ok(stamp) => {
                coverage.stamps += 1;
                stamped.entry(*size).and_modify(|seen| *seen = stamp.time.min(*seen)).or_insert(stamp.time);
                let time = stamp.time.to_string();
                if coverage.stamped.as_ref().is_none_or(|latest| *latest < time) {
                    coverage.stamped = Some(time);
                }
            }
            Err(problem) => {
                let untrusted = matches!(problem, TimestampError::Untrusted { .. });
                let class = if untrusted { Class::UntrustedKey } else { Class::Altered };
                report.find_in(class, &name, (node, *size), problem.to_string());
            }
        }
    }
    Ok(stamped)
}

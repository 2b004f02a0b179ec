//! Which files the archive holds, held against what its manifests promise.
//!
//! Manifests are listed before the files: a manifest is stored after the files it names, so every file that a listed
//! manifest names must be there.

use std::collections::{BTreeMap, HashSet};

use chrono::{Days as Span, NaiveDate};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Mutex, OnceCell};

use super::days::{self, Wanted};
use super::error::ArchiveError;
use crate::model::{NodeName, SegmentNo};
use crate::seal::log::LogObject;
use crate::segment::{Dataset, Manifest};
use crate::store::{Listed, Store};

/// Small objects that are read at the same time: enough to hide the way to an object store, few enough for its limits.
const READS_AT_ONCE: usize = 32;
/// A clock that was centuries off makes a range of days that is not worth walking through.
const MOST_DAYS: u64 = 100_000;

/// One Parquet file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) day: NaiveDate,
    pub(super) node: String,
    pub(super) segment: u64,
    /// Whether its segment has a manifest.
    pub(super) sealed: bool,
}

/// The segments of each recorder that have a manifest.
type Sealed = BTreeMap<String, Vec<u64>>;

/// What the archive held at one moment; the moment is the first use.
#[derive(Debug)]
pub(super) struct Catalog {
    store: Store,
    sealed: OnceCell<Sealed>,
    statements: OnceCell<Vec<DataFile>>,
    sessions: OnceCell<Vec<DataFile>>,
    events: OnceCell<Vec<DataFile>>,
    /// What was held against the manifests for all days, so that a question in parts asks once.
    checked: Mutex<HashSet<Dataset>>,
}

impl Catalog {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            sealed: OnceCell::new(),
            statements: OnceCell::new(),
            sessions: OnceCell::new(),
            events: OnceCell::new(),
            checked: Mutex::default(),
        }
    }

    /// The newest day that the dataset has rows of.
    pub(super) async fn newest_day(&self, dataset: Dataset) -> Result<Option<NaiveDate>, ArchiveError> {
        Ok(self.files(dataset).await?.iter().map(|file| file.day).max())
    }

    /// The files of the wanted days, all of which are there.
    pub(super) async fn choose(&self, dataset: Dataset, wanted: &Wanted) -> Result<Vec<DataFile>, ArchiveError> {
        let files = self.files(dataset).await?;
        let days: Vec<NaiveDate> = files.iter().map(|file| file.day).collect();
        self.check(dataset, wanted, files).await?;
        let wanted = wanted.of(&days);
        Ok(files.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(file, _)| file.clone()).collect())
    }

    async fn sealed(&self) -> Result<&Sealed, ArchiveError> {
        self.sealed
            .get_or_try_init(|| async {
                let mut sealed = Sealed::new();
                for object in self.store.list("log").await? {
                    if let Some((node, number)) = manifest_name(&object.name) {
                        sealed.entry(node).or_default().push(number);
                    }
                }
                sealed.values_mut().for_each(|numbers| numbers.sort_unstable());
                Ok(sealed)
            })
            .await
    }

    async fn files(&self, dataset: Dataset) -> Result<&[DataFile], ArchiveError> {
        let cell = match dataset {
            Dataset::Statements => &self.statements,
            Dataset::Sessions => &self.sessions,
            Dataset::Events => &self.events,
        };
        let sealed = self.sealed().await?;
        let files = cell.get_or_try_init(|| async {
            let listed = self.store.list(dataset.name()).await?;
            let parquet = listed.into_iter().filter(|object| object.name.ends_with(".parquet"));
            let mut files = parquet.map(|object| data_file(dataset, object)).collect::<Result<Vec<_>, _>>()?;
            for file in &mut files {
                let numbers = sealed.get(&file.node);
                file.sealed = numbers.is_some_and(|numbers| numbers.binary_search(&file.segment).is_ok());
            }
            Ok::<_, ArchiveError>(files)
        });
        files.await.map(Vec::as_slice)
    }

    /// Holds the wanted part of the listing against the manifests.
    async fn check(&self, dataset: Dataset, wanted: &Wanted, listed: &[DataFile]) -> Result<(), ArchiveError> {
        let mut checked = self.checked.lock().await;
        if checked.contains(&dataset) {
            return Ok(());
        }
        let first = match self.first_wanted(wanted, listed).await? {
            First::Always => None,
            First::Day(day) => Some(day),
            First::Never => return Ok(()),
        };
        let mut asked = BTreeMap::new();
        let there: BTreeMap<&str, u64> = listed.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
        for (node, numbers) in self.sealed().await? {
            let since = match first {
                Some(day) => self.first_cut_since(node, numbers, day).await?,
                None => 0,
            };
            // The one before the first that matters may be followed by a gap that matters.
            whole(node, numbers.get(since.saturating_sub(1)..).unwrap_or(&[]))?;
            // By value: a stream over references cannot be sent between threads.
            let numbers = numbers.get(since..).unwrap_or(&[]).to_vec();
            let manifests =
                stream::iter(numbers).map(|number| self.manifest(node, number)).buffer_unordered(READS_AT_ONCE);
            let keeps = manifests.try_for_each(|manifest| {
                let wants = |day| *asked.entry(day).or_insert_with(|| wanted.has(day));
                let kept = promise_kept(dataset, wants, &there, &manifest);
                async move { kept }
            });
            keeps.await?;
        }
        if matches!(wanted, Wanted::All) {
            checked.insert(dataset);
        }
        Ok(())
    }

    /// The first day that is wanted, among those that the archive can hold rows of.
    async fn first_wanted(&self, wanted: &Wanted, listed: &[DataFile]) -> Result<First, ArchiveError> {
        if matches!(wanted, Wanted::All) {
            return Ok(First::Always);
        }
        let ends: Vec<(String, u64)> = self
            .sealed()
            .await?
            .iter()
            .flat_map(|(node, numbers)| numbers.first().into_iter().chain(numbers.last()).map(|no| (node.clone(), *no)))
            .collect();
        let cuts: Vec<NaiveDate> = stream::iter(ends)
            .map(|(node, number)| async move { self.cut_day(&node, number).await })
            .buffer_unordered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let known = || cuts.iter().copied().chain(listed.iter().map(|file| file.day));
        let (Some(first), Some(last)) = (known().min(), known().max()) else { return Ok(First::Never) };
        let span = last.signed_duration_since(first).num_days().unsigned_abs();
        if span > MOST_DAYS {
            return Ok(First::Always);
        }
        let days: Vec<NaiveDate> = (0..=span).filter_map(|days| first.checked_add_days(Span::new(days))).collect();
        let wanted = wanted.of(&days).into_iter().zip(days).find(|(wanted, _)| *wanted);
        Ok(wanted.map_or(First::Never, |(_, day)| First::Day(day)))
    }

    /// Where in `numbers` the segments begin that were cut on `day` or later: those before hold nothing of it.
    async fn first_cut_since(&self, node: &str, numbers: &[u64], day: NaiveDate) -> Result<usize, ArchiveError> {
        let (mut low, mut high) = (0, numbers.len());
        while low < high {
            let middle = low.midpoint(high);
            match numbers.get(middle) {
                Some(number) if self.cut_day(node, *number).await? < day => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    async fn cut_day(&self, node: &str, number: u64) -> Result<NaiveDate, ArchiveError> {
        let manifest = self.manifest(node, number).await?;
        manifest.cut.get(..10).and_then(days::parse).ok_or_else(|| ArchiveError::Damaged {
            name: Manifest::name(&manifest.node, manifest.segment),
            cause: "it does not say when it was cut".to_owned(),
        })
    }

    async fn manifest(&self, node: &str, number: u64) -> Result<Manifest, ArchiveError> {
        let name = manifest_path(node, number)?;
        let bytes = self.store.get(&name).await?;
        let manifest = Manifest::read(&bytes)
            .map_err(|error| ArchiveError::Damaged { name: name.clone(), cause: error.to_string() })?;
        if manifest.node.as_str() == node && manifest.segment == SegmentNo(number) {
            Ok(manifest)
        } else {
            Err(ArchiveError::Damaged { name, cause: "it is the manifest of another segment".to_owned() })
        }
    }
}

enum First {
    Always,
    Day(NaiveDate),
    Never,
}

/// The numbers follow one another.
fn whole(node: &str, numbers: &[u64]) -> Result<(), ArchiveError> {
    for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
        if before + 1 != *after {
            let (name, promised_by) = (manifest_path(node, before + 1)?, manifest_path(node, *after)?);
            return Err(ArchiveError::Missing { name, promised_by });
        }
    }
    Ok(())
}

fn promise_kept(
    dataset: Dataset,
    mut wants: impl FnMut(NaiveDate) -> bool,
    there: &BTreeMap<&str, u64>,
    manifest: &Manifest,
) -> Result<(), ArchiveError> {
    for file in &manifest.files {
        let Some((folder, _)) = file.name.split_once('/') else { continue };
        if folder != dataset.name() {
            continue;
        }
        let promised = data_file(dataset, Listed { name: file.name.clone(), bytes: file.bytes })?;
        if !wants(promised.day) {
            continue;
        }
        match there.get(promised.name.as_str()) {
            Some(found) if *found == promised.bytes => {}
            Some(found) => {
                return Err(ArchiveError::Length { name: promised.name, found: *found, promised: promised.bytes });
            }
            None => {
                let promised_by = Manifest::name(&manifest.node, manifest.segment);
                return Err(ArchiveError::Missing { name: promised.name, promised_by });
            }
        }
    }
    Ok(())
}

/// `statements/date=2026-11-24/node-1-000000000042.parquet`, taken apart.
pub(super) fn data_file(dataset: Dataset, object: Listed) -> Result<DataFile, ArchiveError> {
    let parts = || {
        let rest = object.name.strip_prefix(dataset.name())?.strip_prefix("/date=")?;
        let (day, file) = rest.split_once('/')?;
        let (node, number) = file.strip_suffix(".parquet")?.rsplit_once('-')?;
        Some((days::parse(day)?, NodeName::new(node).ok()?.to_string(), digits(number)?))
    };
    match parts() {
        Some((day, node, segment)) => {
            Ok(DataFile { name: object.name, bytes: object.bytes, day, node, segment, sealed: false })
        }
        None => Err(ArchiveError::Stranger { name: object.name }),
    }
}

/// `log/node-1/manifest-000000000042.json`, taken apart.
fn manifest_name(name: &str) -> Option<(String, u64)> {
    match LogObject::read(name)? {
        (node, LogObject::Manifest(number)) => Some((node.to_string(), number.0)),
        _ => None,
    }
}

fn manifest_path(node: &str, number: u64) -> Result<String, ArchiveError> {
    let node = NodeName::new(node).map_err(|problem| ArchiveError::Unexpected(problem.to_owned()))?;
    Ok(Manifest::name(&node, SegmentNo(number)))
}

fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

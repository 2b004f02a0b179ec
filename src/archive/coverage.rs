//! What an answer is based on: an answer without it could be the answer of a part of the archive.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::error::DataFusionError;
use datafusion::object_store::ObjectStoreExt;
use datafusion::object_store::path::Path;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::catalog::DataFile;
use super::days::TIME;
use super::error::ArchiveError;
use crate::model::Timestamp;
use crate::store::Store;

/// How many of a recorder's last files are looked into for the newest record: a long statement may have put an older one
/// into the last file.
const LAST_FILES: usize = 4;
/// The end of a file that holds its footer nearly always.
const FOOTER_GUESS: u64 = 64 << 10;

/// What an answer is based on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How many files may hold what was asked for, and were considered.
    pub files: u64,
    /// How many bytes they have together. Fewer may have been read.
    pub bytes: u64,
    /// How many of the files no manifest names: a segment that is being stored, or a file that is not part of the log.
    pub unsealed: u64,
    /// The time of the newest record in them.
    pub newest: Option<Timestamp>,
}

/// What one question met while it was answered.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    considered: Mutex<BTreeMap<String, DataFile>>,
    failed: Mutex<Option<ArchiveError>>,
}

impl Ledger {
    pub(super) fn consider(&self, files: &[DataFile]) {
        let mut considered = self.considered.lock().unwrap_or_else(PoisonError::into_inner);
        considered.extend(files.iter().map(|file| (file.name.clone(), file.clone())));
    }

    /// Keeps our error past the engine, which knows only its own.
    pub(super) fn fail(&self, error: ArchiveError) -> DataFusionError {
        let message = error.to_string();
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        DataFusionError::External(message.into())
    }

    pub(super) fn failure(&self) -> Option<ArchiveError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn considered(&self) -> Vec<DataFile> {
        self.considered.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) async fn coverage(&self, store: &Store) -> Result<Coverage, ArchiveError> {
        let files = self.considered();
        let mut coverage = Coverage {
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            unsealed: files.iter().filter(|file| !file.sealed).count() as u64,
            newest: None,
        };
        for file in last_files(&files) {
            coverage.newest = coverage.newest.max(newest_in(store, file).await?);
        }
        Ok(coverage)
    }
}

/// Of each dataset and recorder, the last files of the newest day.
fn last_files(files: &[DataFile]) -> Vec<&DataFile> {
    let mut recorders: BTreeMap<(&str, &str), Vec<&DataFile>> = BTreeMap::new();
    for file in files {
        let folder = file.name.split('/').next().unwrap_or("");
        recorders.entry((folder, &file.node)).or_default().push(file);
    }
    let newest = files.iter().map(|file| file.day).max();
    let mut last = Vec::new();
    for mut files in recorders.into_values() {
        files.retain(|file| Some(file.day) == newest);
        files.sort_by_key(|file| std::cmp::Reverse(file.segment));
        last.extend(files.into_iter().take(LAST_FILES));
    }
    last
}

/// The newest time that the file's footer names.
async fn newest_in(store: &Store, file: &DataFile) -> Result<Option<Timestamp>, ArchiveError> {
    let damaged = |cause: String| ArchiveError::Damaged { name: file.name.clone(), cause };
    let objects = store.object_store();
    let path = Path::from(file.name.as_str());
    let mut length = FOOTER_GUESS.min(file.bytes);
    loop {
        let end = objects.get_range(&path, file.bytes - length..file.bytes).await;
        // The engine's own message may repeat a signed address; the store's does not.
        let end = match end {
            Ok(end) => end,
            Err(_) => store.get(&file.name).await?,
        };
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&end, file.bytes) {
            Ok(()) => {
                let metadata = reader.finish().map_err(|error| damaged(error.to_string()))?;
                return newest(&metadata).map_err(|error| damaged(error.to_string()));
            }
            Err(ParquetError::NeedMoreData(more)) if (more as u64) > length => length = (more as u64).min(file.bytes),
            Err(error) => return Err(damaged(error.to_string())),
        }
    }
}

fn newest(metadata: &ParquetMetaData) -> Result<Option<Timestamp>, ParquetError> {
    let columns = metadata.file_metadata().schema_descr();
    let schema = parquet_to_arrow_schema(columns, None)?;
    let maxima = StatisticsConverter::try_new(TIME, &schema, columns)?.row_group_maxes(metadata.row_groups())?;
    let times = maxima.as_primitive_opt::<TimestampMicrosecondType>();
    Ok(times.and_then(|times| times.iter().flatten().max()).map(Timestamp))
}

//! What a person gives to verify by: keys, moments, checkpoints, authorities.

use std::path::Path;

use chrono::{DateTime, Days, NaiveDate};

use crate::archive::ArchiveError;
use crate::archive::verify::Kept;
use crate::cli::exit::Exit;
use crate::cli::keyring::KeyFolder;
use crate::cli::reading::{self, Stop, Where};
use crate::model::{NodeName, Timestamp};
use crate::seal::log::LogObject;
use crate::seal::note::VerifierKey;
use crate::seal::timestamp::Authorities;

/// A file of keys, a checkpoint or a proof is far smaller.
const MAX_FILE: u64 = 64 << 20;

/// A recorder's name.
pub(super) fn node(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).map_err(str::to_owned)
}

/// The first moment: a day begins at midnight UTC.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    moment(text, 0)
}

/// The moment after the last: a day that is named is included.
pub(super) fn until(text: &str) -> Result<Timestamp, String> {
    moment(text, 1)
}

fn moment(text: &str, days: u64) -> Result<Timestamp, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Timestamp(time.timestamp_micros()));
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.checked_add_days(Days::new(days)));
    let midnight = day.and_then(|day| day.and_hms_opt(0, 0, 0));
    midnight
        .map(|time| Timestamp(time.and_utc().timestamp_micros()))
        .ok_or_else(|| "expected a day (2026-10-31) or a moment (2026-10-31T12:00:00Z)".to_owned())
}

/// What the file holds.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    let failed = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Unexpected };
        Stop::Said(exit, format!("{} cannot be read: {error}", path.display()))
    };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(Stop::Said(Exit::Usage, format!("{} is longer than anything of its kind", path.display())));
    }
    std::fs::read(path).map_err(failed)
}

/// The keys of the files; without any, those of the recorder whose configuration is given.
pub(super) fn keys(files: &[std::path::PathBuf], place: Option<&Where>) -> Result<Vec<VerifierKey>, Stop> {
    let mut keys = Vec::new();
    for file in files {
        let bytes = read(file)?;
        let unfit = |line: usize, problem: &dyn std::fmt::Display| {
            Stop::Said(Exit::Invalid, format!("{}:{line}: {problem}", file.display()))
        };
        let text = String::from_utf8(bytes).map_err(|_| unfit(1, &"the file is not text"))?;
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            keys.push(line.parse().map_err(|problem: crate::seal::note::KeyError| unfit(number, &problem))?);
        }
    }
    if files.is_empty()
        && let Some(config) = place.and_then(Where::config)
    {
        let config = reading::config(config)?;
        let own = KeyFolder::open(&config.evidence.keys, &config.node).and_then(|keys| keys.verifiers());
        return own.map_err(|error| Stop::Said(Exit::Invalid, format!("{error}; or name keys with --trust")));
    }
    if keys.is_empty() {
        let words = "nothing can be proven without a key: --trust FILE, as `hansard keys export` prints it";
        return Err(Stop::Said(Exit::Usage, words.to_owned()));
    }
    Ok(keys)
}

/// The authorities in a PEM file.
pub(super) fn authorities(path: &Path) -> Result<Authorities, Stop> {
    let unfit = |error| Stop::Said(Exit::Invalid, format!("{}: {error}", path.display()));
    Authorities::from_pem(&read(path)?).map_err(unfit)
}

/// The checkpoints in a file, a folder or a container.
pub(super) async fn checkpoints(place: &str) -> Result<Vec<Kept>, Stop> {
    let path = Path::new(place);
    if path.is_file() {
        return Ok(vec![Kept::new(place.to_owned(), read(path)?)]);
    }
    if !place.starts_with("az://") && !place.starts_with("file://") {
        return of_folder(path);
    }
    let store = reading::opened(place)?;
    let mut kept = Vec::new();
    for object in store.list("").await.map_err(ArchiveError::from)? {
        if matches!(LogObject::read(&object.name), Some((_, LogObject::Checkpoint(..)))) {
            let bytes = store.get(&object.name).await.map_err(ArchiveError::from)?;
            kept.push(Kept::new(format!("{place}/{}", object.name), bytes.to_vec()));
        }
    }
    Ok(kept)
}

/// Every note below a folder.
fn of_folder(folder: &Path) -> Result<Vec<Kept>, Stop> {
    let failed = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Unexpected };
        Stop::Said(exit, format!("{} cannot be read: {error}", folder.display()))
    };
    let mut kept = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if name.contains("checkpoint-") && name.ends_with(".note") {
                kept.push(Kept::new(path.display().to_string(), read(&path)?));
            }
        }
    }
    kept.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_is_named_is_included() {
        assert_eq!(since("2026-11-24").unwrap().to_string(), "2026-11-24T00:00:00.000000Z");
        assert_eq!(until("2026-11-24").unwrap().to_string(), "2026-11-25T00:00:00.000000Z");
        assert_eq!(until("2026-11-24T10:00:00+02:00").unwrap().to_string(), "2026-11-24T08:00:00.000000Z");
        for bad in ["", "yesterday", "2026-13-01", "2026-11-24T10:00"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_lines_and_what_is_none_is_named_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("contoso.keys");
        let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        std::fs::write(&path, format!("# ours\n\n{key}\n")).unwrap();
        let read = keys(std::slice::from_ref(&path), None).unwrap();
        assert_eq!(read[0].to_string(), key);
        std::fs::write(&path, format!("{key}\nnothing\n")).unwrap();
        let refused = keys(std::slice::from_ref(&path), None).unwrap_err();
        assert!(
            matches!(&refused, Stop::Said(Exit::Invalid, words) if words.contains("contoso.keys:2: ")),
            "{refused:?}"
        );
        assert!(matches!(keys(&[], None), Err(Stop::Said(Exit::Usage, _))));
        let gone = keys(&[dir.path().join("gone")], None);
        assert!(matches!(gone, Err(Stop::Said(Exit::NotFound, _))));
    }
}

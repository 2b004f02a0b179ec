//! The file that keeps who is barred, so that a restart lets nobody back in.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::private_file::{self, PrivateFileError};
use crate::gateway::Bar;

/// Its name in the journal's folder.
pub(in super::super) const BARRED: &str = "barred.json";
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Barred {
    version: u32,
    bars: Vec<Bar>,
}

/// The file cannot be used; whoever removes it lets those in who were barred.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum BarredError {
    #[error(transparent)]
    File(#[from] PrivateFileError),
    #[error("{path} does not hold what was written there ({reason}); whoever it kept out comes in if it is removed")]
    Damaged { path: String, reason: String },
}

/// Who was barred when the program ran last; nobody if there is no such file.
pub(in super::super) fn read(path: &Path) -> Result<Vec<Bar>, BarredError> {
    let Some(text) = private_file::read(path)? else { return Ok(Vec::new()) };
    let damaged = |reason: String| BarredError::Damaged { path: path.display().to_string(), reason };
    let barred: Barred = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    match barred.version {
        VERSION => Ok(barred.bars),
        other => Err(damaged(format!("it is of version {other}, this program reads {VERSION}"))),
    }
}

pub(super) fn write(path: &Path, bars: &[Bar]) -> Result<(), BarredError> {
    let text = serde_json::to_string(&Barred { version: VERSION, bars: bars.to_vec() });
    let text =
        text.map_err(|error| BarredError::Damaged { path: path.display().to_string(), reason: error.to_string() })?;
    Ok(private_file::write(path, &text)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Holder, Timestamp};

    #[test]
    fn who_is_barred_is_barred_after_a_restart_and_a_damaged_file_is_not_taken_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(BARRED);
        assert_eq!(read(&path).unwrap(), []);
        let holder = |sub: &str| Holder::Account { issuer: "https://i".to_owned(), sub: sub.to_owned() };
        let now = Timestamp::from_seconds(1_000);
        let bars = [
            Bar::taken_back(holder("a"), now, ("main", "by a logout"), now),
            Bar::blocked(holder("b"), ("sam", "CHG-1"), now, Duration::from_secs(60)),
        ];
        write(&path, &bars).unwrap();
        assert_eq!(read(&path).unwrap(), bars);
        for damaged in ["", "{}", "{\"version\":2,\"bars\":[]}", "{\"version\":1,\"bars\":[{}]}"] {
            private_file::write(&path, damaged).unwrap();
            assert!(matches!(read(&path), Err(BarredError::Damaged { .. })), "{damaged}");
        }
    }
}

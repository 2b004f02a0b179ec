//! Secrets that bind a frame to the file it stands in: 16 random bytes for each use of a file.
//!
//! They guard against somebody who sends statements, not against somebody who reads the journal's folder: that one sees
//! all that the journal holds anyway. So salts stand in file names and headers, and nowhere else: no message says one.

use std::fmt::{self, Write};
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::model::{EntrySeq, Ids, Sha256};

/// Bytes of a salt: the key of SipHash.
const SALT_LEN: usize = 16;

/// The salt of one use of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt([u8; SALT_LEN]);

impl Salt {
    /// The salt of these bytes.
    pub(super) fn of(bytes: [u8; SALT_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The salt as a file name says it; nothing if this is none.
    pub(super) fn read(hex: &str) -> Option<Self> {
        let plain = hex.len() == 2 * SALT_LEN && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let bits = u128::from_str_radix(hex, 16).ok().filter(|_| plain)?;
        Some(Self(bits.to_be_bytes()))
    }

    /// As a file name says it: 32 hexadecimal digits.
    pub(super) fn print(&self, to: &mut String) {
        // Writing to a String cannot fail.
        write!(to, "{:032x}", u128::from_be_bytes(self.0)).unwrap_or_default();
    }

    /// The check of some bytes: SipHash-2-4, which nobody can tell without the salt.
    pub(super) fn check(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish()
    }
}

/// Says nothing of the bytes: what is logged is read by others.
impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

/// Where the salts of one run come from: drawn at its start and never written down.
#[derive(Clone)]
pub struct Seed([u8; SALT_LEN]);

impl Seed {
    /// Draws one.
    pub fn draw(ids: &dyn Ids) -> Self {
        let (one, other) = (ids.nonce(), ids.nonce());
        Self(((u128::from(one) << 64) | u128::from(other)).to_le_bytes())
    }

    /// The salt of the file that starts with entry `first`. A file that is begun anew in the same run has the same, and so
    /// the same name.
    pub(super) fn salt(&self, first: EntrySeq) -> Salt {
        let digest = Sha256::of(&[&self.0[..], &first.0.to_le_bytes()].concat());
        Salt(digest.0.first_chunk().copied().unwrap_or_default())
    }
}

/// For tests, which are to repeat.
impl From<[u8; SALT_LEN]> for Seed {
    fn from(bytes: [u8; SALT_LEN]) -> Self {
        Self(bytes)
    }
}

/// Says nothing of the bytes, from which every salt of the run could be had.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_reads_back_from_a_name_and_nothing_else_is_one() {
        let salt = Salt::of([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        let mut name = String::new();
        salt.print(&mut name);
        assert_eq!(name, "000102030405060708090a0b0c0d0eff");
        assert_eq!(Salt::read(&name), Some(salt));
        for bad in [
            "",
            "00",
            name.get(1..).unwrap(),
            &name.to_uppercase(),
            &format!("+{}", name.get(1..).unwrap()),
            &format!("{name}0"),
        ] {
            assert_eq!(Salt::read(bad), None, "{bad}");
        }
        assert_eq!(format!("{salt:?}"), "Salt");
    }

    /// The vector of the authors' paper (Aumasson and Bernstein, appendix A).
    #[test]
    fn the_check_is_siphash_2_4() {
        let bytes: Vec<u8> = (0..15).collect();
        let salt = Salt::of(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!(salt.check(&bytes), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn two_files_have_two_salts_and_one_file_has_one() {
        let (one, other) = (Seed([1; 16]), Seed([2; 16]));
        assert_eq!(one.salt(EntrySeq(1)), one.salt(EntrySeq(1)));
        assert_ne!(one.salt(EntrySeq(1)), one.salt(EntrySeq(2)));
        assert_ne!(one.salt(EntrySeq(1)), other.salt(EntrySeq(1)));
    }
}

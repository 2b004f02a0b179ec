//! Signed notes as <https://c2sp.org/signed-note> (v1.0.0) has them: a text, and under it Ed25519 signatures (type 0x01).
//!
//! Ed25519 comes from `ring`, which the TLS below us uses already: no new code to trust. `ed25519-dalek` would add five
//! crates for the same; `aws-lc-rs` is in the tree as well, but brings a second C library into the one part that must be
//! easy to read. A signature over the same text with the same key is the same for ever (RFC 8032), so a note can be made
//! again after a crash.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use crate::model::Sha256;

/// Before each signature.
const DASH: &str = "\u{2014} ";
/// Ed25519 over the text itself.
const TYPE_ED25519: u8 = 1;
const ID_BYTES: usize = 4;
const PUBLIC_BYTES: usize = 32;
/// More than the sixteen that every reader must take; each costs a check.
const MAX_SIGNATURES: usize = 100;
/// A note of ours has three lines. Whoever sends more wants something else.
const MAX_NOTE_BYTES: usize = 1 << 20;
/// RFC 8410: the header of a PKCS#8 v1 Ed25519 key, which the 32 bytes of the seed follow. Version 1, because OpenSSL
/// does not read version 2.
const PKCS8_HEADER: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The name of a key or a log: not empty, without blanks, `+` and control characters.
fn fits_name(name: &str) -> bool {
    let strange = |c: char| c == '+' || c.is_whitespace() || c.is_control();
    !name.is_empty() && !name.contains(strange)
}

/// Which key made a signature: four bytes, a hint and no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; ID_BYTES]);

impl KeyId {
    fn of(name: &str, public: &[u8]) -> Self {
        let named = [name.as_bytes(), &[b'\n', TYPE_ED25519], public].concat();
        let [a, b, c, d, ..] = Sha256::of(&named).0;
        Self([a, b, c, d])
    }

    /// The id that eight lower-case hexadecimal digits are.
    pub fn read(text: &str) -> Option<Self> {
        let id = Self(u32::from_str_radix(text, 16).ok()?.to_be_bytes());
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A name that cannot stand in a note.
    #[error("a key's name is not empty and has no blanks, no `+` and no control characters")]
    Name,
    /// No verifier key.
    #[error("a verifier key is written name+id+key, such as example.com/foo+530d903a+AekyeRrm56hApGFkyQR4Z…")]
    Form,
    /// Another kind of key.
    #[error("the key is of another type than Ed25519")]
    Type,
    /// The parts of a verifier key are not of one key.
    #[error("the key's id is not the one of its name and its bytes: part of it was changed or cut off")]
    Id,
    /// No private key.
    #[error("it holds no Ed25519 private key in PKCS#8 PEM")]
    Private,
}

/// What checks signatures of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    public: [u8; PUBLIC_BYTES],
}

impl VerifierKey {
    /// The key with this name.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`].
    pub fn new(name: &str, public: [u8; PUBLIC_BYTES]) -> Result<Self, KeyError> {
        if !fits_name(name) {
            return Err(KeyError::Name);
        }
        Ok(Self { name: name.to_owned(), id: KeyId::of(name, &public), public })
    }

    /// Its name; for the key of a log, the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether the signature is this key's over `text`.
    pub fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(text.as_bytes(), signature).is_ok()
    }
}

/// `name+id+key`, as it is published.
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed: Vec<u8> = [TYPE_ED25519].into_iter().chain(self.public).collect();
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(typed))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // The key is base64, which may hold a `+` of its own; the name and the id do not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let typed = STANDARD.decode(key).or(Err(KeyError::Form))?;
        let (kind, public) = typed.split_first().ok_or(KeyError::Form)?;
        if *kind != TYPE_ED25519 {
            return Err(KeyError::Type);
        }
        let key = Self::new(name, public.try_into().or(Err(KeyError::Form))?)?;
        if key.id.to_string() == id { Ok(key) } else { Err(KeyError::Id) }
    }
}

/// What signs. `Debug` does not show the key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key in a PKCS#8 PEM file, which has no name of its own.
    ///
    /// # Errors
    ///
    /// [`KeyError::Private`] or [`KeyError::Name`].
    pub fn from_pem(name: &str, pem: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).or(Err(KeyError::Private))?;
        // Version 1 has no public key to hold it against: "maybe".
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).or(Err(KeyError::Private))?;
        let public = pair.public_key().as_ref().try_into().or(Err(KeyError::Private))?;
        Ok(Self { verifier: VerifierKey::new(name, public)?, pair })
    }

    /// A new key in the same form, from 32 bytes that nobody can guess.
    pub fn new_pem(seed: &[u8; 32]) -> String {
        let der: Vec<u8> = PKCS8_HEADER.iter().chain(seed).copied().collect();
        // 48 bytes are 64 characters: one line of PEM.
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    /// What checks its signatures.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The note with this text, signed by this key alone.
    ///
    /// # Errors
    ///
    /// [`NoteError::Text`] for a text that cannot be one's.
    pub fn sign(&self, text: &str) -> Result<Note, NoteError> {
        if !text.ends_with('\n') || has_control(text) || text.starts_with('\n') {
            return Err(NoteError::Text);
        }
        let bytes = self.pair.sign(text.as_bytes()).as_ref().to_vec();
        let VerifierKey { name, id, .. } = &self.verifier;
        let signature = Signature { name: name.clone(), id: *id, bytes };
        Ok(Note { text: text.to_owned(), signatures: vec![signature] })
    }
}

/// A signature as it stands under a note: of any key, of any type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name of the key.
    pub name: String,
    /// The id of the key.
    pub id: KeyId,
    /// What follows the id.
    pub bytes: Vec<u8>,
}

/// A text and signatures under it, which nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    /// In their order.
    pub signatures: Vec<Signature>,
}

/// Why something is no note that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Too much of it.
    #[error("the note is longer than {MAX_NOTE_BYTES} bytes or has more than {MAX_SIGNATURES} signatures")]
    Long,
    /// Not text, or not the text of a note.
    #[error("the note's text is not UTF-8 lines without control characters")]
    Text,
    /// No blank line before signatures, or something else after it.
    #[error("the note does not end in a blank line and signature lines")]
    Signatures,
    /// No signature of a key that is trusted.
    #[error("the note has no signature of a key that is trusted; it names {}", named.join(", "))]
    Untrusted {
        /// The keys that it names.
        named: Vec<String>,
    },
    /// A signature that a trusted key did not make.
    #[error("the note bears a signature of {key} that this key did not make over this text")]
    Forged {
        /// Name and id.
        key: String,
    },
}

impl Note {
    /// Reads a note. Nothing in it is to be believed before [`Note::verified`] said so.
    ///
    /// # Errors
    ///
    /// [`NoteError::Long`], [`NoteError::Text`] or [`NoteError::Signatures`].
    pub fn read(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Long);
        }
        let note = std::str::from_utf8(bytes).or(Err(NoteError::Text))?;
        if has_control(note) {
            return Err(NoteError::Text);
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Signatures)?;
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Signatures)?;
        if lines.split('\n').count() > MAX_SIGNATURES {
            return Err(NoteError::Long);
        }
        let signatures = lines.split('\n').map(signature).collect::<Option<_>>().ok_or(NoteError::Signatures)?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The text, if at least one of these keys signed it, and none of them is named by a signature it did not make.
    ///
    /// # Errors
    ///
    /// [`NoteError::Untrusted`] or [`NoteError::Forged`].
    pub fn verified<'a>(&'a self, keys: &'a [VerifierKey]) -> Result<(&'a str, Vec<&'a VerifierKey>), NoteError> {
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let known = keys.iter().filter(|key| key.name == signature.name && key.id == signature.id);
            for key in known {
                if !key.verifies(&self.text, &signature.bytes) {
                    return Err(NoteError::Forged { key: format!("{}+{}", key.name, key.id) });
                }
                if !signers.contains(&key) {
                    signers.push(key);
                }
            }
        }
        if signers.is_empty() {
            let named = self.signatures.iter().map(|signature| format!("{}+{}", signature.name, signature.id));
            return Err(NoteError::Untrusted { named: named.collect() });
        }
        Ok((&self.text, signers))
    }

    /// The text, which nobody vouches for: to compare, to look for, not to believe.
    pub fn unverified_text(&self) -> &str {
        &self.text
    }
}

/// As it is stored and sent.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, id, bytes } in &self.signatures {
            writeln!(f, "{DASH}{name} {}", STANDARD.encode([id.0.as_slice(), bytes].concat()))?;
        }
        Ok(())
    }
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 && byte != b'\n')
}

/// A signature line without its end.
fn signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded).ok()?;
    let (id, bytes) = decoded.split_first_chunk::<ID_BYTES>()?;
    let fits = fits_name(name) && !bytes.is_empty();
    fits.then(|| Signature { name: name.to_owned(), id: KeyId(*id), bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    fn key() -> VerifierKey {
        KEY.parse().unwrap()
    }

    fn own(seed: u8) -> SigningKey {
        SigningKey::from_pem("hansard/node-1", &SigningKey::new_pem(&[seed; 32])).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_is_verified_and_written_back() {
        let note = Note::read(NOTE.as_bytes()).unwrap();
        assert_eq!(note.verified(&[key()]).unwrap(), ("This is an example message.\n", vec![&key()]));
        assert_eq!(note.to_string(), NOTE);
        assert_eq!(key().to_string(), KEY);
        assert_eq!((key().name(), key().id().to_string().as_str()), ("example.com/foo", "530d903a"));
    }

    #[test]
    fn a_note_of_ours_is_the_same_each_time_and_any_other_text_or_key_fails() {
        let note = own(1).sign("a\n\nb\n").unwrap();
        assert_eq!(own(1).sign("a\n\nb\n").unwrap(), note);
        let read = Note::read(note.to_string().as_bytes()).unwrap();
        assert_eq!(read, note);
        let trusted = own(1).verifier().clone();
        assert_eq!(read.verified(&[key(), trusted.clone()]).unwrap().0, "a\n\nb\n");
        let named = vec![format!("hansard/node-1+{}", trusted.id())];
        assert_eq!(read.verified(&[own(2).verifier().clone()]), Err(NoteError::Untrusted { named }));
        let changed = Note { text: "a\n\nc\n".to_owned(), ..note.clone() };
        let forged =
            |note: &Note| matches!(note.verified(std::slice::from_ref(&trusted)), Err(NoteError::Forged { .. }));
        assert!(forged(&changed));
        let mut also = own(3).sign("a\n\nb\n").unwrap().signatures;
        also[0].id = trusted.id();
        let both = Note { signatures: [note.signatures.clone(), also].concat(), ..note };
        assert!(forged(&both), "one good signature does not excuse a forged one");
    }

    #[test]
    fn signatures_of_unknown_keys_and_types_are_passed_over() {
        let note = own(1).sign("text\n").unwrap();
        let with = format!("{note}\u{2014} somebody/else AAAAAQI=\n\u{2014} hansard/node-1 AAAAAQI=\n");
        let read = Note::read(with.as_bytes()).unwrap();
        assert_eq!(read.signatures.len(), 3);
        let trusted = own(1).verifier().clone();
        assert_eq!(read.verified(&[trusted.clone(), trusted.clone()]).unwrap().1, [&trusted]);
        assert_eq!(read.to_string(), with);
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let note = own(1).sign("text\n").unwrap().to_string();
        assert!(Note::read(note.as_bytes()).is_ok());
        let read = |text: &str| Note::read(text.as_bytes()).unwrap_err();
        for bad in [
            "",
            "text\n",
            "text\n\n",
            "text\n\n\n",
            note.trim_end(),
            &note.replace("\n\n", "\n"),
            &note.replace('\u{2014}', "-"),
            &note.replace("\u{2014} ", "\u{2014}"),
            &note.replace("node-1 ", "node-1  "),
            &note.replace("node-1", "no+de"),
            &note.replace("node-1", "no\u{a0}de"),
            &format!("{note}\n"),
            &format!("{note}more\n"),
            "text\n\n\u{2014} a AAAAAQ==\n",
            "text\n\n\u{2014} a AAAAAQJ=\n",
            "text\n\n\u{2014}  AAAAAQI=\n",
        ] {
            assert_eq!(read(bad), NoteError::Signatures, "{bad:?}");
        }
        assert_eq!(read(&note.replace("text", "te\txt")), NoteError::Text);
        assert_eq!(read(&note.replace('\n', "\r\n")), NoteError::Text);
        assert_eq!(Note::read(b"\xff\n\n"), Err(NoteError::Text));
        assert_eq!(read(&"x".repeat(MAX_NOTE_BYTES + 1)), NoteError::Long);
        assert_eq!(read(&format!("t\n\n{}", "\u{2014} a AAAAAQI=\n".repeat(101))), NoteError::Long);
        for bad in ["", "no end", "\n", "a\tb\n", "a\u{0}\n"] {
            assert_eq!(own(1).sign(bad).map(|note| note.to_string()), Err(NoteError::Text), "{bad:?}");
        }
    }

    #[test]
    fn a_verifier_key_that_was_changed_is_refused() {
        for (bad, error) in [
            ("", KeyError::Form),
            ("example.com/foo+530d903a", KeyError::Form),
            (&KEY.replace("foo+", "fop+"), KeyError::Id),
            (&KEY.replace("530d", "530e"), KeyError::Id),
            (&KEY.replace("530d", "530D"), KeyError::Id),
            (&KEY.replace("+A", "+B"), KeyError::Type),
            (&KEY.replace("3U2k", "3U2l"), KeyError::Id),
            (&KEY.replace("3U2k", ""), KeyError::Form),
            (&KEY.replace("example.com/foo", ""), KeyError::Name),
            (&KEY.replace("example.com/foo", "a b"), KeyError::Name),
        ] {
            assert_eq!(bad.parse::<VerifierKey>(), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_key_is_what_openssl_makes_and_reads() {
        // openssl genpkey -algorithm ed25519, and RFC 8032 §7.1 test 1 in that form.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let pem = SigningKey::new_pem(&seed);
        assert_eq!(
            pem,
            "-----BEGIN PRIVATE KEY-----\n\
             MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
             -----END PRIVATE KEY-----\n"
        );
        let key = SigningKey::from_pem("n", &pem).unwrap();
        let public: String = key.verifier().public.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(public, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert!(!format!("{key:?}").contains("9d"), "{key:?}");
        assert_eq!(SigningKey::from_pem("n", "nothing").map(|_| ()), Err(KeyError::Private));
        assert_eq!(SigningKey::from_pem("n", &pem.replace("MC4C", "MC4D")).map(|_| ()), Err(KeyError::Private));
        assert_eq!(SigningKey::from_pem("a b", &pem).map(|_| ()), Err(KeyError::Name));
    }
}

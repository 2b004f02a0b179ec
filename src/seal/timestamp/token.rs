//! An answer and the token in it, read: `TimeStampResp`, CMS `SignedData`, `TSTInfo`, and what their signer signed.
//!
//! The values borrow from what came, so the bytes that are hashed are the bytes that were signed.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef, UintRef, Utf8StringRef};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, Tagged};
use ring::digest;
use x509_cert::ext::Extension;

use super::trust::{Signer, verifiers};
use super::{TimestampError, safe};
use crate::model::{Sha256, Timestamp};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
/// `GeneralName`: the choice `directoryName`.
const DIRECTORY_NAME: u8 = 4;
/// `GeneralizedTime` up to the seconds: `YYYYMMDDhhmmss`.
const SECONDS_CHARS: usize = 14;
/// We count microseconds; what an authority says beyond is cut.
const FRACTION_DIGITS: usize = 6;

/// `TimeStampResp` (RFC 3161 §2.4.2).
#[derive(Sequence)]
pub(super) struct Response<'a> {
    status: Status<'a>,
    #[asn1(optional = "true")]
    token: Option<AnyRef<'a>>,
}

/// `PKIStatusInfo`.
#[derive(Sequence)]
struct Status<'a> {
    status: u32,
    #[asn1(optional = "true")]
    text: Option<Vec<Utf8StringRef<'a>>>,
    #[asn1(optional = "true")]
    failure: Option<BitStringRef<'a>>,
}

impl<'a> Response<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, TimestampError> {
        Self::from_der(bytes).or(Err(TimestampError::Form { part: "the answer" }))
    }

    /// The bytes of the token, if the authority granted one.
    pub(super) fn token(&self) -> Result<Vec<u8>, TimestampError> {
        let verdict = match self.status.status {
            // Granted, and granted with changes: which the checks find, or they do not matter.
            0 | 1 => None,
            2 => Some("it refuses"),
            3 => Some("it wants to be asked again later"),
            4 => Some("it warns that its certificate is about to be revoked"),
            5 => Some("it says that its certificate was revoked"),
            _ => Some("it answers with a status that RFC 3161 does not know"),
        };
        match (verdict, self.token) {
            (Some(verdict), _) => Err(TimestampError::Refused { reason: self.status.reason(verdict) }),
            (None, None) => Err(TimestampError::Refused { reason: "it says granted, and sends none".to_owned() }),
            // DER has one form for each value, so this is how it came.
            (None, Some(token)) => token.to_der().or(Err(TimestampError::Form { part: "the token" })),
        }
    }
}

impl Status<'_> {
    fn reason(&self, verdict: &str) -> String {
        let mut reason = verdict.to_owned();
        for text in self.text.iter().flatten() {
            reason.push_str(": ");
            reason.push_str(text.as_str());
        }
        let bits = self.failure.iter().flat_map(|failure| failure.bits().enumerate());
        for (bit, _) in bits.filter(|(_, set)| *set) {
            reason.push_str(match bit {
                0 => " (it does not take the digest's algorithm)",
                2 => " (it does not serve such requests)",
                5 => " (it cannot read the request)",
                14 => " (it has no time now)",
                15 => " (it does not work by the policy that was asked for)",
                16 => " (it does not know an extension of the request)",
                17 => " (it cannot say what was asked for beside the time)",
                25 => " (it has failed)",
                _ => " (for a reason that RFC 3161 does not know)",
            });
        }
        safe(&reason)
    }
}

/// `ContentInfo` (RFC 5652 §3).
#[derive(Sequence)]
struct ContentInfo<'a> {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: SignedData<'a>,
}

/// `SignedData` (RFC 5652 §5.1).
#[derive(Sequence)]
struct SignedData<'a> {
    version: u8,
    digests: AnyRef<'a>,
    content: Content<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    certificates: Option<AnyRef<'a>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    revoked: Option<AnyRef<'a>>,
    signers: AnyRef<'a>,
}

/// `EncapsulatedContentInfo`.
#[derive(Sequence)]
struct Content<'a> {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    bytes: OctetStringRef<'a>,
}

/// `SignerInfo` (RFC 5652 §5.3).
#[derive(Sequence)]
struct SignerInfo<'a> {
    version: u8,
    who: AnyRef<'a>,
    digest: Algorithm<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    signed: Option<AnyRef<'a>>,
    algorithm: AnyRef<'a>,
    signature: OctetStringRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    unsigned: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Algorithm<'a> {
    oid: ObjectIdentifier,
    #[asn1(optional = "true")]
    parameters: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Attribute<'a> {
    kind: ObjectIdentifier,
    values: AnyRef<'a>,
}

/// `SigningCertificate` (RFC 2634 §5.4) and `SigningCertificateV2` (RFC 5035).
#[derive(Sequence)]
struct SigningCertificate<'a> {
    certificates: Vec<CertificateId<'a>>,
    #[asn1(optional = "true")]
    policies: Option<AnyRef<'a>>,
}

/// `ESSCertID`, which has no algorithm, and `ESSCertIDv2`.
#[derive(Sequence)]
struct CertificateId<'a> {
    #[asn1(optional = "true")]
    algorithm: Option<Algorithm<'a>>,
    hash: OctetStringRef<'a>,
    #[asn1(optional = "true")]
    issued: Option<Issued<'a>>,
}

/// `IssuerSerial`, and `IssuerAndSerialNumber`: they differ in how the issuer is written.
#[derive(Sequence)]
struct Issued<'a> {
    issuer: AnyRef<'a>,
    serial: AnyRef<'a>,
}

/// A certificate as the signed attributes name it.
struct Binding<'a> {
    algorithm: &'static digest::Algorithm,
    id: CertificateId<'a>,
}

/// A token: what was signed, by whom, with which certificates.
pub(super) struct Token<'a> {
    content: &'a [u8],
    certificates: Vec<&'a [u8]>,
    signer: SignerInfo<'a>,
    /// The signed attributes, as they came.
    signed: AnyRef<'a>,
    digest: &'static digest::Algorithm,
}

impl<'a> Token<'a> {
    /// Reads a token, and holds what was signed against the digest in its signed attributes.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, TimestampError> {
        let form = |_| TimestampError::Form { part: "the token" };
        let info = ContentInfo::from_der(bytes).map_err(form)?;
        let data = info.content;
        if info.kind != SIGNED_DATA || data.content.kind != TST_INFO || data.signers.tag() != Tag::Set {
            return Err(TimestampError::Form { part: "the token" });
        }
        let signers = elements(data.signers).map_err(form)?;
        let [signer] = signers.as_slice() else { return Err(TimestampError::Signers { found: signers.len() }) };
        let signer = SignerInfo::from_der(signer).map_err(form)?;
        let Some(signed) = signer.signed else {
            return Err(TimestampError::Attributes { what: "the timestamp has no signed attributes" });
        };
        let digest = strong(signer.digest.oid)?;
        let certificates = data.certificates.map_or(Ok(Vec::new()), elements).map_err(form)?;
        let token = Self { content: data.content.bytes.as_bytes(), certificates, signer, signed, digest };
        token.check_content()?;
        Ok(token)
    }

    /// The certificates that came with it, in no order; nothing of them is checked.
    pub(super) fn certificates(&self) -> &[&'a [u8]] {
        &self.certificates
    }

    /// What was signed.
    pub(super) fn statement(&self) -> Result<Statement<'a>, TimestampError> {
        Statement::from_der(self.content).or(Err(TimestampError::Form { part: "what the authority signed" }))
    }

    fn check_content(&self) -> Result<(), TimestampError> {
        let kind = self.attribute(CONTENT_TYPE)?.and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
        if kind != Some(TST_INFO) {
            return Err(TimestampError::Attributes { what: "the signed attributes are not those of a timestamp" });
        }
        let said = self.attribute(MESSAGE_DIGEST)?.and_then(|value| value.decode_as::<OctetStringRef<'_>>().ok());
        let found = digest::digest(self.digest, self.content);
        if said.is_some_and(|said| said.as_bytes() == found.as_ref()) {
            Ok(())
        } else {
            Err(TimestampError::Attributes { what: "the timestamp's content is not the one whose digest was signed" })
        }
    }

    /// The value of a signed attribute, which may be there once and with one value.
    fn attribute(&self, kind: ObjectIdentifier) -> Result<Option<AnyRef<'a>>, TimestampError> {
        let form = |_| TimestampError::Form { part: "a signed attribute" };
        let mut found = None;
        for attribute in elements(self.signed).map_err(form)? {
            let attribute = Attribute::from_der(attribute).map_err(form)?;
            if attribute.kind != kind {
                continue;
            }
            let values = elements(attribute.values).map_err(form)?;
            let ([value], None, Tag::Set) = (values.as_slice(), found, attribute.values.tag()) else {
                return Err(TimestampError::Attributes { what: "a signed attribute has more than one value, or none" });
            };
            found = Some(AnyRef::from_der(value).map_err(form)?);
        }
        Ok(found)
    }

    /// How the signed attributes name the signer's certificate: by one hash or by two.
    fn bindings(&self) -> Result<Vec<Binding<'a>>, TimestampError> {
        let mut bindings = Vec::new();
        for (kind, usual) in
            [(SIGNING_CERTIFICATE, &digest::SHA1_FOR_LEGACY_USE_ONLY), (SIGNING_CERTIFICATE_V2, &digest::SHA256)]
        {
            let Some(value) = self.attribute(kind)? else { continue };
            let form = TimestampError::Form { part: "the name of the signer's certificate" };
            let named = value.decode_as::<SigningCertificate<'_>>().or(Err(form.clone()))?;
            // The first is the signer's; others may say how it came to be trusted.
            let id = named.certificates.into_iter().next().ok_or(form.clone())?;
            let algorithm = match &id.algorithm {
                None => usual,
                Some(_) if kind == SIGNING_CERTIFICATE => return Err(form),
                Some(algorithm) => strong(algorithm.oid)?,
            };
            bindings.push(Binding { algorithm, id });
        }
        if bindings.is_empty() {
            return Err(TimestampError::Attributes { what: "no signed attribute names the signer's certificate" });
        }
        Ok(bindings)
    }

    /// The certificate that the signed attributes name.
    pub(super) fn certificate(&self) -> Result<&'a [u8], TimestampError> {
        let bindings = self.bindings()?;
        let is_named = |der: &&&[u8]| {
            let names = |it: &Binding<'_>| digest::digest(it.algorithm, der).as_ref() == it.id.hash.as_bytes();
            bindings.iter().all(names)
        };
        self.certificates.iter().find(is_named).copied().ok_or(TimestampError::NoCertificate)
    }

    /// Whether the signature is that of `signer`, and nothing in the token speaks of another.
    pub(super) fn check_is_signed_by(&self, signer: &Signer<'_>) -> Result<(), TimestampError> {
        let who = self.signer.who;
        let same = match who.tag() {
            Tag::Sequence => who
                .decode_as::<Issued<'_>>()
                .is_ok_and(|issued| signer.was_issued(issued.issuer.value(), issued.serial.value())),
            // `[0] IMPLICIT SubjectKeyIdentifier`
            Tag::ContextSpecific { constructed: false, number } if number.value() == 0 => {
                signer.has_key_id(who.value())
            }
            _ => false,
        };
        let named = self.bindings()?.iter().all(|it| it.id.issued.as_ref().is_none_or(|it| it.is_of(signer)));
        if !same || !named {
            return Err(TimestampError::Attributes {
                what: "the timestamp names two signers: that of its certificate, and another",
            });
        }
        let fitting = verifiers(self.signer.algorithm.value(), self.digest);
        if fitting.is_empty() {
            let oid = self.signer.algorithm.decode_as::<Algorithm<'_>>();
            return Err(oid.map_or(TimestampError::Form { part: "the signature's algorithm" }, |it| unknown(it.oid)));
        }
        // RFC 5652 §5.4: they are signed as the SET OF that they are, not under the tag that they travel with.
        let set = AnyRef::new(Tag::Set, self.signed.value()).and_then(|set| set.to_der());
        let message = set.or(Err(TimestampError::Form { part: "a signed attribute" }))?;
        signer.check_signed(&fitting, &message, self.signer.signature.as_bytes())
    }
}

impl Issued<'_> {
    /// Whether `signer` is meant, where the issuer is written as `GeneralNames`.
    fn is_of(&self, signer: &Signer<'_>) -> bool {
        let names = elements(self.issuer).unwrap_or_default();
        names.into_iter().filter_map(|name| AnyRef::from_der(name).ok()).any(|name| {
            let directory =
                matches!(name.tag(), Tag::ContextSpecific { number, .. } if number.value() == DIRECTORY_NAME);
            let issuer = AnyRef::from_der(name.value()).map(AnyRef::value);
            directory && issuer.is_ok_and(|issuer| signer.was_issued(issuer, self.serial.value()))
        })
    }
}

/// `TSTInfo` (RFC 3161 §2.4.2): what an authority signs.
#[derive(Sequence)]
pub(super) struct Statement<'a> {
    version: u8,
    policy: ObjectIdentifier,
    imprint: Imprint<'a>,
    serial: UintRef<'a>,
    time: AnyRef<'a>,
    #[asn1(optional = "true")]
    accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    ordering: bool,
    #[asn1(optional = "true")]
    nonce: Option<UintRef<'a>>,
    /// A hint, says RFC 3161: who signed is in the certificate.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    authority: Option<AnyRef<'a>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct Imprint<'a> {
    algorithm: Algorithm<'a>,
    hash: OctetStringRef<'a>,
}

#[derive(Sequence)]
struct Accuracy {
    #[asn1(optional = "true")]
    seconds: Option<u32>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    millis: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    micros: Option<u16>,
}

impl Statement<'_> {
    /// Whether it is of this digest, for the request with this nonce, and says nothing that has to be known and is not.
    pub(super) fn check_is_about(&self, digest: Sha256, nonce: Option<u64>) -> Result<(), TimestampError> {
        let critical = self.extensions.iter().flatten().any(|extension| extension.critical);
        if self.version != 1 || critical {
            return Err(TimestampError::Form { part: "what the authority signed" });
        }
        if self.imprint.algorithm.oid != SHA256 || self.imprint.hash.as_bytes() != digest.0 {
            return Err(TimestampError::Digest);
        }
        let Some(nonce) = nonce else { return Ok(()) };
        let said = self.nonce.and_then(|said| number(said.as_bytes()));
        if said == Some(nonce) { Ok(()) } else { Err(TimestampError::Nonce) }
    }

    /// When.
    pub(super) fn time(&self) -> Result<Timestamp, TimestampError> {
        time(self.time).ok_or(TimestampError::Form { part: "the time of the timestamp" })
    }

    /// In microseconds.
    pub(super) fn accuracy(&self) -> Option<u64> {
        let Accuracy { seconds, millis, micros } = self.accuracy.as_ref()?;
        let [seconds, millis, micros] =
            [u64::from(seconds.unwrap_or(0)), u64::from(millis.unwrap_or(0)), u64::from(micros.unwrap_or(0))];
        Some(seconds * 1_000_000 + millis * 1_000 + micros)
    }

    /// In hexadecimal.
    pub(super) fn serial(&self) -> String {
        self.serial.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// As numbers with dots.
    pub(super) fn policy(&self) -> String {
        self.policy.to_string()
    }
}

/// The elements of a `SET OF` or `SEQUENCE OF`, each with its header, as they came.
fn elements(all: AnyRef<'_>) -> der::Result<Vec<&[u8]>> {
    if !all.tag().is_constructed() {
        return Err(all.tag().value_error());
    }
    let mut reader = SliceReader::new(all.value())?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(reader.tlv_bytes()?);
    }
    Ok(found)
}

/// The algorithm of a hash that nobody can find two inputs for.
fn strong(oid: ObjectIdentifier) -> Result<&'static digest::Algorithm, TimestampError> {
    match oid {
        SHA256 => Ok(&digest::SHA256),
        SHA384 => Ok(&digest::SHA384),
        SHA512 => Ok(&digest::SHA512),
        other => Err(unknown(other)),
    }
}

fn unknown(oid: ObjectIdentifier) -> TimestampError {
    TimestampError::Algorithm { oid: oid.to_string() }
}

/// A whole number that fits.
fn number(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |number, byte| Some(number.checked_mul(256)? + u64::from(*byte)))
}

/// `GeneralizedTime` with as many digits of a second as there may be, which no library here reads.
fn time(value: AnyRef<'_>) -> Option<Timestamp> {
    if value.tag() != Tag::GeneralizedTime {
        return None;
    }
    let text = std::str::from_utf8(value.value()).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != SECONDS_CHARS || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let two = |at: usize| whole.get(at..at + 2)?.parse::<u8>().ok();
    let year = whole.get(..4)?.parse().ok()?;
    let date = der::DateTime::new(year, two(4)?, two(6)?, two(8)?, two(10)?, two(12)?).ok()?;
    let seconds = i64::try_from(date.unix_duration().as_secs()).ok()?;
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(FRACTION_DIGITS);
    let micros = digits.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    Some(Timestamp(Timestamp::from_seconds(seconds).0 + micros))
}

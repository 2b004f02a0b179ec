//! What a client may send, decoded strictly inside its frame; and what we say ourselves.
//!
//! A decoder that does not consume its frame exactly is a [`Violation`]: nothing of one frame is read as another.

use bytes::{Bytes, BytesMut};
use pgwire::messages::response::{ErrorResponse, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, SecretKey};
use pgwire::messages::{Message, extendedquery, simplequery};

use super::frame::HEADER_LEN;
use crate::model::ParamFormat;
use crate::wire::Violation;

/// A bounded cursor over one frame's body.
#[derive(Debug)]
pub struct Body {
    rest: Bytes,
}

/// The string that the body of a whole frame begins with, without its end.
///
/// # Errors
///
/// No zero is in the frame.
pub fn first_string(frame: &[u8]) -> Result<&[u8], Violation> {
    let body = frame.get(HEADER_LEN..).unwrap_or_default();
    let end = body.iter().position(|byte| *byte == 0);
    end.and_then(|end| body.get(..end)).ok_or(Violation("a string without its end"))
}

impl Body {
    /// The body of a whole frame.
    pub fn of(frame: &Bytes) -> Self {
        Self { rest: frame.get(HEADER_LEN..).map_or_else(Bytes::new, |body| frame.slice_ref(body)) }
    }

    /// Bytes up to a zero, which is consumed.
    ///
    /// # Errors
    ///
    /// No zero is in the frame.
    pub fn string(&mut self) -> Result<Bytes, Violation> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(Violation("a string without its end"))?;
        let text = self.rest.split_to(end);
        bytes::Buf::advance(&mut self.rest, 1);
        Ok(text)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    ///
    /// The frame is shorter.
    pub fn take(&mut self, len: usize) -> Result<Bytes, Violation> {
        if self.rest.len() < len { Err(Violation(SHORT)) } else { Ok(self.rest.split_to(len)) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        self.take(N)?.as_ref().try_into().or(Err(Violation(SHORT)))
    }

    /// An `Int8` of the protocol.
    ///
    /// # Errors
    ///
    /// The frame is shorter.
    pub fn u8(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// An `Int16` that counts something.
    ///
    /// # Errors
    ///
    /// The frame is shorter.
    pub fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_be_bytes)
    }

    /// An `Int32`.
    ///
    /// # Errors
    ///
    /// The frame is shorter.
    pub fn i32(&mut self) -> Result<i32, Violation> {
        self.array().map(i32::from_be_bytes)
    }

    /// The end of the frame.
    ///
    /// # Errors
    ///
    /// Something is left.
    pub fn end(&self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(Violation("a message longer than its fields")) }
    }
}

const SHORT: &str = "a message shorter than its fields";

/// A name of a prepared statement or portal. Not UTF-8 in every client encoding, so bytes.
pub type Name = Bytes;

/// `Parse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    /// The statement's name; empty for the unnamed one.
    pub name: Name,
    /// Its text.
    pub text: Bytes,
    /// The types that the client gave; 0 where it leaves them to the server.
    pub types: Vec<u32>,
}

/// `Bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The portal's name; empty for the unnamed one.
    pub portal: Name,
    /// The statement's name.
    pub statement: Name,
    /// The values, in order.
    pub values: Vec<Value>,
}

/// A value as sent: format and bytes, or NULL.
pub type Value = (ParamFormat, Option<Bytes>);

/// `FunctionCall`: the fast path, by which libraries use large objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionCall {
    /// The function's object identifier.
    pub function: u32,
    /// The arguments, in order.
    pub values: Vec<Value>,
}

/// What `Describe` and `Close` name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement(Name),
    /// A portal.
    Portal(Name),
}

/// Decodes `Query`: its text.
///
/// # Errors
///
/// The frame is not a `Query`.
pub fn query(frame: &Bytes) -> Result<Bytes, Violation> {
    let mut body = Body::of(frame);
    let text = body.string()?;
    body.end().map(|()| text)
}

/// Decodes `Parse`.
///
/// # Errors
///
/// The frame is not a `Parse`.
pub fn parse(frame: &Bytes) -> Result<Parse, Violation> {
    let mut body = Body::of(frame);
    let (name, text) = (body.string()?, body.string()?);
    let count = body.u16()?;
    let types = (0..count).map(|_| body.i32().map(i32::cast_unsigned)).collect::<Result<_, _>>()?;
    body.end().map(|()| Parse { name, text, types })
}

/// Decodes `Bind`.
///
/// # Errors
///
/// The frame is not a `Bind`.
pub fn bind(frame: &Bytes) -> Result<Bind, Violation> {
    let mut body = Body::of(frame);
    let (portal, statement) = (body.string()?, body.string()?);
    let values = values(&mut body)?;
    let count = body.u16()?;
    for _ in 0..count {
        body.u16()?;
    }
    body.end().map(|()| Bind { portal, statement, values })
}

/// Formats and values, as `Bind` and `FunctionCall` have them: one format for each, one for all, or none where all are text.
fn values(body: &mut Body) -> Result<Vec<Value>, Violation> {
    let count = body.u16()?;
    let formats: Vec<u16> = (0..count).map(|_| body.u16()).collect::<Result<_, _>>()?;
    let count = usize::from(body.u16()?);
    if formats.len() > 1 && formats.len() != count {
        return Err(Violation("another number of formats than of values"));
    }
    let mut values = Vec::with_capacity(count);
    for at in 0..count {
        let code = formats.get(at).or(if formats.len() == 1 { formats.first() } else { None }).copied().unwrap_or(0);
        let format = match code {
            0 => ParamFormat::Text,
            1 => ParamFormat::Binary,
            _ => return Err(Violation("a value of unknown format")),
        };
        let value = match body.i32()? {
            -1 => None,
            len => Some(body.take(usize::try_from(len).or(Err(Violation("a value of negative length")))?)?),
        };
        values.push((format, value));
    }
    Ok(values)
}

/// Decodes `FunctionCall`. The format of the result stays in the frame.
///
/// # Errors
///
/// The frame is not a `FunctionCall`.
pub fn function_call(frame: &Bytes) -> Result<FunctionCall, Violation> {
    let mut body = Body::of(frame);
    let function = body.i32()?.cast_unsigned();
    let values = values(&mut body)?;
    body.u16()?;
    body.end().map(|()| FunctionCall { function, values })
}

/// Decodes `Execute`: the portal's name. The row limit stays in the frame.
///
/// # Errors
///
/// The frame is not an `Execute`.
pub fn execute(frame: &Bytes) -> Result<Name, Violation> {
    let mut body = Body::of(frame);
    let portal = body.string()?;
    body.i32()?;
    body.end().map(|()| portal)
}

/// Decodes `Describe` and `Close`.
///
/// # Errors
///
/// The frame is neither.
pub fn target(frame: &Bytes) -> Result<Target, Violation> {
    let mut body = Body::of(frame);
    let kind = body.u8()?;
    let name = body.string()?;
    body.end()?;
    match kind {
        b'S' => Ok(Target::Statement(name)),
        b'P' => Ok(Target::Portal(name)),
        _ => Err(Violation("a Describe or Close of neither statement nor portal")),
    }
}

/// Checks a message that has no fields: `Sync`, `Flush`, `CopyDone`, `Terminate`.
///
/// # Errors
///
/// Something is in it.
pub fn bare(frame: &Bytes) -> Result<(), Violation> {
    Body::of(frame).end()
}

/// Checks `CopyFail`: a reason.
///
/// # Errors
///
/// The frame is not a `CopyFail`.
pub fn copy_fail(frame: &Bytes) -> Result<(), Violation> {
    let mut body = Body::of(frame);
    body.string()?;
    body.end()
}

/// An error of ours, as PostgreSQL would send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `ERROR` or `FATAL`.
    pub severity: &'static str,
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// The first line, which stands alone.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal that ends the connection.
    pub fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "FATAL", sqlstate, message: format!("hansard: {}", message.into()), detail: None, hint: None }
    }

    /// A refusal of one statement.
    pub fn error(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "ERROR", ..Self::fatal(sqlstate, message) }
    }

    /// With a DETAIL line.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a HINT line.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// As an `ErrorResponse` frame. A zero byte in a text would end it early, so it is shown instead.
    pub fn frame(&self) -> Bytes {
        let clean = |text: &str| text.replace('\0', "␀");
        let mut fields = vec![
            (b'S', self.severity.to_owned()),
            (b'V', self.severity.to_owned()),
            (b'C', self.sqlstate.to_owned()),
            (b'M', clean(&self.message)),
        ];
        fields.extend(self.detail.as_deref().map(|text| (b'D', clean(text))));
        fields.extend(self.hint.as_deref().map(|text| (b'H', clean(text))));
        encoded(&ErrorResponse::new(fields))
    }
}

/// What an `ErrorResponse` or `NoticeResponse` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorFields {
    /// The SQLSTATE.
    pub sqlstate: Option<String>,
    /// Whether it ends the connection.
    pub fatal: bool,
    /// The first line, in the language of the server and the encoding of the client.
    pub message: Option<Bytes>,
    /// The server's routine that reported it.
    pub routine: Option<Bytes>,
}

/// What an `ErrorResponse` or `NoticeResponse` says, as far as it can be read.
pub fn error_fields(frame: &Bytes) -> ErrorFields {
    let mut body = Body::of(frame);
    let mut fields = ErrorFields::default();
    while let Ok(field) = body.u8() {
        let Ok(value) = body.string() else { break };
        match field {
            b'C' => fields.sqlstate = std::str::from_utf8(&value).ok().map(str::to_owned),
            b'V' => fields.fatal = matches!(value.as_ref(), b"FATAL" | b"PANIC"),
            b'M' => fields.message = Some(value),
            b'R' => fields.routine = Some(value),
            0 => break,
            _ => {}
        }
    }
    fields
}

/// `AuthenticationCleartextPassword`: the token travels as the password.
pub fn ask_password() -> Bytes {
    encoded(&Authentication::CleartextPassword)
}

/// `AuthenticationOk`.
pub fn authentication_ok() -> Bytes {
    encoded(&Authentication::Ok)
}

/// `BackendKeyData` with a key of ours: its secret has 4 bytes, or up to 256 from protocol 3.2 on.
pub fn backend_key(pid: i32, secret: &Bytes) -> Bytes {
    encoded(&BackendKeyData::new(pid, SecretKey::Bytes(secret.clone())))
}

/// `ReadyForQuery`.
pub fn ready(status: char) -> Bytes {
    let status = match status {
        'T' => TransactionStatus::Transaction,
        'E' => TransactionStatus::Error,
        _ => TransactionStatus::Idle,
    };
    encoded(&ReadyForQuery::new(status))
}

/// The name that a poisoned `Parse` uses: unnamed, it would take the client's unnamed statement with it.
const POISON_NAME: &str = "hansard_denied";

/// A statement that every server refuses before it does anything (a syntax error). It takes a denied statement's place,
/// so that the transaction fails and the rest of the batch is discarded exactly as after an error of the server's own.
/// It holds the reference and nothing of the statement.
pub fn poison(simple: bool, reference: &str) -> Bytes {
    let text = format!("hansard: denied statement {reference}");
    if simple {
        encoded(&simplequery::Query::new(text))
    } else {
        encoded(&extendedquery::Parse::new(Some(POISON_NAME.to_owned()), text, Vec::new()))
    }
}

/// A message of ours as bytes. `pgwire` refuses over-long messages only; ours are short, and an empty frame is seen by
/// the peer as a protocol error rather than as something else.
pub(super) fn encoded(message: &impl Message) -> Bytes {
    let mut buffer = BytesMut::new();
    match message.encode(&mut buffer) {
        Ok(()) => buffer.freeze(),
        Err(_too_long) => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use pgwire::messages::{DecodeContext, ProtocolVersion};

    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Bytes {
        let length = i32::try_from(body.len() + 4).unwrap();
        Bytes::from([&[kind][..], &length.to_be_bytes(), body].concat())
    }

    #[test]
    fn our_decoders_read_what_pgwire_writes() {
        let parsed = parse(&encoded(&extendedquery::Parse::new(Some("s1".into()), "SELECT $1".into(), vec![23, 0])));
        let wanted = Parse { name: "s1".into(), text: "SELECT $1".into(), types: vec![23, 0] };
        assert_eq!(parsed.unwrap(), wanted);
        let message = extendedquery::Bind::new(
            Some("p".into()),
            Some("s1".into()),
            vec![1, 0],
            vec![Some(Bytes::from_static(&[0, 1])), None],
            vec![1],
        );
        let bound = bind(&encoded(&message)).unwrap();
        assert_eq!((bound.portal.as_ref(), bound.statement.as_ref()), (&b"p"[..], &b"s1"[..]));
        let wanted = vec![(ParamFormat::Binary, Some(Bytes::from_static(&[0, 1]))), (ParamFormat::Text, None)];
        assert_eq!(bound.values, wanted);
        assert_eq!(execute(&encoded(&extendedquery::Execute::new(Some("p".into()), 5))).unwrap(), "p");
        assert_eq!(query(&encoded(&simplequery::Query::new("SELECT 1".into()))).unwrap(), "SELECT 1");
    }

    #[test]
    fn a_frame_inside_a_frame_is_a_violation_not_a_statement() {
        let hidden = frame(b'Q', b"DROP TABLE x\0");
        assert!(query(&frame(b'Q', &[b"SELECT 1\0".as_ref(), &hidden].concat())).is_err());
        assert!(query(&frame(b'Q', b"SELECT 1")).is_err());
        assert!(query(&frame(b'Q', b"")).is_err());
        assert!(parse(&frame(b'P', b"s\0SELECT 1\0\0\x02\0\0\0\x17")).is_err());
        assert!(bind(&frame(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff")).is_err());
        assert!(bind(&frame(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0")).is_err());
        assert!(bind(&frame(b'B', b"\0\0\0\x02\0\0\0\0\0\x01\xff\xff\xff\xff\0\0")).is_err());
        assert!(execute(&frame(b'E', b"\0\0\0")).is_err());
        assert!(bare(&frame(b'S', &hidden)).is_err());
        assert!(copy_fail(&frame(b'f', &[b"why\0".as_ref(), &hidden].concat())).is_err());
        assert!(copy_fail(&frame(b'f', b"why")).is_err());
        assert!(target(&frame(b'D', b"")).is_err());
        assert!(target(&frame(b'D', b"Xa\0")).is_err());
    }

    #[test]
    fn a_value_in_another_encoding_keeps_its_bytes() {
        let parsed = parse(&frame(b'P', b"\0SELECT '\xe9'\0\0\0")).unwrap();
        assert_eq!(parsed.text.as_ref(), b"SELECT '\xe9'");
    }

    #[test]
    fn a_refusal_is_an_error_response_that_pgwire_reads() {
        let refusal = Refusal::error("42501", "denied by rule \"r\" (ref X.1)").detail("d\0d").hint(Some("h".into()));
        let bytes = refusal.frame();
        let fields = error_fields(&bytes);
        assert_eq!((fields.sqlstate.as_deref(), fields.fatal, fields.routine), (Some("42501"), false, None));
        assert_eq!(fields.message.as_deref(), Some(b"hansard: denied by rule \"r\" (ref X.1)".as_ref()));
        let mut body = BytesMut::from(&bytes[HEADER_LEN..]);
        let context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        let read = ErrorResponse::decode_body(&mut body, bytes.len() - 1, &context).unwrap();
        assert!(read.fields.contains(&(b'M', "hansard: denied by rule \"r\" (ref X.1)".into())));
        assert!(read.fields.contains(&(b'D', "d␀d".into())));
        assert!(error_fields(&Refusal::fatal("28P01", "no").frame()).fatal);
    }
}

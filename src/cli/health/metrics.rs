//! The counters in the text format of OpenMetrics.
//!
//! Nothing is kept here: each question is answered from what the parts know. A family is there with every label it can
//! have from the start, so that a first increase is seen as one.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Sources;
use crate::gateway::Counters;
use crate::model::EntrySeq;
use crate::ship::{AnchorStatus, Delays, Progress, ShipStatus};

/// What the answer is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted.
pub(super) fn text(sources: Option<&Sources>, ready: bool) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("hansard");
    registry.register_collector(Box::new(Snapshot::of(sources, ready)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// What the parts know at one moment.
#[derive(Debug)]
struct Snapshot {
    ready: bool,
    recorder: Option<Recorder>,
}

#[derive(Debug)]
struct Recorder {
    used: u64,
    limit: u64,
    session_room: u64,
    refusing: bool,
    flushed: EntrySeq,
    ship: ShipStatus,
    anchored: AnchorStatus,
    stopped: bool,
    /// Seconds that the oldest row has waited.
    unshipped_age: f64,
    issuers: Vec<(String, bool)>,
    targets: Vec<Target>,
}

/// What one target's sessions did, each number with its labels.
#[derive(Debug)]
struct Target {
    name: String,
    open: u64,
    opened: u64,
    refused: Vec<(&'static str, u64)>,
    statements: Vec<(&'static str, &'static str, u64)>,
    unrecorded: [(&'static str, u64); 2],
}

impl Snapshot {
    fn of(sources: Option<&Sources>, ready: bool) -> Self {
        Self { ready, recorder: sources.map(Recorder::of) }
    }
}

impl Recorder {
    fn of(sources: &Sources) -> Self {
        let Sources { journal, ship, anchored, verifier, counters, clock } = sources;
        // Before what was signed: it is never ahead of that.
        let anchored = anchored.borrow().clone();
        let ship = ship.borrow().clone();
        // After what was shipped: it is never ahead of what was flushed.
        let flushed = *journal.flushed().borrow();
        let waited = ship.oldest.map_or(0, |oldest| clock.now().micros_since(oldest));
        Self {
            used: journal.used_bytes(),
            limit: journal.limit_bytes(),
            session_room: journal.session_room_bytes(),
            refusing: journal.trouble().is_some(),
            flushed,
            stopped: sources.shipping_stopped(),
            unshipped_age: std::time::Duration::from_micros(waited).as_secs_f64(),
            ship,
            anchored,
            issuers: verifier.issuers().map(|(name, answers)| (name.to_owned(), answers)).collect(),
            targets: counters.iter().map(|(name, counters)| Target::of(name, counters)).collect(),
        }
    }
}

impl Target {
    fn of(name: &str, counters: &Counters) -> Self {
        let statements =
            counters.statements().map(|(verdict, status, count)| (verdict.as_str(), status.as_str(), count));
        Self {
            name: name.to_owned(),
            open: counters.sessions_open(),
            opened: counters.sessions_opened(),
            refused: counters.sessions_refused().collect(),
            statements: statements.collect(),
            unrecorded: counters.unrecorded(),
        }
    }
}

/// How the evidence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Signed,
    Behind,
    Contradicted,
}

impl Standing {
    const ALL: [Self; 3] = [Self::Signed, Self::Behind, Self::Contradicted];

    fn as_str(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Behind => "behind",
            Self::Contradicted => "contradicted",
        }
    }
}

/// Writes families, one after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge<V: EncodeGaugeValue + Copy>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        value: V,
    ) -> Result<(), Error> {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn flag(&mut self, name: &str, help: &str, value: bool) -> Result<(), Error> {
        self.gauge(name, None, help, u32::from(value))
    }

    /// A number that may not be known yet; then it is not there, which is not zero.
    fn known(&mut self, name: &str, help: &str, value: Option<u64>) -> Result<(), Error> {
        value.map_or(Ok(()), |value| self.gauge(name, None, help, value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        count(&mut self.0.encode_descriptor(name, help, None, MetricType::Counter)?, value)
    }

    /// A counter with a number for each set of labels.
    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            count(&mut family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    /// A gauge with a number for each label.
    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = ((&'l str, &'l str), u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (label, value) in values {
            family.encode_family(&[label])?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

fn count(encoder: &mut MetricEncoder<'_>, value: u64) -> Result<(), Error> {
    encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        encoder
            .encode_descriptor("build", "The program that answers.", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let mut page = Page(encoder);
        page.flag("ready", "Whether a new session could begin and be recorded now, as /readyz says.", self.ready)?;
        let Some(recorder) = &self.recorder else { return Ok(()) };
        recorder.journal(&mut page)?;
        recorder.shipping(&mut page)?;
        recorder.evidence(&mut page)?;
        recorder.sessions(&mut page)
    }
}

impl Recorder {
    fn journal(&self, page: &mut Page<'_>) -> Result<(), Error> {
        page.gauge("journal_used", Some(&Unit::Bytes), "What the journal holds.", self.used)?;
        page.gauge("journal_limit", Some(&Unit::Bytes), "What it may hold; then statements are refused.", self.limit)?;
        let help = "What may be added before new sessions are refused.";
        page.gauge("journal_session_room", Some(&Unit::Bytes), help, self.session_room)?;
        page.flag("journal_refusing", "Whether the last write or flush of the journal failed.", self.refusing)?;
        page.gauge("journal_flushed_entry", None, "The number of the last entry on stable storage.", self.flushed.0)
    }

    fn shipping(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let ship = &self.ship;
        // Before the journal was looked through, how far the last run had come is not known; nothing is not zero.
        if ship.surveyed {
            let help = "The number of the last entry that is in a segment which the archive confirmed.";
            page.gauge("journal_shipped_entry", None, help, ship.shipped_upto.0)?;
            let help = "Entries flushed and in no confirmed segment. Some are the recorder's own notes on segments, so a few \
                        remain when there is nothing to ship.";
            let backlog = self.flushed.0.saturating_sub(ship.shipped_upto.0);
            page.gauge("journal_backlog_entries", None, help, backlog)?;
            let help = "How long the oldest row that the archive has not confirmed has waited; 0 if there is none.";
            page.gauge("unshipped_age", Some(&Unit::Seconds), help, self.unshipped_age)?;
        }
        page.counter("segments_sealed", "Segments whose end was fixed.", ship.segments_sealed)?;
        page.counter("segments_shipped", "Segments that the archive confirmed.", ship.segments_shipped)?;
        page.counter("upload_failures", "Tries to put a file into the archive that failed.", ship.upload_failures)?;
        page.flag("shipping_failing", "Whether shipping fails at the moment and tries again.", ship.failing.is_some())?;
        let help = "Whether shipping has stopped and needs a person.";
        page.flag("shipping_stopped", help, self.stopped)?;
        let Delays { counts, total } = &ship.seal_delays;
        let bounds = Delays::BOUNDS.iter().map(|bound| f64::from(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let help = "How long the first row of a segment waited for its segment to be sealed.";
        page.0
            .encode_descriptor("seal_delay", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(total.as_secs_f64(), counts.iter().sum(), &buckets, None)
    }

    fn evidence(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let (ship, AnchorStatus { copied, stamped, conflicts }) = (&self.ship, &self.anchored);
        if ship.surveyed {
            let help = "How the evidence stands. signed: all that was sealed is signed, and copied and stamped as far as \
                        that is configured; behind: something fails and is tried again, or shipping has stopped; \
                        contradicted: another content stands under a name of ours, which needs a person.";
            let standing = self.standing();
            let states = Standing::ALL.iter().map(|state| (("state", state.as_str()), u64::from(*state == standing)));
            page.gauges("evidence_state", help, states)?;
        }
        let signed = ship.signed.as_ref().map(|signed| signed.size).or(ship.shipped.map(|segment| segment.0));
        page.known("evidence_signed_segment", "The last segment that a checkpoint in the archive covers.", signed)?;
        if let Some(Progress { size, failures, failing }) = copied {
            let help = "The last segment that a copied checkpoint covers; not there before the first of this run.";
            page.known("evidence_copied_segment", help, *size)?;
            page.counter("evidence_copy_failures", "Tries to copy a checkpoint or a stamp that failed.", *failures)?;
            let help = "Whether copying checkpoints fails at the moment and is tried again.";
            page.flag("evidence_copy_failing", help, failing.is_some())?;
            let help = "Checkpoints in whose place another content stood where they are copied to.";
            page.counter("evidence_copy_conflicts", help, *conflicts)?;
        }
        if let Some(Progress { size, failures, failing }) = stamped {
            let help = "The last segment that a stamped checkpoint covers; not there before the first of this run.";
            page.known("evidence_stamped_segment", help, *size)?;
            page.counter("evidence_stamp_failures", "Tries to have a checkpoint stamped that failed.", *failures)?;
            let help = "Whether stamping checkpoints fails at the moment and is tried again.";
            page.flag("evidence_stamp_failing", help, failing.is_some())?;
        }
        Ok(())
    }

    fn standing(&self) -> Standing {
        let AnchorStatus { copied, stamped, conflicts } = &self.anchored;
        let fails = |half: &Option<Progress>| half.as_ref().is_some_and(|half| half.failing.is_some());
        if self.ship.contradicted || *conflicts > 0 {
            Standing::Contradicted
        } else if self.stopped || self.ship.failing.is_some() || fails(copied) || fails(stamped) {
            Standing::Behind
        } else {
            Standing::Signed
        }
    }

    fn sessions(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let targets = || self.targets.iter();
        let help = "Whether the issuer gave its keys when it was last asked.";
        page.gauges(
            "issuer_up",
            help,
            self.issuers.iter().map(|(name, up)| (("issuer", name.as_str()), u64::from(*up))),
        )?;
        let open = targets().map(|target| (("target", target.name.as_str()), target.open));
        page.gauges("sessions_open", "Sessions that are open.", open)?;
        let opened = targets().map(|target| ([("target", target.name.as_str())], target.opened));
        page.counters("sessions_opened", "Sessions that were opened.", opened)?;
        let refused = targets().flat_map(|target| {
            let labels = |cause| [("target", target.name.as_str()), ("cause", cause)];
            target.refused.iter().map(move |(cause, count)| (labels(cause), *count))
        });
        page.counters("sessions_refused", "Clients that were not let in, by cause.", refused)?;
        let statements = targets().flat_map(|target| {
            let labels =
                |verdict, status| [("target", target.name.as_str()), ("decision", verdict), ("status", status)];
            target.statements.iter().map(move |(verdict, status, count)| (labels(verdict, status), *count))
        });
        page.counters("statements", "Statements that ended, by what was decided and how they ended.", statements)?;
        let unrecorded = targets().flat_map(|target| {
            let labels = |sqlstate| [("target", target.name.as_str()), ("sqlstate", sqlstate)];
            target.unrecorded.iter().map(move |(sqlstate, count)| (labels(sqlstate), *count))
        });
        let help = "What was refused because it could not be recorded: sessions (57P03), and statements and preparations \
                    of open ones (58030).";
        page.counters("entries_refused", help, unrecorded)
    }
}

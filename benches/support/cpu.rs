//! Time of the processor.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time so far, of user and system: of the whole process, threads that have ended included.
pub(crate) fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

/// The same of one clock.
pub(crate) fn cpu(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

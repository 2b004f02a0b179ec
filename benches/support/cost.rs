//! What work costs: time on the clock and time of the processor.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time so far, of user and system: of the whole process, threads that have ended included.
pub(crate) fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

/// The same of this thread.
pub(crate) fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// What a piece of work cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// On the clock.
    pub(crate) time: Duration,
    /// Of the processor.
    pub(crate) cpu: Duration,
}

/// Does the work on this thread and adds what it cost.
pub(crate) fn on_thread<T>(cost: &mut Cost, work: impl FnOnce() -> T) -> T {
    let (time, cpu) = (Instant::now(), thread_cpu());
    let done = work();
    cost.time += time.elapsed();
    cost.cpu += thread_cpu() - cpu;
    done
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

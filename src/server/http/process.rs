//! What the system says of this process, under the names all Prometheus clients use.
//!
//! Invariant: what cannot be read is left out, never told as 0. Only where there is a `/proc`.

use std::fs;

/// This process in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Process {
    /// Memory in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// Processor time used.
    pub cpu_seconds: Option<f64>,
    /// Files and sockets open.
    pub open_fds: Option<u64>,
}

/// Asks now.
pub(super) fn read() -> Process {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let page_bytes = rustix::param::page_size() as u64;
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    Process {
        resident_bytes: pages.map(|pages| pages.saturating_mul(page_bytes)),
        cpu_seconds: stat.and_then(|text| cpu_ticks(&text)).map(|ticks| ticks as f64 / ticks_per_second),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
    }
}

/// utime + stime: fields 14 and 15 of `/proc/self/stat`, counted after the name in parentheses, which may
/// hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::{cpu_ticks, read};

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_and_files() {
        let process = read();
        assert!(process.resident_bytes > Some(1 << 20) && process.open_fds >= Some(3), "{process:?}");
        assert!(process.cpu_seconds.is_some());
    }
}

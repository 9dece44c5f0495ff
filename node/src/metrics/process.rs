//! What the operating system says about this process, from `/proc`; where there is none, the figures stay 0.
//!
//! What this module deliberately does not do: network bytes, which `/proc` has only for the whole network namespace.

use std::fs;

use prometheus::{Counter, Gauge, IntGauge};

use super::{Maker, whole};

/// Figures under the names that every Prometheus client uses, and etcd's own two.
#[derive(Debug)]
pub(super) struct Process {
    cpu: Counter,
    resident: IntGauge,
    virtual_size: IntGauge,
    started: Gauge,
    open_files: [IntGauge; 2],
    open_files_max: [IntGauge; 2],
}

/// The unit of times in `/proc/self/stat`: Linux shows user space a hundredth of a second on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The most files that this process may have open; 0 where the system does not say.
pub(crate) fn open_files_max() -> i64 {
    let limits = read("self/limits").unwrap_or_default();
    after(&limits, "Max open files").unwrap_or(0.0) as i64
}

impl Process {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            cpu: make.float_counter(
                "process_cpu_seconds_total",
                "CPU time spent, user and system.",
            ),
            resident: make.gauge("process_resident_memory_bytes", "Memory that is resident."),
            virtual_size: make.gauge("process_virtual_memory_bytes", "Memory that is mapped."),
            started: make.float(
                "process_start_time_seconds",
                "When the process started, in Unix time.",
            ),
            open_files: [
                make.gauge("process_open_fds", "File descriptors in use."),
                make.gauge("os_fd_used", "File descriptors in use; etcd's name."),
            ],
            open_files_max: [
                make.gauge("process_max_fds", "The most file descriptors."),
                make.gauge("os_fd_limit", "The most file descriptors; etcd's name."),
            ],
        }
    }

    pub(super) fn observe(&self) {
        if let Some(stat) = read("self/stat").as_deref().and_then(Stat::read) {
            let more = stat.cpu_ticks / TICKS_PER_SECOND - self.cpu.get();
            // Two scrapes at once may each see the other's share; a counter never goes back.
            self.cpu.inc_by(more.max(0.0));
            let boot = read("stat")
                .as_deref()
                .and_then(|text| after(text, "btime "));
            self.started
                .set(boot.unwrap_or(0.0) + stat.start_ticks / TICKS_PER_SECOND);
        }
        let status = read("self/status").unwrap_or_default();
        set_kibibytes(&self.resident, after(&status, "VmRSS:"));
        set_kibibytes(&self.virtual_size, after(&status, "VmSize:"));
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.open_files
            .iter()
            .for_each(|gauge| gauge.set(whole(open as u64)));
        let most = open_files_max();
        self.open_files_max.iter().for_each(|gauge| gauge.set(most));
    }
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{file}")).ok()
}

/// The number that follows a label at the beginning of a line.
fn after(text: &str, label: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

fn set_kibibytes(gauge: &IntGauge, kibibytes: Option<f64>) {
    gauge.set((kibibytes.unwrap_or(0.0) * 1024.0) as i64);
}

struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
}

impl Stat {
    /// The fields after the name, which is in parentheses and may hold anything; user and system time are the 14th and 15th
    /// field, the start the 22nd.
    fn read(text: &str) -> Option<Self> {
        let fields: Vec<_> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
        })
    }
}

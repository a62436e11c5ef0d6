//! What processes have used, as the kernel counts it.

use std::fs;

/// One line about the machine: cores, load, what else is running shows in the latter.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<_> = load.split(' ').take(3).collect();
    format!("{cores} cores, load average {} before the run", load.join(" "))
}

/// CPU seconds of a process, and of its children: those that live and those it has waited for.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    let Some(own) = stat(pid) else { return 0.0 };
    let children = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let stat = stat(entry.file_name().to_str()?.parse().ok()?)?;
        (stat.parent == pid).then_some(stat.own)
    });
    own.own + own.waited_for + children.sum::<f64>()
}

/// Largest resident memory so far, MiB.
pub(super) fn memory_peak_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0) / 1024.0
}

struct Stat {
    parent: u32,
    own: f64,
    waited_for: f64,
}

/// Fields 4 and 14 to 17 of `/proc/PID/stat`: proc(5), read 2026-11-21. A tick is 10 ms on Linux.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything but ends at the last parenthesis; the field after it is the third.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let seconds = |number: usize| Some(fields.get(number - 3)?.parse::<f64>().ok()? / 100.0);
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: seconds(14)? + seconds(15)?,
        waited_for: seconds(16)? + seconds(17)?,
    })
}

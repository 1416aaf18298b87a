//! The machine's memory.

#[cfg(target_os = "linux")]
use std::fs;

/// The part of a machine's memory that a budget is by default.
const DEFAULT_SHARE: (u64, u64) = (3, 4);

/// The default budget of a machine with `memory` bytes.
pub fn share_of(memory: u64) -> u64 {
    memory / DEFAULT_SHARE.1 * DEFAULT_SHARE.0
}

/// Three quarters of the memory that this process may use; `None` where the system does not tell.
pub fn default_budget() -> Option<u64> {
    system_bytes().map(share_of)
}

/// The machine's memory, or the container's where that is less.
#[cfg(target_os = "linux")]
fn system_bytes() -> Option<u64> {
    let limit = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = limit("/sys/fs/cgroup/memory.max")
        .or_else(|| limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    let machine = total_of(&fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(group.map_or(machine, |group| group.min(machine)))
}

/// The machine's memory.
#[cfg(not(target_os = "linux"))]
fn system_bytes() -> Option<u64> {
    let output = std::process::Command::new("/usr/sbin/sysctl").args(["-n", "hw.memsize"]).output();
    std::str::from_utf8(&output.ok()?.stdout).ok()?.trim().parse().ok()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
#[cfg(any(target_os = "linux", test))]
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("MemTotal:       16384 kB\nMemFree: 1 kB\n", Some(16 << 20))]
    #[case("MemFree: 1 kB\n", None)]
    #[case("MemTotal: many kB\n", None)]
    fn the_machines_memory(#[case] meminfo: &str, #[case] expected: Option<u64>) {
        assert_eq!(total_of(meminfo), expected);
    }

    #[test]
    fn the_default_is_three_quarters() {
        assert_eq!(share_of(8 << 30), 6 << 30);
    }
}

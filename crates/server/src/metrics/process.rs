//! What the operating system says about the process; on another than Linux, nothing.

/// What is known; members that are not are left out of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Memory that is in use, in bytes.
    pub(super) resident_bytes: Option<u64>,
    /// Files and sockets that are open.
    pub(super) open_files: Option<u64>,
    /// How many may be.
    pub(super) open_files_max: Option<u64>,
}

impl Process {
    pub(super) fn look() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let open_files = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Self {
            resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1024),
            open_files,
            open_files_max: number_after(&limits, "Max open files"),
        }
    }
}

/// The first number of the line that begins so.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_lines_that_have_them() {
        let text =
            "VmPeak:\t  10 kB\nVmRSS:\t   5120 kB\nMax open files            1024                 4096\n";
        assert_eq!(number_after(text, "VmRSS:"), Some(5_120));
        assert_eq!(number_after(text, "Max open files"), Some(1_024));
        assert_eq!(number_after(text, "VmSwap:"), None);
        assert_eq!(number_after("VmRSS: unlimited", "VmRSS:"), None);
    }
}

//! What the machine gives: a folder that keeps what it is given, room, files, and files of users that can be read.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::Finding;
use crate::config::Config;
use crate::serve;

/// Less room than this stops writes soon, in bytes.
const ROOM_FAILURE: u64 = 64 * 1024 * 1024;
/// Less room than this may not do for a snapshot, in bytes.
const ROOM_WARNING: u64 = 1024 * 1024 * 1024;
/// A disk that takes longer than this to make a page durable makes every writer wait.
const SYNC_SLOW: Duration = Duration::from_millis(100);
/// Fewer open files than this are few connections.
const FILES_WARNING: u64 = 4_096;

pub(super) fn look(config: &Config, findings: &mut Vec<Finding>) {
    data_dir(&config.data_dir, findings);
    let key = config.data_dir.join("keys/signing-key.pem");
    if let Ok(about) = std::fs::metadata(&key) {
        findings.push(match about.permissions().mode() & 0o077 {
            0 => Finding::good("signing key", "only its owner may read it"),
            _ => Finding::failure(
                "signing key",
                format_args!("{} may be read by others, who could make tokens", key.display()),
                "chmod 600 the file; if somebody may have read it, remove it and restart: tokens given so far end then.",
            ),
        });
    }
    findings.push(match serve::directory(config) {
        Ok(directory) => {
            let users: usize = directory.tenants().map(|(_, tenant)| tenant.users().len()).sum();
            Finding::good("users", format_args!("{users} in the configuration and its files"))
        }
        Err(error) => Finding::failure(
            "users",
            format_args!("{error:#}"),
            "Correct the file that is named: the server does not start with it.",
        ),
    });
    let (_, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap_or_default();
    findings.push(match hard {
        ..FILES_WARNING => Finding::warning(
            "open files",
            format_args!("at most {hard}, and each connection is one"),
            "Raise the limit: LimitNOFILE= of the systemd unit, or ulimit -Hn.",
        ),
        _ => Finding::good("open files", format_args!("at most {hard}")),
    });
}

fn data_dir(folder: &Path, findings: &mut Vec<Finding>) {
    const SUBJECT: &str = "data_dir";
    let existing = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    // The server makes the folder: what counts is where it would be made.
    let started = Instant::now();
    let kept =
        tempfile::Builder::new().prefix(".presenced-doctor").tempfile_in(existing).and_then(|mut file| {
            file.write_all(&[0; 4096])?;
            file.as_file().sync_data()
        });
    let took = started.elapsed();
    findings.push(match kept {
        Err(error) => Finding::failure(
            SUBJECT,
            format_args!("nothing can be kept in {}: {error}", existing.display()),
            "Let the user the server runs as write there, or name another folder.",
        ),
        Ok(()) if took > SYNC_SLOW => Finding::warning(
            SUBJECT,
            format_args!("making a page durable in {} took {} ms", existing.display(), took.as_millis()),
            "Every write waits for that: a disk of the machine's own is better than a network's.",
        ),
        Ok(()) => Finding::good(
            SUBJECT,
            format_args!("{} keeps a page in {:.1} ms", existing.display(), took.as_secs_f64() * 1e3),
        ),
    });
    let Ok(room) = rustix::fs::statvfs(existing) else { return };
    let bytes = room.f_bavail.saturating_mul(room.f_frsize);
    let told = format!("{} MiB free", bytes / (1024 * 1024));
    let remedy = "Make room: the logs since the last snapshot, that snapshot and the next one are on the disk at once.";
    findings.push(match bytes {
        ..ROOM_FAILURE => Finding::failure("disk", told, remedy),
        ROOM_FAILURE..ROOM_WARNING => Finding::warning("disk", told, remedy),
        _ => Finding::good("disk", told),
    });
}

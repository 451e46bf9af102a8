//! The files of `deploy/`, read by the programs they are for, and the program where they put it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::site::{Process, Site, eventually};
use crate::support::BINARY;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[track_caller]
fn run(package: &str, command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    command.output().unwrap_or_else(|error| panic!("{program:?}: {error}; install the package {package}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn prometheus_reads_the_configuration_and_every_rule() {
    let deploy = root().join("deploy/prometheus");
    for (what, file) in [("rules", "alerts.yml"), ("config", "prometheus.yml")] {
        let output =
            run("prometheus", Command::new("promtool").args(["check", what, file]).current_dir(&deploy));
        let told = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success() && told.contains("SUCCESS"), "{told}");
    }
}

#[test]
fn systemd_reads_the_unit_and_finds_little_that_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("presenced.service");
    let written = std::fs::read_to_string(root().join("deploy/systemd/presenced.service")).unwrap();
    // Only where the program is differs.
    std::fs::write(&unit, written.replace("/usr/local/bin/presenced", BINARY)).unwrap();
    let output = run("systemd", Command::new("systemd-analyze").arg("verify").arg(&unit));
    let told = text(&output.stderr);
    let about_ours: Vec<&str> = told.lines().filter(|line| line.contains("presenced")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{told}");
    // 0 is closed, 100 open; what remains is the network, and ports below 1024.
    let security = ["security", "--offline=true", "--threshold=20"];
    let output = run("systemd", Command::new("systemd-analyze").args(security).arg(&unit));
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    println!("{}", told.lines().last().unwrap_or_default());
}

/// What distroless/cc has of what a program needs: the C library with its loader, and libgcc.
const IN_THE_IMAGE: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux"];

#[test]
fn the_program_runs_where_the_container_puts_it_as_nobody_on_a_file_system_that_cannot_be_written() {
    let image = std::fs::read_to_string(root().join("deploy/container/Containerfile")).unwrap();
    for line in ["FROM gcr.io/distroless/cc-debian12:nonroot", "USER nonroot", "VOLUME /var/lib/presenced"] {
        assert!(image.lines().any(|it| it == line), "{line}");
    }
    let needs = text(&run("libc-bin", Command::new("ldd").arg(BINARY)).stdout);
    let mut libraries: Vec<PathBuf> = Vec::new();
    for line in needs.lines().map(str::trim).filter(|line| !line.starts_with("linux-vdso")) {
        assert!(IN_THE_IMAGE.iter().any(|name| line.contains(name)), "the image has no {line}");
        libraries.extend(line.split(' ').find(|word| word.starts_with('/')).map(PathBuf::from));
    }
    assert!(libraries.len() >= 3, "{needs}");

    if !rustix::process::geteuid().is_root() {
        println!("not run as in the container: that takes root, for unshare and chroot");
        return;
    }
    let mut site = Site::new();
    site.configure("", "");
    let config = std::fs::read_to_string(site.path("presenced.toml")).unwrap();
    // As in the container: configuration below /etc, data on a volume.
    site.write("presenced.toml", &config.replace("\"data\"", "\"/var/lib/presenced\""));
    let rootfs = site.folder.path().join("root");
    for folder in ["etc/presenced", "var/lib/presenced", "usr/local/bin"] {
        std::fs::create_dir_all(rootfs.join(folder)).unwrap();
    }
    for library in &libraries {
        let to = rootfs.join(library.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(library, to).unwrap();
    }
    std::fs::copy(BINARY, rootfs.join("usr/local/bin/presenced")).unwrap();
    // The image has the authorities of Debian.
    let authorities = "etc/ssl/certs/ca-certificates.crt";
    std::fs::create_dir_all(rootfs.join("etc/ssl/certs")).unwrap();
    std::fs::copy(Path::new("/").join(authorities), rootfs.join(authorities))
        .expect("install the package ca-certificates");
    for file in ["presenced.toml", "secret", "users.csv"] {
        std::fs::copy(site.path(file), rootfs.join("etc/presenced").join(file)).unwrap();
    }
    for folder in [site.folder.path(), &rootfs] {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
    // The volume is the user's; all else is bound read-only over itself.
    let script = "set -e; cd \"$1\"; mount --bind . .; cd \"$1\"; mkdir -p ../volume; chown 65532:65532 ../volume; \
                  mount --bind ../volume var/lib/presenced; mount -o remount,ro,bind .; \
                  ! touch etc/x 2>/dev/null; \
                  exec chroot --userspec=65532:65532 . /usr/local/bin/presenced serve --config /etc/presenced/presenced.toml";
    let child = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh", rootfs.to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    site.server = Some(Process(child));
    eventually("it answers", || site.is_ready().then_some(()));
    let token = site.token();
    site.set(&token, crate::support::USER_A, ("Busy", "InACall"));
    assert_eq!(site.activity(&token, crate::support::USER_A), "InACall");
    site.server.take().unwrap().terminate();
    assert!(site.folder.path().join("volume/store").is_dir(), "kept on the volume");
    assert!(!rootfs.join("var/lib/presenced/store").exists(), "and nowhere else");
}

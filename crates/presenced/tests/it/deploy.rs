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

/// Whether this process may have file systems and a network of its own.
fn may_unshare() -> bool {
    let mut unshare = Command::new("unshare");
    let tried = unshare.args(["--mount", "--net", "--pid", "--mount-proc", "--fork", "true"]).output();
    rustix::process::geteuid().is_root() && tried.is_ok_and(|tried| tried.status.success())
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

    if !may_unshare() {
        println!("not run as in the container: that takes root and the right to unshare and mount");
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

/// Programs of the guide that a test cannot have as they are: who builds, who becomes root, who starts services.
const STAND_INS: &str = r#"
set -eu
mount -t tmpfs none /mnt
for folder in /etc /usr/local /var/lib; do
    mkdir -p /mnt/upper$folder /mnt/work$folder
    mount -t overlay -o lowerdir=$folder,upperdir=/mnt/upper$folder,workdir=/mnt/work$folder none $folder
done
ip link set lo up
echo 127.0.0.1 presence.example.org localhost > /etc/hosts
mkdir -p /etc/prometheus /mnt/bin
export PATH=/mnt/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
cat > /mnt/bin/cargo <<'END'
#!/bin/sh
[ "$*" = "build --release --locked" ]
END
cat > /mnt/bin/apt-get <<'END'
#!/bin/sh
[ "$*" = "install -y prometheus" ] && command -v prometheus
END
cat > /mnt/bin/sudo <<'END'
#!/bin/sh
if [ "$1" = -u ]; then
    user=$2; shift 2
    exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"
fi
exec "$@"
END
cat > /mnt/bin/systemctl <<'END'
#!/bin/sh
case "$*" in
    daemon-reload) systemd-analyze verify /etc/systemd/system/presenced.service ;;
    "enable --now presenced")
        # What the unit says of user, privilege, state and umask.
        install -d -m 700 -o presenced -g presenced /var/lib/presenced
        line=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/presenced.service)
        (umask 077; cd /var/lib/presenced; exec setpriv --reuid=presenced --regid=presenced --clear-groups \
            --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service $line) 2>/mnt/log &
        ;;
    "restart prometheus")
        prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/mnt/tsdb --web.listen-address=127.0.0.1:9090 2>/mnt/prometheus.log & ;;
    *) echo "systemctl $*?" >&2; exit 1 ;;
esac
END
chmod +x /mnt/bin/*
cd "$1"
"#;

/// What shows that it has led there.
const AT_THE_END: &str = r#"
set +x
for look in $(seq 600); do
    up=$(curl --silent 'http://127.0.0.1:9090/api/v1/query?query=up%7Bjob%3D%22presenced%22%7D' || true)
    case "$up" in *'"1"]'*) break ;; esac
    sleep 0.1
done
echo; echo "UP $up"
curl --silent http://127.0.0.1:9090/api/v1/rules | grep -o PresencedDown
ls /var/lib/presenced/backup-1
"#;

#[test]
fn the_first_page_of_the_operators_guide_leads_from_nothing_to_a_monitored_server() {
    let guide = std::fs::read_to_string(root().join("docs/operate.md")).unwrap();
    let page = guide.split("\n## From nothing to a monitored server behind TLS\n").nth(1).unwrap();
    let page = page.split("\n## ").next().unwrap();
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert_eq!(blocks.len(), 8);
    if !may_unshare() {
        println!("not followed: that takes root and the right to unshare and mount");
        return;
    }
    // A checkout with a program that is built, as far as the guide looks.
    let checkout = tempfile::tempdir().unwrap();
    let here = checkout.path();
    std::fs::set_permissions(here, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(here.join("target/release")).unwrap();
    std::os::unix::fs::symlink(BINARY, here.join("target/release/presenced")).unwrap();
    std::os::unix::fs::symlink(root().join("deploy").canonicalize().unwrap(), here.join("deploy")).unwrap();
    let script = format!("{STAND_INS}\nset -x\n{}\n{AT_THE_END}", blocks.join("\n"));
    // In a network, file systems and processes of its own: nothing of it is left behind.
    let output = run(
        "util-linux",
        Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--pid",
                "--mount-proc",
                "--fork",
                "--kill-child",
                "bash",
                "-c",
                &script,
                "bash",
            ])
            .arg(here),
    );
    let told = text(&output.stdout);
    let steps = text(&output.stderr);
    assert!(output.status.success(), "{told}\n{steps}");
    assert!(
        told.contains("the configuration is good") && told.contains("\"activity\":\"InACall\""),
        "{told}"
    );
    assert!(!told.contains("FAILURE") && told.contains("good     certificate"), "{told}");
    let end = told.split("\nUP ").nth(1).unwrap_or_else(|| panic!("{told}\n{steps}"));
    assert!(
        end.contains("\"1\"]") && end.contains("PresencedDown") && end.contains("store"),
        "{end}\n{steps}"
    );
}

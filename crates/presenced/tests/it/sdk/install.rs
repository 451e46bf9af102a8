//! Installs what a client is made of, once, below `target`; the next run finds it there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::sdk::pages::{PAGES, program};

/// The runners, one folder for each client, and the scenarios.
pub(crate) const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk");

/// One at a time: installs share caches and the machine.
static TURN: Mutex<()> = Mutex::new(());

/// An environment with the Python SDKs in it: the interpreter.
///
/// # Errors
/// What is missing.
pub(crate) fn python() -> Result<PathBuf, String> {
    let requirements = format!("{SOURCES}/python/requirements.txt");
    let folder = cache("python");
    let python = folder.join("bin/python");
    once(&folder, &[&requirements], || {
        let _ = std::fs::remove_dir_all(&folder);
        run(
            Command::new("python3").args(["-m", "venv"]).arg(&folder),
            "python3 with its venv module is needed (Debian: python3-venv)",
        )?;
        let install = ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"];
        run(
            Command::new(&python).args(install).args(["--no-deps", "-r", &requirements]),
            "PyPI must be reachable",
        )
    })?;
    Ok(python)
}

/// A folder with a Node client: its runner, and what its lock file names.
///
/// # Errors
/// What is missing.
pub(crate) fn node(client: &str) -> Result<PathBuf, String> {
    let folder = cache(client);
    let sources = format!("{SOURCES}/{client}");
    let lock = format!("{sources}/package-lock.json");
    once(&folder, &[&lock], || {
        copy(Path::new(&sources), &folder);
        let install = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"];
        run(
            Command::new("npm").args(install).current_dir(&folder),
            "npm 9 or later (Debian: npm) and its registry are needed",
        )
    })?;
    copy(Path::new(&sources), &folder);
    copy(Path::new(&format!("{SOURCES}/node")), &folder);
    Ok(folder)
}

/// The Java client: its libraries by Maven, its runner by javac. The class path.
///
/// # Errors
/// What is missing.
pub(crate) fn java() -> Result<String, String> {
    let folder = cache("java");
    let (pom, runner) = (format!("{SOURCES}/java/pom.xml"), format!("{SOURCES}/java/RunScenarios.java"));
    let path = format!("{0}/classes:{0}/lib/*", folder.display());
    once(&folder, &[&pom, &runner], || {
        let _ = std::fs::remove_dir_all(&folder);
        copy(Path::new(&format!("{SOURCES}/java")), &folder);
        let libraries = ["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"];
        run(
            Command::new("mvn").args(libraries).current_dir(&folder),
            "Maven (Debian: maven) and Maven Central are needed",
        )?;
        let compile = ["-proc:none", "-cp", &path, "-d", "classes", "RunScenarios.java"];
        run(Command::new("javac").args(compile).current_dir(&folder), "a JDK 17 or later is needed")
    })?;
    Ok(path)
}

/// The Go client: the folder with its runner, `run_scenarios`, and the program of its page, `presence`, compiled. The SDK is packages
/// of a hundred thousand types, which take minutes from cold, also without optimization. They are compiled where somebody
/// asks for it, and then found there.
///
/// # Errors
/// What is missing.
pub(crate) fn go() -> Result<PathBuf, String> {
    let (sources, folder) = (format!("{SOURCES}/go"), cache("go"));
    let mut files = ["main.go", "go.mod", "go.sum"].map(|file| format!("{sources}/{file}")).to_vec();
    files.push(format!("{PAGES}/go.md"));
    once(&folder, &files.iter().map(String::as_str).collect::<Vec<_>>(), || {
        #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
        let asked = std::env::var_os("PRESENCED_TEST_GO").is_some();
        if !asked {
            return Err(
                "compiling msgraph-sdk-go takes minutes from cold; PRESENCED_TEST_GO=1 has it compiled"
                    .to_owned(),
            );
        }
        copy(Path::new(&sources), &folder);
        std::fs::create_dir_all(folder.join("page")).unwrap();
        std::fs::write(folder.join("page/main.go"), program("go", "go").0).unwrap();
        let flags = ["build", "-mod=readonly", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o"];
        [("run_scenarios", "."), ("presence", "./page")].into_iter().try_for_each(|(binary, package)| {
            let mut build = Command::new("go");
            build.args(flags).args([binary, package]).current_dir(&folder);
            run(&mut build, "Go 1.25 or later and the Go module proxy are needed")
        })
    })?;
    Ok(folder)
}

/// The C# client: its libraries from NuGet, compiled. The assembly for `dotnet`.
///
/// # Errors
/// What is missing.
pub(crate) fn csharp() -> Result<PathBuf, String> {
    let (sources, folder) = (format!("{SOURCES}/csharp"), cache("csharp"));
    let files = ["sdk-csharp.csproj", "RunScenarios.cs"].map(|file| format!("{sources}/{file}"));
    once(&folder, &[&files[0], &files[1]], || {
        copy(Path::new(&sources), &folder);
        let build = ["build", "--nologo", "-v", "quiet", "-c", "Release", "-o", "out"];
        run(Command::new("dotnet").args(build).current_dir(&folder), "the .NET SDK 8 and NuGet are needed")
    })?;
    Ok(folder.join("out/sdk-csharp.dll"))
}

/// The PHP client: its libraries from Packagist. The folder with its runner.
///
/// # Errors
/// What is missing.
pub(crate) fn php() -> Result<PathBuf, String> {
    let (sources, folder) = (format!("{SOURCES}/php"), cache("php"));
    once(&folder, &[&format!("{sources}/composer.json")], || {
        copy(Path::new(&sources), &folder);
        let install = ["install", "--no-interaction", "--no-progress", "--no-dev", "--quiet"];
        run(
            Command::new("composer").args(install).current_dir(&folder),
            "PHP 8.1 (Debian: php-cli, php-curl, php-mbstring, php-xml), composer and Packagist are needed",
        )
    })?;
    copy(Path::new(&sources), &folder);
    Ok(folder)
}

/// Where a client is installed.
pub(crate) fn cache(client: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk").join(client)
}

/// Does `install` unless it was done for these files as they are.
pub(crate) fn once(
    folder: &Path,
    files: &[&str],
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let marker = folder.join("installed.txt");
    if std::fs::read_to_string(&marker).ok().as_deref() == Some(&wanted) {
        return Ok(());
    }
    install()?;
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(marker, wanted).unwrap();
    Ok(())
}

/// Copies the files of a folder, not those of its folders, where they have changed.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let (new, target) = (std::fs::read(entry.path()).unwrap(), to.join(entry.file_name()));
            if std::fs::read(&target).ok().as_ref() != Some(&new) {
                std::fs::write(target, new).unwrap();
            }
        }
    }
}

/// Runs a command that installs something; what it says is shown only when it fails.
///
/// # Errors
/// `needs`, and the end of what the command said.
pub(crate) fn run(command: &mut Command, needs: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{needs}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().rev().take(5).collect();
    Err(format!("{needs}: {}", lines.into_iter().rev().collect::<Vec<_>>().join(" | ")))
}

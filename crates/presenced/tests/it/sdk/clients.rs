//! The clients of the matrix: what each is, how its runner is started, and how much it must be able to do.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use crate::sdk::install::{self, SOURCES};

/// One row of the matrix.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    /// Whether the row must be complete wherever the tests run.
    pub(crate) must_run: bool,
    /// Scenarios of which the client's API cannot express a step; the runner says which and why. `None` where nobody has
    /// counted them yet, more than one number where it is a matter of luck.
    pub(crate) cannot: Option<RangeInclusive<usize>>,
    /// Whether it sends compressed bodies.
    pub(crate) compresses: bool,
    /// Installs the client, and answers with the command that runs the scenarios.
    pub(crate) runner: fn() -> Result<Command, String>,
}

/// Every official client, in the order of the table.
pub(crate) const CLIENTS: &[Client] = &[
    Client {
        name: "Python msgraph-sdk + azure-identity",
        must_run: true,
        cannot: Some(2..=2),
        compresses: false,
        runner: || python("python/run_scenarios.py"),
    },
    Client {
        name: "Python O365",
        must_run: true,
        cannot: Some(1..=1),
        compresses: false,
        runner: || python("python/run_scenarios_o365.py"),
    },
    Client {
        name: "JavaScript microsoft-graph-client + MSAL",
        must_run: true,
        cannot: Some(0..=0),
        compresses: false,
        runner: || node("javascript", &["run_scenarios.mjs"]),
    },
    Client {
        name: "TypeScript msgraph-sdk (Kiota)",
        must_run: true,
        cannot: Some(2..=2),
        compresses: false,
        runner: || node("typescript", &["--import", "tsx", "run_scenarios.ts"]),
    },
    Client {
        name: "PnP graph",
        must_run: true,
        cannot: Some(1..=1),
        compresses: false,
        runner: || node("pnp", &["run_scenarios.mjs"]),
    },
    Client {
        name: "Java microsoft-graph + azure-identity",
        must_run: false,
        cannot: Some(4..=4),
        compresses: false,
        runner: java,
    },
    Client {
        name: "Go msgraph-sdk-go + azidentity",
        must_run: false,
        // kiota-http-go keeps its middlewares in a map, whose order is another in each process: where the one that tries again
        // comes before the one that compresses, the second try has no body.
        cannot: Some(4..=5),
        compresses: true,
        runner: || install::go().map(|folder| Command::new(folder.join("run_scenarios"))),
    },
    Client {
        name: "C# Microsoft.Graph + Azure.Identity",
        must_run: false,
        cannot: None,
        compresses: false,
        runner: || {
            let mut command = Command::new("dotnet");
            command.arg(install::csharp()?);
            Ok(command)
        },
    },
    Client {
        name: "PHP microsoft-graph",
        must_run: false,
        cannot: None,
        compresses: false,
        runner: || {
            let mut command = Command::new("php");
            command.arg(install::php()?.join("run_scenarios.php"));
            Ok(command)
        },
    },
];

fn java() -> Result<Command, String> {
    let mut command = Command::new("java");
    command.arg("-cp").arg(install::java()?).arg("RunScenarios");
    Ok(command)
}

fn python(script: &str) -> Result<Command, String> {
    let mut command = Command::new(install::python()?);
    // The SDK has thousands of modules: compiled once, they are kept beside it.
    command.env_remove("PYTHONDONTWRITEBYTECODE").arg(Path::new(SOURCES).join(script));
    Ok(command)
}

fn node(client: &str, arguments: &[&str]) -> Result<Command, String> {
    let mut command = Command::new("node");
    command.args(arguments).current_dir(install::node(client)?);
    Ok(command)
}

//! What the log looks like. What is said is the business of whoever says it; never a token or a message text.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::args::{LogArgs, LogFormat};

/// Starts logging to standard error.
///
/// # Errors
/// A filter that cannot be understood.
pub(crate) fn start(args: &LogArgs, default: LogFormat) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&args.log).map_err(|error| anyhow::anyhow!("--log {:?}: {error}", args.log))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    match args.log_format.unwrap_or(default) {
        LogFormat::Human => {
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).compact().init();
        }
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
    }
    Ok(())
}

//! The command line: every command, option and environment variable, and nothing that acts on them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

/// A presence server that speaks the Microsoft Graph presence API.
///
/// `presenced dev` starts an emulator with demo users: no account, no configuration, and a clock you can move.
/// `presenced serve` runs your own server. The other commands talk to a running one.
#[derive(Debug, Parser)]
#[command(name = "presenced", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start an emulator with demo users, HTTPS and HTTP on loopback, and a clock that can be moved.
    Dev(DevArgs),
    /// Run a command against a fresh in-memory emulator, and exit with its status.
    ///
    /// The command finds the emulator in PRESENCED_URL (HTTPS), PRESENCED_HTTP_URL, PRESENCED_CA (PEM file),
    /// PRESENCED_TENANT, PRESENCED_CLIENT_ID, PRESENCED_CLIENT_SECRET, PRESENCED_APP_TOKEN, PRESENCED_USER_A,
    /// PRESENCED_USER_B and PRESENCED_USER_A_TOKEN; a certificate for a receiver of notifications on this machine in
    /// PRESENCED_RECEIVER_CERTIFICATE and PRESENCED_RECEIVER_KEY; azure-identity in AZURE_AUTHORITY_HOST, AZURE_TENANT_ID, AZURE_CLIENT_ID
    /// and AZURE_CLIENT_SECRET. OpenSSL, Python, Node, Go, Java, .NET, PHP and curl are told to trust it by SSL_CERT_FILE,
    /// REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, NODE_EXTRA_CA_CERTS, JAVA_TOOL_OPTIONS and PHP_INI_SCAN_DIR, besides what they
    /// trusted before. SIGINT, SIGTERM and SIGHUP are passed on.
    Exec(ExecArgs),
    /// Run a server as its configuration file says.
    Serve(ServeArgs),
    /// List the nodes that share the store of a configuration, and what each works on.
    Nodes(NodesArgs),
    /// Carry what a server keeps from its data folder to the engine of its configuration, or back.
    ///
    /// What is there already is compared and only differences are written, so it can be run while servers run and once more
    /// when they have stopped. In the end every record is read from both and compared.
    Migrate(MigrateArgs),
    /// Copy what a server keeps, while it runs or not: presence, directory and keys.
    ///
    /// The copy is opened to see that it is whole. It has everything that was answered before the command began.
    Backup(BackupArgs),
    /// Put a backup back into a data folder that has neither store nor keys.
    Restore(RestoreArgs),
    /// Look for what is or will soon be wrong with a server's set-up, and say what to do about it.
    ///
    /// Configuration, users, certificate, folder and disk, ports, clock, and the server as its clients reach it. It changes
    /// nothing and may run beside the server, best as the user the server runs as. Exits with 1 when something does not work.
    Doctor(DoctorArgs),
    /// Print the certificate authority of `presenced dev` as PEM, to be trusted by clients.
    Ca(CaArgs),
    /// List or rotate the keys that the embedded issuer signs tokens with; a running server follows within seconds.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look at or move the clock of a running emulator.
    Clock(ClockArgs),
    /// Get an access token from a running server.
    Token(TokenArgs),
    /// Show the presence of users.
    Get(GetArgs),
    /// Set a user's presence session of this application.
    Set(SetArgs),
    /// Clear a user's presence session of this application.
    Clear(ClearArgs),
    /// Say why a user is shown as they are.
    Explain(ExplainArgs),
    /// Show what was shown of a user over a period, how long, and who wrote: where the server keeps a history.
    History(HistoryArgs),
    /// Print changes of presence as they happen.
    Watch(WatchArgs),
    /// Read the body of a notification as its receiver should: decrypt the content, check the validation tokens.
    ///
    /// Works on its own: no server is needed, unless --jwks names one.
    Decrypt(DecryptArgs),
    /// Work on the directory of users.
    #[command(subcommand)]
    Users(UsersCommand),
    /// Work on the applications of a running server, as an administrator.
    #[command(subcommand)]
    App(AppCommand),
    /// Work on the tenants of a running server, as an administrator of its host tenant.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// List the subscriptions to change notifications, as an administrator.
    Subscriptions(SubscriptionsArgs),
    /// Show what was delivered to a subscription of late, or deliver it again, as an administrator.
    Deliveries(DeliveriesArgs),
    /// Print shell completions.
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Address of the HTTPS listener; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7443", value_name = "ADDRESS")]
    pub(crate) https: SocketAddr,
    /// Address of the plain HTTP listener; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7080", value_name = "ADDRESS")]
    pub(crate) http: SocketAddr,
    /// Address of a listener with nothing but Prometheus metrics, at /metrics; none when left out.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Keep nothing: presence, keys and certificates end with the process.
    #[arg(long)]
    pub(crate) in_memory: bool,
    /// Keep presence in Redis or Valkey instead, at this redis:// or rediss:// URL: to try what `serve` does there.
    ///
    /// Whatever the engine may lose is accepted. Keys and certificates stay in the data folder.
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// What the names of all keys in that engine begin with.
    #[arg(long, default_value = "presenced-dev", value_name = "PREFIX", requires = "store")]
    pub(crate) store_prefix: String,
    /// Stand in for graph.microsoft.com and login.microsoftonline.com, for programs whose addresses cannot be changed.
    ///
    /// The server's certificate then names them, too. It comes from a certificate authority of its own, so that trusting the
    /// usual one never means trusting these names. See docs/sdks/hosts-file.md.
    #[arg(long)]
    pub(crate) as_graph: bool,
    /// How far to go beyond what the reference documents: `graph` refuses what is documented as refused, `extended` also
    /// lets applications write work locations and read more than 650 users at once.
    #[arg(long, env = "PRESENCED_PROFILE", default_value_t, value_name = "PROFILE")]
    pub(crate) profile: graph::Profile,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DataArgs {
    /// Where the emulator keeps presence, keys and its certificate authority.
    ///
    /// [default: `presenced/dev` in the user's data folder]
    #[arg(long, env = "PRESENCED_DATA_DIR", value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    #[arg(long, env = "XDG_DATA_HOME", hide = true)]
    pub(crate) xdg_data_home: Option<PathBuf>,
    #[arg(long, env = "HOME", hide = true)]
    pub(crate) home: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LogArgs {
    /// How log lines look: `human` is the default of dev, `json` of serve.
    #[arg(long, env = "PRESENCED_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: a level (error, warn, info, debug, trace) or a filter such as `info,server=debug`.
    #[arg(long, env = "PRESENCED_LOG", default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// The configuration file, with `data_dir` and the `store` of the engine.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Where from.
    #[arg(long, value_enum)]
    pub(crate) from: Keeper,
    /// Where to.
    #[arg(long, value_enum)]
    pub(crate) to: Keeper,
    /// A folder with a store instead of the one in `data_dir`, such as a backup of a server that runs.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) folder: Option<PathBuf>,
}

/// A place for presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keeper {
    /// The store in `data_dir`.
    Embedded,
    /// The engine that `store` names.
    Redis,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Show the emulator's own log on standard error.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Append every Graph request and its answer to this file, as lines of JSON: method, path, headers without the token,
    /// status and body.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// The command and its arguments, after `--`.
    #[arg(required = true, last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// What the command would have trusted without us. Only the environment says it.
#[derive(Debug, Default, Args)]
pub(crate) struct TrustArgs {
    #[arg(env = "SSL_CERT_FILE", hide = true, long)]
    pub(crate) ssl_cert_file: Option<PathBuf>,
    #[arg(env = "REQUESTS_CA_BUNDLE", hide = true, long)]
    pub(crate) requests_ca_bundle: Option<PathBuf>,
    #[arg(env = "CURL_CA_BUNDLE", hide = true, long)]
    pub(crate) curl_ca_bundle: Option<PathBuf>,
    #[arg(env = "NODE_EXTRA_CA_CERTS", hide = true, long)]
    pub(crate) node_extra_ca_certs: Option<PathBuf>,
    #[arg(env = "JAVA_TOOL_OPTIONS", hide = true, long, allow_hyphen_values = true)]
    pub(crate) java_tool_options: Option<std::ffi::OsString>,
    #[arg(env = "PHP_INI_SCAN_DIR", hide = true, long)]
    pub(crate) php_ini_scan_dir: Option<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file.
    #[arg(long, env = "PRESENCED_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Keep nothing: presence ends with the process. For trying a configuration out.
    #[arg(long)]
    pub(crate) in_memory: bool,
    /// Read the configuration, say what is wrong with it, and exit.
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The configuration file of the server.
    #[arg(long, env = "PRESENCED_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Where to: a folder that is empty or not there yet. Whoever can read it can make tokens.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The configuration file of the server, which must not be running.
    #[arg(long, env = "PRESENCED_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// The folder that `backup` wrote.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) from: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The configuration file.
    #[arg(long, env = "PRESENCED_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// PEM file with the certificate authority to trust when the server is asked by its public URL.
    #[arg(long, env = "PRESENCED_CA", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CaArgs {
    /// The authority of `dev --as-graph`.
    #[arg(long)]
    pub(crate) as_graph: bool,
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the keys: which one signs, and until when the others are believed.
    List {
        #[command(flatten)]
        folder: KeysArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Sign with a new key from now on; tokens of the old ones are believed for a while.
    Rotate {
        /// How long they are: PT0S ends them, and their tokens, at once; the default is PT25H, longer than any token lives.
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        #[command(flatten)]
        folder: KeysArgs,
    },
}

/// Whose keys: a server's by its configuration, or else the emulator's.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// The configuration file of the server.
    #[arg(long, env = "PRESENCED_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// How to reach a running server, and as whom.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Base URL of the server, without version.
    #[arg(
        long,
        global = true,
        env = "PRESENCED_HTTP_URL",
        default_value = "http://127.0.0.1:7080",
        value_name = "URL"
    )]
    pub(crate) url: String,
    /// PEM file with the certificate authority to trust besides the usual ones.
    #[arg(long, global = true, env = "PRESENCED_CA", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,
    /// Access token to use. Without one, client id and secret are used, or else the emulator is asked for one.
    #[arg(long, global = true, env = "PRESENCED_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Tenant to sign in to.
    #[arg(long, global = true, env = "PRESENCED_TENANT", value_name = "GUID")]
    pub(crate) tenant: Option<String>,
    /// Client id to sign in with.
    #[arg(long, global = true, env = "PRESENCED_CLIENT_ID", value_name = "GUID")]
    pub(crate) client_id: Option<String>,
    /// Client secret to sign in with.
    #[arg(
        long,
        global = true,
        env = "PRESENCED_CLIENT_SECRET",
        hide_env_values = true,
        allow_hyphen_values = true,
        value_name = "SECRET"
    )]
    pub(crate) client_secret: Option<String>,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print JSON, as the server sent it.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// How to reach a running server as an administrator.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminArgs {
    /// Work in this tenant instead of one's own; for administrators of the host tenant.
    #[arg(long, value_name = "GUID")]
    pub(crate) of_tenant: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How an application signs itself and users in.
#[derive(Debug, Args)]
pub(crate) struct SignInArgs {
    /// Where a server or program is sent users back to after a sign-in, such as http://localhost; may be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) redirect_uri: Vec<String>,
    /// The same for a page, whose origin may then read the API's answers; may be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) spa_redirect_uri: Vec<String>,
    /// Sign users in without a secret, as programs on a desk and devices do.
    #[arg(long)]
    pub(crate) public_client: bool,
    /// PEM file of a certificate to sign assertions with instead of showing the secret; may be repeated.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) certificate: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Add an application; its secret is generated and shown this once.
    Add {
        /// A name for people.
        name: String,
        /// Client id; a new one when left out.
        #[arg(long, value_name = "GUID")]
        id: Option<String>,
        /// Application permission, such as Presence.ReadWrite.All or Presenced.Provisioning; may be repeated.
        #[arg(long)]
        role: Vec<String>,
        /// Delegated permission, such as Presence.ReadWrite; may be repeated.
        #[arg(long)]
        scope: Vec<String>,
        #[command(flatten)]
        sign_in: SignInArgs,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List the applications.
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove an application: it gets no more tokens, and those it has end with their time.
    Remove {
        /// Client id.
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Give an application a new secret; the ones it has go on for a while.
    RotateSecret {
        /// Client id.
        id: String,
        /// How long they go on: PT0S ends them at once, the default is PT24H.
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Add a tenant.
    Add {
        /// A name for people.
        name: String,
        /// The tenant's id; a new one when left out.
        #[arg(long, value_name = "GUID")]
        id: Option<String>,
        #[command(flatten)]
        settings: TenantSettings,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List the tenants.
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Change a tenant.
    Set {
        /// The tenant's id.
        id: String,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: TenantSettings,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a tenant with its users, their presence, and its applications.
    Remove {
        /// The tenant's id.
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TenantSettings {
    /// Domain name by which clients may address the tenant; may be repeated, and replaces those it has.
    #[arg(long)]
    pub(crate) domain: Option<Vec<String>>,
    /// Tenant that this one trusts; may be repeated, and replaces those it trusts. Presence is seen where both do.
    #[arg(long, value_name = "GUID")]
    pub(crate) trust: Option<Vec<String>>,
    /// Requests an application may make in 30 seconds; 0 takes the tenant's own limit back.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) requests_per_30_seconds: Option<u32>,
    /// TOML file with the tenant's own issuers as `[[issuer]]`, each as `[[tenant.issuer]]` of a configuration; they replace
    /// those it has, and none gives it back to the embedded issuer.
    #[arg(long, value_name = "FILE")]
    pub(crate) issuers: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ClockArgs {
    #[command(subcommand)]
    pub(crate) action: Option<ClockAction>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClockAction {
    /// Show the time (the default).
    Show,
    /// Move the time forward by a duration, such as PT5M.
    Advance {
        /// ISO 8601 duration.
        duration: String,
    },
    /// Move the time forward to an instant, such as 2026-03-02T08:00:00Z.
    Set {
        /// RFC 3339 instant.
        time: String,
    },
    /// Stop the time.
    Freeze,
    /// Let the time go on.
    Resume,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// A delegated token of this demo user (object id or user principal name) instead of an application token. Only an
    /// emulator hands these out.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Object ids or user principal names.
    #[arg(required = true, value_name = "USER")]
    pub(crate) users: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Object id or user principal name.
    pub(crate) user: String,
    /// Availability, or the pair: `Available`, `Away`, `Busy/InACall`, `DoNotDisturb/Presenting`.
    pub(crate) presence: String,
    /// How long the session lives without another `set`: PT5M to PT4H.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) expiration: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// Object id or user principal name.
    pub(crate) user: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Object id or user principal name.
    pub(crate) user: String,
    /// The instant to explain, such as 2026-03-02T08:00:00Z: as it was since the last change of the user's record, and before
    /// that where the server keeps a history; or as it will be if nobody writes. Now when left out.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Object id or user principal name.
    pub(crate) user: String,
    /// Where the period begins, such as 2026-03-02T08:00:00Z. A day before its end when left out.
    #[arg(long, value_name = "TIME", conflicts_with = "at")]
    pub(crate) from: Option<String>,
    /// Where it ends. Now when left out.
    #[arg(long, value_name = "TIME", conflicts_with = "at")]
    pub(crate) to: Option<String>,
    /// Only what was shown at this instant.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Object ids or user principal names; none: everybody, if the token may.
    #[arg(value_name = "USER")]
    pub(crate) users: Vec<String>,
    /// Go on after this position instead of beginning with how everybody is shown now.
    #[arg(long, value_name = "POSITION")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DecryptArgs {
    /// PEM file with the RSA private key of the subscription's certificate; repeat it while certificates are exchanged.
    #[arg(long, required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Vec<PathBuf>,
    /// File with the certificate that the subscription was created with, to compare thumbprints.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) certificate: Option<PathBuf>,
    /// The issuer's key set, to verify validation tokens: a file, or a URL such as
    /// `https://127.0.0.1:7443/common/discovery/v2.0/keys`.
    #[arg(long, value_name = "URL|FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) jwks: Option<String>,
    /// PEM file with the certificate authority to trust for that URL, besides the usual ones.
    #[arg(long, env = "PRESENCED_CA", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,
    /// Application id that validation tokens must be meant for.
    #[arg(long, requires = "jwks", value_name = "GUID")]
    pub(crate) app: Option<String>,
    /// The body of a notification, as it was posted; `-` reads standard input.
    #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SubscriptionsArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeliveriesArgs {
    /// Id of the subscription.
    #[arg(value_name = "SUBSCRIPTION")]
    pub(crate) subscription: String,
    /// Deliver the changes after this position again, as a stream, `changes` or an earlier delivery told it.
    #[arg(long, value_name = "POSITION")]
    pub(crate) replay_from: Option<String>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Import users from a CSV or JSON file; those that exist are replaced.
    ///
    /// Into a running emulator, or with --config into the data folder of a server that is not running.
    Import {
        /// CSV with a header line, or JSON: an array of users, or an object with `value`. `-` reads standard input.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Format of the file; told from its name when left out.
        #[arg(long, value_enum)]
        format: Option<ImportFormat>,
        /// Configuration of the server whose data folder to import into.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        config: Option<PathBuf>,
        /// Tenant to import into, when the configuration has several.
        #[arg(long, value_name = "GUID", id = "import-tenant")]
        into: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a user from a running server, with presence and sessions, as an administrator.
    Remove {
        /// Object id or user principal name.
        user: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List the users of a running server.
    List {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    Csv,
    Json,
}

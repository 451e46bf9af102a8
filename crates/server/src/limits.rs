//! Every bound of the door: bodies, headers, connections, time. The contract's own numbers are in `presence::limits` and
//! `graph`; these are ours unless a source is named.

use std::time::Duration;

/// Largest request body, in bytes, as sent and again after decompression: the usual figure of Graph (presence-api §13.2).
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a client may take to send a body.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to send the head of a request, and how long a connection may idle between two.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take for the TLS handshake.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes: an over-long token is still read, to be refused with its proper error.
pub const HEADER_BYTES_MAX: usize = 128 * 1024;
/// Header fields of one request.
pub const HEADERS_MAX: usize = 100;
/// Connections open at a time, over all listeners, unless configured; the next one is told 503 and closed.
pub const CONNECTIONS_MAX: u32 = 16_384;
/// HTTP/2 requests in flight at a time, over all connections, unless configured; the next one is told 503.
pub const STREAMS_MAX: u32 = 16_384;
/// Connections at a time whose one request is answered with a refusal, or as a health check, when there is no room.
pub const TURNED_AWAY_MAX: usize = 512;
/// How long such a connection may take.
pub const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// When those may come again who are refused for want of room, in seconds.
pub const OVERLOAD_RETRY_SECS: u32 = 1;
/// Bodies longer than [`LARGE_BODY_BYTES`] in memory at a time; whoever brings another one is told 503.
pub const LARGE_BODIES_MAX: usize = 64;
/// What a usual body is below, in bytes: a read of 650 people has 25 kB.
pub const LARGE_BODY_BYTES: usize = 64 * 1024;
/// HTTP/2 requests in flight on one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// How often an HTTP/2 connection is asked whether it is still there.
pub const HTTP2_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long requests in flight may take to finish when the server stops.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections that wait to be accepted, on each listener; Linux takes no more than `net.core.somaxconn`, which is as many. The
/// first packet of one for which there is no room is dropped, and comes again after a second: a health check among a crowd
/// would be that late.
pub const ACCEPT_QUEUE_MAX: u32 = 4_096;
/// How long to wait before accepting again after the machine refused a socket.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Decompressed bytes for one compressed byte beyond which a body is taken for a bomb, once past
/// [`GZIP_RATIO_FROM`] bytes. JSON of presence calls compresses by less than twenty to one.
pub const GZIP_RATIO_MAX: usize = 200;
/// Where [`GZIP_RATIO_MAX`] begins to count, in decompressed bytes.
pub const GZIP_RATIO_FROM: usize = 256 * 1024;
/// Smallest body worth compressing, in bytes.
pub const GZIP_REPLY_FROM: u64 = 1_024;
/// Longest `client-request-id` that is echoed, in characters; a longer one counts as none.
pub const CLIENT_REQUEST_ID_CHARS_MAX: usize = 128;
/// What is read and thrown away of a body nobody wants, so that a client still sending can read its answer.
pub const DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long that may take.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Change feeds open at a time; the next one is told 503.
pub const FEEDS_MAX: usize = 4_096;
/// Ids one feed may name.
pub const FEED_IDS_MAX: usize = 10_000;
/// Entries of the log a feed holds at a time, and changes of one page.
pub const FEED_PAGE_MAX: usize = 1_000;
/// Users in one part of a feed's snapshot.
pub const FEED_SNAPSHOT_MAX: usize = 650;
/// How long a feed is silent before it says that it is alive.
pub const FEED_HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a request for changes may wait for one.
pub const FEED_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a client may take to read one message of a socket.
pub const FEED_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest message a client may send on a socket, in bytes. None has a meaning yet.
pub const FEED_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// How long an endpoint may take for the handshake (change-notifications §5).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an issuer may take to answer with its configuration or its keys.
pub const ISSUER_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an endpoint's answer to a notification is read, in bytes. What it says does not matter.
pub const NOTIFICATION_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Subscriptions on one page.
pub const SUBSCRIPTIONS_PAGE_MAX: usize = 100;
/// Exchanges that an emulator's journal keeps.
pub const JOURNAL_ENTRIES_MAX: usize = 500;
/// How much of each body it keeps, in bytes.
pub const JOURNAL_BODY_BYTES_MAX: usize = 4 * 1024;

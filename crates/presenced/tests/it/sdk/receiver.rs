//! The endpoint that subscriptions of the scenarios name: it shakes hands, keeps what it is posted, and hands it out to the
//! runner, whose client then does what a receiver does with it.

use std::collections::VecDeque;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use crate::notifications::read_request;
use crate::support::HUNG;

/// What was posted and not yet handed out.
type Posted = Arc<(Mutex<VecDeque<Vec<u8>>>, Condvar)>;

/// An endpoint on loopback; it lives as long as the test.
pub(crate) struct Receiver {
    /// Where notifications go by POST, and come from by GET.
    pub(crate) url: String,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/notify", listener.local_addr().unwrap());
        let posted = Posted::default();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let posted = posted.clone();
                std::thread::spawn(move || serve(stream, &posted));
            }
        });
        Self { url }
    }
}

fn serve(stream: TcpStream, posted: &Posted) {
    let mut answer_to = stream.try_clone().unwrap();
    let mut stream = BufReader::new(stream);
    while let Some((target, body)) = read_request(&mut stream) {
        let token = target.split_once("?validationToken=").map(|(path, token)| (path == "/notify", token));
        let (status, kind, answer) = match token {
            Some((true, token)) => {
                let token = percent_encoding::percent_decode_str(token).decode_utf8().unwrap();
                ("200 OK", "text/plain", token.into_owned().into_bytes())
            }
            Some((false, _)) => ("404 Not Found", "text/plain", Vec::new()),
            // Nobody asks for what does not come; a notification has a body, and a question for one has none.
            None if body.is_empty() => ("200 OK", "application/json", next(posted)),
            None => {
                crate::schema::check_notifications(&body);
                posted.0.lock().unwrap().push_back(body);
                posted.1.notify_all();
                ("202 Accepted", "text/plain", Vec::new())
            }
        };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", answer.len());
        if answer_to.write_all(&[head.as_bytes(), &answer].concat()).is_err() {
            return;
        }
    }
}

/// The oldest that was posted, as soon as there is one.
fn next(posted: &Posted) -> Vec<u8> {
    let queue = posted.0.lock().unwrap();
    let (mut queue, _) = posted.1.wait_timeout_while(queue, HUNG, |queue| queue.is_empty()).unwrap();
    queue.pop_front().unwrap_or_default()
}

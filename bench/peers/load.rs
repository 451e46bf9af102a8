//! The load for `run.py`: connections that each do one thing after another and wait for the answer. std only, one thread a
//! connection, compiled by `rustc -O`; the same for every server, so that none is measured with a better client.
//!
//! `load PROTOCOL ADDRESS KIND CONNECTIONS SECONDS PEOPLE [TOKEN] [SET] [GET]`
//!
//! PROTOCOL is `http`, `mqtt` or `xmpp`; KIND is `set`, `get` or `fill`. `fill` does as `set` once for each of PEOPLE people,
//! says so in a line, and then keeps everything open until its input ends. SET and GET are templates of HTTP requests, method
//! and path and body apart by a bar, in which `{user}` stands for the id of a person and `{n}` for a number that changes.
//! Prints one line of JSON: operations, failures, seconds, and microseconds at the median and the 99th percentile.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

struct Plan {
    protocol: String,
    address: String,
    kind: String,
    people: u64,
    token: String,
    set: String,
    get: String,
}

/// A connection: does one thing for one person, and says whether that went well.
trait Talk {
    fn set(&mut self, person: u64, number: u64) -> io::Result<bool>;
    fn get(&mut self, person: u64) -> io::Result<bool>;
}

fn id_of(person: u64) -> String {
    format!("00000000-0000-4000-8000-{person:012}")
}

struct Http {
    stream: BufReader<TcpStream>,
    address: String,
    token: String,
    set: String,
    get: String,
}

impl Http {
    fn ask(&mut self, template: &str, person: u64, number: u64) -> io::Result<bool> {
        let text = template.replace("{user}", &id_of(person)).replace("{n}", &number.to_string());
        let mut parts = text.splitn(3, '|');
        let (method, path, body) =
            (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let body = body.replace(
            "{pair}",
            if number % 2 == 0 {
                r#""availability":"Busy","activity":"InACall""#
            } else {
                r#""availability":"Available","activity":"Available""#
            },
        );
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             accept: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let is_good = line.get(9..10) == Some("2");
        let (mut length, mut is_chunked) = (0, false);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            is_chunked |= header == "transfer-encoding: chunked";
        }
        while is_chunked {
            line.clear();
            self.stream.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            self.stream.read_exact(&mut vec![0; size + 2])?;
            is_chunked = size > 0;
        }
        self.stream.read_exact(&mut vec![0; length])?;
        Ok(is_good)
    }
}

impl Talk for Http {
    fn set(&mut self, person: u64, number: u64) -> io::Result<bool> {
        let template = self.set.clone();
        self.ask(&template, person, number)
    }

    fn get(&mut self, person: u64) -> io::Result<bool> {
        let template = self.get.clone();
        self.ask(&template, person, 0)
    }
}

/// MQTT 3.1.1: a person's presence is a retained message, acknowledged (QoS 1). Reading it is subscribing to its topic, which
/// brings it, and unsubscribing.
struct Mqtt {
    stream: BufReader<TcpStream>,
    packet: u16,
}

impl Mqtt {
    fn new(stream: TcpStream, number: u64) -> io::Result<Self> {
        let mut mqtt = Self { stream: BufReader::new(stream), packet: 0 };
        let client = format!("load-{number}-{}", std::process::id());
        let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
        body.extend((client.len() as u16).to_be_bytes());
        body.extend(client.as_bytes());
        mqtt.send(0x10, &body)?;
        mqtt.receive()?;
        Ok(mqtt)
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut bytes = vec![kind];
        let mut length = body.len();
        while length >= 128 {
            bytes.push(length as u8 | 128);
            length /= 128;
        }
        bytes.push(length as u8);
        bytes.extend(body);
        self.stream.get_mut().write_all(&bytes)
    }

    fn receive(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        let kind = byte[0] >> 4;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            self.stream.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 127) << shift;
            shift += 7;
            if byte[0] < 128 {
                break;
            }
        }
        self.stream.read_exact(&mut vec![0; length])?;
        Ok(kind)
    }

    fn topic(person: u64) -> Vec<u8> {
        let topic = format!("presence/{}", id_of(person));
        [&(topic.len() as u16).to_be_bytes(), topic.as_bytes()].concat()
    }

    fn next_packet(&mut self) -> [u8; 2] {
        self.packet = self.packet.checked_add(1).unwrap_or(1);
        self.packet.to_be_bytes()
    }
}

impl Talk for Mqtt {
    fn set(&mut self, person: u64, number: u64) -> io::Result<bool> {
        let mut body = Self::topic(person);
        body.extend(self.next_packet());
        let pair = if number % 2 == 0 { "Busy/InACall" } else { "Available/Available" };
        body.extend(format!("{pair} until {number:010}").as_bytes());
        self.send(0x33, &body)?;
        Ok(self.receive()? == 4)
    }

    fn get(&mut self, person: u64) -> io::Result<bool> {
        let mut body = self.next_packet().to_vec();
        body.extend(Self::topic(person));
        body.push(0);
        self.send(0x82, &body)?;
        // The acknowledgement and the retained message, in either order.
        let answers = [self.receive()?, self.receive()?];
        let mut body = self.next_packet().to_vec();
        body.extend(Self::topic(person));
        self.send(0xa2, &body)?;
        self.receive()?;
        Ok(answers.contains(&3) && answers.contains(&9))
    }
}

/// XMPP with anonymous sign-in: a person is a connection. Setting is a presence stanza that comes back to whoever sent it.
/// Others' presence is pushed to those on their roster, so there is nothing to ask for.
struct Xmpp {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Xmpp {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let mut xmpp = Self { stream, unread: Vec::new() };
        const OPEN: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";
        xmpp.send(OPEN)?;
        xmpp.until("</stream:features>")?;
        xmpp.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>")?;
        xmpp.until("<success")?;
        xmpp.until(">")?;
        xmpp.send(OPEN)?;
        xmpp.until("</stream:features>")?;
        xmpp.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")?;
        xmpp.until("</iq>")?;
        Ok(xmpp)
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }

    fn until(&mut self, text: &str) -> io::Result<()> {
        loop {
            if let Some(at) = self.unread.windows(text.len()).position(|part| part == text.as_bytes()) {
                self.unread.drain(..at + text.len());
                return Ok(());
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.unread.extend(&bytes[..read]),
            }
        }
    }
}

impl Talk for Xmpp {
    fn set(&mut self, _person: u64, number: u64) -> io::Result<bool> {
        let show = if number % 2 == 0 { "dnd" } else { "away" };
        self.send(&format!("<presence id='{number}'><show>{show}</show></presence>"))?;
        self.until("</presence>")?;
        Ok(true)
    }

    fn get(&mut self, _: u64) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn connect(plan: &Plan, number: u64) -> io::Result<Box<dyn Talk>> {
    let stream = TcpStream::connect(&plan.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(match plan.protocol.as_str() {
        "mqtt" => Box::new(Mqtt::new(stream, number)?),
        "xmpp" => Box::new(Xmpp::new(stream)?),
        _ => Box::new(Http {
            stream: BufReader::new(stream),
            address: plan.address.clone(),
            token: plan.token.clone(),
            set: plan.set.clone(),
            get: plan.get.clone(),
        }),
    })
}

/// Keeps the connections of XMPP, whose people are there as long as these are.
fn fill(plan: &Plan, connections: u64) -> io::Result<()> {
    let mut kept: Vec<Box<dyn Talk>> = Vec::new();
    let mut failed = 0;
    for person in 0..plan.people {
        if kept.len() < connections as usize || plan.protocol == "xmpp" {
            kept.push(connect(plan, person)?);
        }
        let place = person as usize % kept.len();
        failed += u64::from(!kept[place].set(person, 1)?);
    }
    println!("{{\"filled\":{},\"failed\":{failed}}}", plan.people);
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |place: usize| arguments.get(place).cloned().unwrap_or_default();
    let number = |place: usize| text(place).parse::<u64>().unwrap_or(1);
    let plan = Arc::new(Plan {
        protocol: text(0),
        address: text(1),
        kind: text(2),
        people: number(5),
        token: text(6),
        set: text(7),
        get: text(8),
    });
    let (connections, seconds) = (number(3), number(4));
    if plan.kind == "fill" {
        return fill(&plan, connections);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicU64::new(0));
    let micros = Arc::new(Mutex::new(Vec::new()));
    // Signing in is not what is measured.
    let all_there = Arc::new(Barrier::new(connections as usize + 1));
    let threads: Vec<_> = (0..connections)
        .map(|connection| {
            let (plan, is_over, failed, micros) = (plan.clone(), is_over.clone(), failed.clone(), micros.clone());
            let all_there = all_there.clone();
            std::thread::spawn(move || -> io::Result<()> {
                let talk = connect(&plan, connection);
                all_there.wait();
                let mut talk = talk?;
                let mut mine = Vec::new();
                let mut count = connection;
                while !is_over.load(Ordering::Relaxed) {
                    // People of each connection are its own, in turn.
                    let person = count % plan.people;
                    let began = Instant::now();
                    let is_good = if plan.kind == "set" { talk.set(person, count / plan.people)? } else { talk.get(person)? };
                    mine.push(began.elapsed().as_micros() as u32);
                    failed.fetch_add(u64::from(!is_good), Ordering::Relaxed);
                    count += connections;
                }
                micros.lock().map_err(|_| io::ErrorKind::Other)?.extend(mine);
                Ok(())
            })
        })
        .collect();
    all_there.wait();
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(seconds));
    is_over.store(true, Ordering::Relaxed);
    let mut broken = 0;
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                eprintln!("{error}");
                broken += 1;
            }
            Err(_) => broken += 1,
        }
    }
    let secs = began.elapsed().as_secs_f64();
    let mut micros = micros.lock().map_err(|_| io::ErrorKind::Other)?.clone();
    micros.sort_unstable();
    let at = |part: f64| micros.get((micros.len() as f64 * part) as usize).copied().unwrap_or(0);
    println!(
        "{{\"operations\":{},\"failed\":{},\"broken\":{broken},\"secs\":{secs:.3},\"p50\":{},\"p99\":{}}}",
        micros.len(),
        failed.load(Ordering::Relaxed),
        at(0.5),
        at(0.99)
    );
    Ok(())
}

//! Which topics hold whose presence session: a message in, what it asks for out. Nothing is remembered here.

use std::collections::BTreeMap;

use graph::mqtt::{Asked, asked, asked_by};
use jiff::SignedDuration;
use mqtt::{Message, TOPIC_BYTES_MAX};
use presence::AppId;

use super::settings::SessionSettings;

/// The place in a topic that names the user.
const USER: &str = "{user}";
/// Shortest keep-alive. Ours: what is silent for less is not gone.
const KEEP_ALIVE_MIN: u32 = 5;
/// Longest keep-alive: the longest life of a presence session.
const KEEP_ALIVE_MAX: u32 = 4 * 60 * 60;
/// How long a message counts when its mapping has neither keep-alive nor last will: the life of a session that names none.
const KEEP_ALIVE_DEFAULT: SignedDuration = presence::limits::SESSION_LIFETIME_DEFAULT;

/// One mapping, checked.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) app: AppId,
    topic: Pattern,
    /// Everybody's, where the topic does not say whose.
    user: Option<String>,
    users: BTreeMap<String, String>,
    states: BTreeMap<String, Asked>,
    /// Where in a JSON payload the word is.
    value: Option<String>,
    /// How long a message counts; `None`: until the last will.
    pub(crate) keep_alive: Option<SignedDuration>,
    will: Option<(Pattern, Vec<u8>)>,
    /// Whether a message the broker remembered counts.
    retained: bool,
}

/// What a message says to one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// What the device wants.
    Asked(Asked),
    /// The device is gone: its last will.
    Gone,
    /// The device is there.
    There,
}

/// Whom it concerns and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading<'a> {
    /// Not for this mapping.
    NotMine,
    /// A message that cannot be understood.
    Malformed,
    /// Remembered by the broker, from who knows when.
    Stale,
    /// This.
    Said {
        /// Object id or user principal name.
        user: &'a str,
        /// What.
        said: Said,
    },
}

impl Mapping {
    /// Checks a mapping.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn new(settings: &SessionSettings, own_topics: &str) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut pattern = |key: &str, text: &str| match Pattern::new(text) {
            Ok(pattern) if pattern.filter().starts_with(&format!("{own_topics}/")) => {
                problems.push(format!("{key}: {text:?} is where the server itself publishes"));
                None
            }
            Ok(pattern) => Some(pattern),
            Err(problem) => {
                problems.push(format!("{key}: {text:?} {problem}"));
                None
            }
        };
        let topic = pattern("topic", &settings.topic);
        let will = settings.will.as_ref().and_then(|text| pattern("will", text));
        if let Some(topic) = &topic
            && topic.names_user() == settings.user.is_some()
        {
            problems.push(format!(
                "give either `user`, or a topic with a level that is {USER}; topic {:?}",
                settings.topic
            ));
        }
        if let (Some(topic), Some(will)) = (&topic, &will)
            && topic.names_user()
            && !will.names_user()
        {
            problems.push(format!("will: a level must be {USER}, as in the topic"));
        }
        let app = settings.application.parse();
        if app.is_err() {
            problems.push(format!("application: {:?} is not a GUID", settings.application));
        }
        let mut states = BTreeMap::new();
        for (word, state) in &settings.states {
            match asked(state) {
                Some(asked) => drop(states.insert(word.clone(), asked)),
                None => problems.push(format!(
                    "states: {state:?} is neither a pair that setPresence takes, such as Busy/InACall, nor clear"
                )),
            }
        }
        if settings.value.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            problems.push("value: a JSON pointer begins with /".to_owned());
        }
        if settings.keep_alive_secs.is_some_and(|secs| !(KEEP_ALIVE_MIN..=KEEP_ALIVE_MAX).contains(&secs)) {
            problems.push(format!("keep_alive_secs: give {KEEP_ALIVE_MIN} to {KEEP_ALIVE_MAX}"));
        }
        let keep_alive = settings.keep_alive_secs.map(|secs| SignedDuration::from_secs(i64::from(secs)));
        match (topic, app) {
            (Some(topic), Ok(app)) if problems.is_empty() => Ok(Self {
                app,
                topic,
                user: settings.user.clone(),
                users: settings.users.clone(),
                states,
                value: settings.value.clone(),
                keep_alive: keep_alive.or(will.is_none().then_some(KEEP_ALIVE_DEFAULT)),
                retained: settings.retained.unwrap_or(will.is_some()),
                will: will.map(|will| (will, settings.will_payload.clone().into_bytes())),
            }),
            _ => Err(problems),
        }
    }

    /// What to subscribe to for it: the will first, so that who is gone is known before what was said is told.
    pub(crate) fn filters(&self) -> impl Iterator<Item = String> + '_ {
        self.will.iter().map(|(will, _)| will.filter()).chain([self.topic.filter()])
    }

    /// Reads a message.
    pub(crate) fn read<'a>(&'a self, message: &'a Message) -> Reading<'a> {
        if let Some((will, gone)) = &self.will
            && let Some(named) = will.matches(&message.topic)
        {
            let said = if message.payload == *gone { Said::Gone } else { Said::There };
            return self.said(named, said);
        }
        let Some(named) = self.topic.matches(&message.topic) else { return Reading::NotMine };
        if message.is_retained && !self.retained {
            return Reading::Stale;
        }
        match self.word(&message.payload) {
            Some(asked) => self.said(named, Said::Asked(asked)),
            None => Reading::Malformed,
        }
    }

    fn said<'a>(&'a self, named: Option<&'a str>, said: Said) -> Reading<'a> {
        let user = self.user.as_deref().or(named).unwrap_or_default();
        Reading::Said { user: self.users.get(user).map_or(user, String::as_str), said }
    }

    fn word(&self, payload: &[u8]) -> Option<Asked> {
        if self.states.is_empty() && self.value.is_none() {
            return asked_by(payload);
        }
        let whole = std::str::from_utf8(payload).ok()?;
        let found: serde_json::Value;
        let number: String;
        let word = match &self.value {
            None => whole.trim(),
            Some(pointer) => {
                found = serde_json::from_str(whole).ok()?;
                match found.pointer(pointer)? {
                    serde_json::Value::String(text) => text.as_str(),
                    scalar @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => {
                        number = scalar.to_string();
                        &number
                    }
                    _ => return None,
                }
            }
        };
        if self.states.is_empty() { asked(word) } else { self.states.get(word).copied() }
    }
}

/// A topic with places left open.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Level>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    Any,
    User,
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        if text.is_empty()
            || text.len() > TOPIC_BYTES_MAX
            || text.contains(['#', '\0'])
            || text.starts_with('$')
        {
            return Err(format!("is not a topic; its levels are words, + or {USER}"));
        }
        let levels: Vec<Level> = text
            .split('/')
            .map(|level| match level {
                "+" => Ok(Level::Any),
                USER => Ok(Level::User),
                word if word.contains(['+', '{', '}']) => {
                    Err(format!("has the level {word:?}; a level is a word, + or {USER}"))
                }
                word => Ok(Level::Literal(word.to_owned())),
            })
            .collect::<Result<_, _>>()?;
        if levels.iter().filter(|level| **level == Level::User).count() > 1 {
            return Err(format!("has {USER} more than once"));
        }
        Ok(Self(levels))
    }

    fn names_user(&self) -> bool {
        self.0.contains(&Level::User)
    }

    fn filter(&self) -> String {
        let levels = self.0.iter().map(|level| match level {
            Level::Literal(word) => word.as_str(),
            Level::Any | Level::User => "+",
        });
        levels.collect::<Vec<_>>().join("/")
    }

    /// Whether a topic is one of these, and the user it names.
    fn matches<'t>(&self, topic: &'t str) -> Option<Option<&'t str>> {
        let mut named = None;
        let mut words = topic.split('/');
        for level in &self.0 {
            let word = words.next()?;
            match level {
                Level::Literal(literal) if literal != word => return None,
                Level::Literal(_) | Level::Any => {}
                Level::User => named = Some(word),
            }
        }
        words.next().is_none().then_some(named)
    }
}

#[cfg(test)]
mod tests {
    use presence::SessionPair;
    use proptest::prelude::*;

    use super::*;

    const APP: &str = "22553876-f5ab-4529-bffb-cfe50aa89f87";

    fn mapping(text: &str) -> Result<Mapping, Vec<String>> {
        let settings: SessionSettings = toml::from_str(&format!("application = \"{APP}\"\n{text}")).unwrap();
        Mapping::new(&settings, "presenced")
    }

    fn message(topic: &str, payload: &str) -> Message {
        let payload = payload.as_bytes().to_vec();
        Message { topic: topic.to_owned(), payload, is_retained: false, id: None }
    }

    fn said<'a>(mapping: &'a Mapping, message: &'a Message) -> Option<(&'a str, Said)> {
        match mapping.read(message) {
            Reading::Said { user, said } => Some((user, said)),
            _ => None,
        }
    }

    #[test]
    fn a_desk_sensor_of_one_user_and_a_pbx_that_names_its_users() {
        let desk = mapping(
            "topic = \"desk/17/motion\"\nuser = \"ana@x.example\"\nstates = { ON = \"Available\", OFF = \"clear\" }",
        )
        .unwrap();
        assert_eq!(desk.keep_alive, Some(SignedDuration::from_mins(5)));
        let on = message("desk/17/motion", "ON\n");
        assert_eq!(
            said(&desk, &on),
            Some(("ana@x.example", Said::Asked(Asked::Hold(SessionPair::Available))))
        );
        assert_eq!(desk.read(&message("desk/17/motion", "maybe")), Reading::Malformed);
        assert_eq!(desk.read(&message("desk/18/motion", "ON")), Reading::NotMine);
        assert_eq!(desk.read(&message("desk/17/motion/more", "ON")), Reading::NotMine);
        let old = Message { is_retained: true, ..on };
        assert_eq!(desk.read(&old), Reading::Stale, "nobody knows how old it is");

        let pbx = mapping(
            "topic = \"pbx/{user}/call\"\nwill = \"pbx/{user}/status\"\nusers = { 201 = \"bo@x.example\" }\n\
             value = \"/state\"\nstates = { true = \"Busy/InACall\", idle = \"clear\" }",
        )
        .unwrap();
        assert_eq!(pbx.keep_alive, None, "until its last will");
        assert_eq!(pbx.filters().collect::<Vec<_>>(), ["pbx/+/status", "pbx/+/call"]);
        let call = Message { is_retained: true, ..message("pbx/201/call", "{\"state\":true}") };
        assert_eq!(said(&pbx, &call), Some(("bo@x.example", Said::Asked(Asked::Hold(SessionPair::InACall)))));
        let other = message("pbx/cy@x.example/call", "{\"state\":\"idle\"}");
        assert_eq!(said(&pbx, &other), Some(("cy@x.example", Said::Asked(Asked::End))));
        assert_eq!(said(&pbx, &message("pbx/201/status", "offline")), Some(("bo@x.example", Said::Gone)));
        assert_eq!(said(&pbx, &message("pbx/201/status", "online")), Some(("bo@x.example", Said::There)));
        for malformed in ["", "{", "{\"state\":null}", "{\"state\":{}}", "[]", "\u{0}"] {
            assert_eq!(pbx.read(&message("pbx/201/call", malformed)), Reading::Malformed, "{malformed}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_mapping_is_told() {
        for wrong in [
            "topic = \"desk\"",
            "topic = \"desk/{user}\"\nuser = \"ana\"",
            "topic = \"desk/#\"\nuser = \"ana\"",
            "topic = \"desk/x+\"\nuser = \"ana\"",
            "topic = \"{user}/{user}\"",
            "topic = \"\"\nuser = \"ana\"",
            "topic = \"$SYS/x\"\nuser = \"ana\"",
            "topic = \"presenced/users/{user}\"",
            "topic = \"d/{user}\"\nwill = \"d/status\"",
            "topic = \"d/{user}\"\nstates = { on = \"Busy\" }",
            "topic = \"d/{user}\"\nvalue = \"state\"",
            "topic = \"d/{user}\"\nkeep_alive_secs = 4",
            "topic = \"d/{user}\"\nkeep_alive_secs = 14401",
        ] {
            assert_eq!(mapping(wrong).err().map(|problems| problems.len()), Some(1), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_message_panics(topic in "[a-z/]{0,30}", payload in "\\PC{0,60}") {
            for text in ["topic = \"{user}/a\"\nvalue = \"/a/0\"", "topic = \"{user}/a\""] {
                let mapping = mapping(text).unwrap();
                let message = message(&topic, &payload);
                let _ = mapping.read(&message);
            }
        }
    }
}

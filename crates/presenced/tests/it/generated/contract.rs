//! What there is to vary, as the operations table and the schema say: actions, their addresses, their parameters.

use graph::{BodyRule, Method, OPERATIONS};
use roxmltree::{Document, Node};
use serde_json::{Map, Value};

/// An action of one presence, or the making of a subscription.
pub(super) struct Action {
    pub(super) name: &'static str,
    /// Whether it does without a body.
    pub(super) is_bodiless: bool,
    /// Addresses, below a root; of a presence with `{user}` in it, or `/me`.
    pub(super) paths: Vec<&'static str>,
    pub(super) parameters: Vec<Parameter>,
}

/// One value in a body.
pub(super) struct Parameter {
    /// Where it stands: names from the outside in.
    pub(super) path: Vec<String>,
}

impl Parameter {
    /// Its path, as the model calls it.
    pub(super) fn name(&self) -> String {
        self.path.join("/")
    }
}

/// Every action that the table binds to a presence, with the parameters of the schema.
pub(super) fn actions() -> Vec<Action> {
    let document = Document::parse(graph::metadata::CSDL).unwrap();
    let of_presence = |path: &str| path.starts_with("/me/presence/");
    let rows = OPERATIONS
        .iter()
        .filter(|row| row.method == Method::Post && row.paths.iter().any(|path| of_presence(path)));
    rows.map(|row| {
        let action = named(&document, "Action", row.name);
        let parameters = action.children().filter(|node| node.attribute("Name") != Some("bindingParameter"));
        Action {
            name: row.name,
            is_bodiless: row.body == BodyRule::Ignored,
            paths: row.paths.to_vec(),
            parameters: parameters.flat_map(|node| leaves(&document, node, &[])).collect(),
        }
    })
    .collect()
}

/// `POST /subscriptions`, with the properties of the entity type.
pub(super) fn subscription() -> Action {
    let document = Document::parse(graph::metadata::CSDL).unwrap();
    let row = OPERATIONS.iter().find(|row| row.name == "createSubscription").unwrap();
    let properties = named(&document, "EntityType", "subscription").children();
    Action {
        name: row.name,
        is_bodiless: false,
        paths: row.paths.to_vec(),
        parameters: properties.flat_map(|node| leaves(&document, node, &[])).collect(),
    }
}

fn named<'a>(document: &'a Document<'_>, tag: &str, name: &str) -> Node<'a, 'a> {
    let is_it = |node: &Node<'_, '_>| node.tag_name().name() == tag && node.attribute("Name") == Some(name);
    document.descendants().find(is_it).unwrap_or_else(|| panic!("the schema has no {tag} {name}"))
}

/// A parameter or property; of a complex type, those inside it.
fn leaves(document: &Document<'_>, node: Node<'_, '_>, outside: &[String]) -> Vec<Parameter> {
    if !["Parameter", "Property"].contains(&node.tag_name().name()) {
        return Vec::new();
    }
    let path = [outside, &[node.attribute("Name").unwrap().to_owned()]].concat();
    let kind = node.attribute("Type").unwrap().strip_prefix("graph.");
    let complex = kind.and_then(|kind| {
        let is_it = |node: &Node<'_, '_>| {
            node.tag_name().name() == "ComplexType" && node.attribute("Name") == Some(kind)
        };
        document.descendants().find(is_it)
    });
    match complex {
        Some(complex) => complex.children().flat_map(|node| leaves(document, node, &path)).collect(),
        None => vec![Parameter { path }],
    }
}

/// A body with these values where they belong; what is left out makes no empty object around it.
pub(super) fn body<'a>(values: impl Iterator<Item = (&'a Parameter, Option<Value>)>) -> Value {
    let mut body = Value::Object(Map::new());
    for (parameter, value) in values {
        let Some(value) = value else { continue };
        let mut place = &mut body;
        for name in &parameter.path {
            place = place.as_object_mut().unwrap().entry(name).or_insert_with(|| Value::Object(Map::new()));
        }
        *place = value;
    }
    body
}

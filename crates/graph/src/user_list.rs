//! `GET /users`: its query options, and one page of a directory. Source: identity D.2.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use presence::UserId;

use crate::GraphError;
use crate::filter::Filter;
use crate::odata::{Query, ServiceRoot};
use crate::user::{User, UserSelect};

/// Users on a page when `$top` names no number.
pub const PAGE_DEFAULT: usize = 100;
/// Users on a page at most.
pub const PAGE_MAX: usize = 999;

/// The options of `GET /users`, all of them legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListUsers {
    /// Which properties.
    pub select: UserSelect,
    filter: Option<Filter>,
    order: Vec<Order>,
    top: usize,
    count: bool,
    after: Option<Position>,
    /// The query of the next page, but for its `$skiptoken`.
    again: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    by: OrderBy,
    descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderBy {
    DisplayName,
    UserPrincipalName,
}

/// Where a user stands in a list: by the keys of `$orderby`, then by id, so that no two stand at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    keys: Vec<String>,
    id: UserId,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<'u> {
    /// The users on it, in order.
    pub users: Vec<&'u User>,
    /// How many users match, on all pages; when `$count=true` was asked for with the header that it needs.
    pub count: Option<usize>,
    /// The URL of the next page, if there is one.
    pub next_link: Option<String>,
}

impl ListUsers {
    /// Reads a query. `is_eventual` says whether the `ConsistencyLevel` header asks for eventual consistency.
    ///
    /// # Errors
    /// 400 for an option or a value that is not supported.
    pub fn parse(query: &Query<'_>, is_eventual: bool) -> Result<Self, GraphError> {
        if query.option("$skip").is_some() {
            return Err(GraphError::unsupported_query("'$skip' is not supported by the service."));
        }
        query.allow_only(&["$select", "$top", "$filter", "$orderby", "$search", "$count", "$skiptoken"])?;
        let count = match query.option("$count") {
            None => false,
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if value.eq_ignore_ascii_case("false") => false,
            Some(value) => {
                return Err(GraphError::bad_request(format!("Invalid value '{value}' for $count.")));
            }
        };
        let filter =
            query.option("$filter").map(|text| Filter::parse(text, is_eventual && count)).transpose()?;
        let search = query.option("$search").map(|text| search(text, is_eventual)).transpose()?;
        let filter = match (filter, search) {
            (Some(filter), Some(search)) => Some(filter.and(search)),
            (filter, search) => filter.or(search),
        };
        let order = query.option("$orderby").map_or(Ok(Vec::new()), orders)?;
        let after =
            query.option("$skiptoken").map(|token| Position::parse(token, order.len())).transpose()?;
        Ok(Self {
            select: query.option("$select").map_or(Ok(UserSelect::DEFAULT), UserSelect::parse)?,
            filter,
            order,
            top: query.option("$top").map_or(Ok(PAGE_DEFAULT), top)?,
            count: count && is_eventual,
            after,
            again: again(query),
        })
    }

    /// The page that the options ask for. `users` may come in any order; ids are unique.
    pub fn page<'u>(&self, service: &ServiceRoot, users: impl IntoIterator<Item = &'u User>) -> Page<'u> {
        let mut count = 0;
        let mut rest: Vec<(Position, &User)> = Vec::new();
        for user in users {
            if self.filter.as_ref().is_none_or(|filter| filter.matches(user)) {
                count += 1;
                let position = self.position(user);
                if self.after.as_ref().is_none_or(|after| self.compare(&position, after).is_gt()) {
                    rest.push((position, user));
                }
            }
        }
        let is_last = rest.len() <= self.top;
        if !is_last {
            rest.select_nth_unstable_by(self.top, |a, b| self.compare(&a.0, &b.0));
            rest.truncate(self.top);
        }
        rest.sort_unstable_by(|a, b| self.compare(&a.0, &b.0));
        let next_link = rest.last().filter(|_| !is_last).map(|(position, _)| {
            let separator = if self.again.is_empty() { "" } else { "&" };
            format!("{}/users?{}{separator}$skiptoken={}", service.as_str(), self.again, position.token())
        });
        let users = rest.into_iter().map(|(_, user)| user).collect();
        Page { users, count: self.count.then_some(count), next_link }
    }

    fn position(&self, user: &User) -> Position {
        let key = |order: &Order| match order.by {
            OrderBy::DisplayName => user.display_name.as_deref().unwrap_or_default().to_lowercase(),
            OrderBy::UserPrincipalName => user.user_principal_name.to_lowercase(),
        };
        Position { keys: self.order.iter().map(key).collect(), id: user.id }
    }

    fn compare(&self, a: &Position, b: &Position) -> Ordering {
        let keys = self.order.iter().zip(a.keys.iter().zip(&b.keys));
        let by_keys = keys.map(|(order, (a, b))| if order.descending { b.cmp(a) } else { a.cmp(b) });
        by_keys.fold(Ordering::Equal, Ordering::then).then_with(|| a.id.cmp(&b.id))
    }
}

impl Position {
    /// An opaque text. Whoever makes one up only starts at another place.
    fn token(&self) -> String {
        let mut parts = self.keys.clone();
        parts.push(self.id.to_string());
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&parts).expect("texts are always JSON"))
    }

    fn parse(token: &str, keys: usize) -> Result<Self, GraphError> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
            let mut keys: Vec<String> = serde_json::from_slice(&bytes).ok()?;
            let id = keys.pop()?.parse().ok()?;
            Some(Self { keys, id })
        };
        read()
            .filter(|position| position.keys.len() == keys)
            .ok_or_else(|| GraphError::bad_request("The provided $skiptoken is not valid."))
    }
}

fn search(text: &str, is_eventual: bool) -> Result<Filter, GraphError> {
    if !is_eventual {
        return Err(GraphError::unsupported_query(
            "Request with $search query parameter only works through MSGraph with a special request header: \
             'ConsistencyLevel: eventual'",
        ));
    }
    Filter::parse_search(text)
}

fn top(text: &str) -> Result<usize, GraphError> {
    text.trim().parse().ok().filter(|top| (1..=PAGE_MAX).contains(top)).ok_or_else(|| {
        GraphError::unsupported_query(format!(
            "Invalid page size specified: '{text}'. Must be between 1 and {PAGE_MAX} inclusive."
        ))
    })
}

fn orders(text: &str) -> Result<Vec<Order>, GraphError> {
    let order = |part: &str| {
        let mut words = part.split_whitespace();
        let name = words.next().unwrap_or_default();
        let by = match name {
            name if name.eq_ignore_ascii_case("displayName") => Some(OrderBy::DisplayName),
            name if name.eq_ignore_ascii_case("userPrincipalName") => Some(OrderBy::UserPrincipalName),
            _ => None,
        };
        let descending = match words.next() {
            None => Some(false),
            Some(word) if word.eq_ignore_ascii_case("asc") => Some(false),
            Some(word) if word.eq_ignore_ascii_case("desc") => Some(true),
            Some(_) => None,
        };
        let is_end = words.next().is_none();
        by.zip(descending).filter(|_| is_end).map(|(by, descending)| Order { by, descending }).ok_or_else(
            || GraphError::unsupported_query(format!("Unsupported sort property '{name}' for 'User'.")),
        )
    };
    text.split(',').map(order).collect()
}

/// The query as it was, but for `$skiptoken`, spelled so that it can stand in a URL.
fn again(query: &Query<'_>) -> String {
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'$').remove(b'-').remove(b'.').remove(b'_').remove(b',');
    let encode = |text: &str| utf8_percent_encode(text, KEPT).to_string();
    let pairs = query.pairs().filter(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken"));
    pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::path::Root;

    fn people() -> Vec<User> {
        let person = |number: u128, name: &str| User {
            display_name: Some(name.to_owned()),
            ..User::new(UserId::from_u128(number), format!("{number}@presence.example"))
        };
        vec![person(1, "bob"), person(2, "Ada"), person(3, "Cleo"), person(4, "ada"), person(5, "Bob")]
    }

    fn service() -> ServiceRoot {
        ServiceRoot::new("https://presence.example", Root::V1)
    }

    fn list(raw: &str, is_eventual: bool) -> Result<ListUsers, GraphError> {
        ListUsers::parse(&Query::parse(raw).unwrap(), is_eventual)
    }

    /// The ids of every page, following links.
    fn pages(raw: &str) -> Vec<Vec<u128>> {
        let people = people();
        let mut raw = raw.to_owned();
        let mut pages = Vec::new();
        loop {
            let page = list(&raw, false).unwrap().page(&service(), &people);
            pages.push(page.users.iter().map(|user| user.id.as_u128()).collect());
            let Some(next_link) = page.next_link else { return pages };
            raw = next_link.strip_prefix("https://presence.example/v1.0/users?").unwrap().to_owned();
        }
    }

    #[track_caller]
    fn refused(raw: &str, code: &str) {
        let error = list(raw, false).unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (400, code), "{raw}: {}", error.message);
    }

    #[test]
    fn a_page_has_a_hundred_users_unless_top_says_otherwise() {
        let many: Vec<User> =
            (0..250).map(|number| User::new(UserId::from_u128(number), number.to_string())).collect();
        let size = |raw: &str| list(raw, false).unwrap().page(&service(), &many).users.len();
        assert_eq!((size(""), size("$top=1"), size("$top=999")), (100, 1, 250));
    }

    #[test]
    fn top_is_between_1_and_999() {
        for top in ["0", "1000", "-1", "x", ""] {
            refused(&format!("$top={top}"), "Request_UnsupportedQuery");
        }
    }

    #[test]
    fn links_lead_through_every_page_once_in_order() {
        assert_eq!(pages("$top=2"), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(pages("$top=2&$orderby=displayName"), [vec![2, 4], vec![1, 5], vec![3]]);
        assert_eq!(pages("$top=3&$orderby=displayName%20desc"), [vec![3, 1, 5], vec![2, 4]]);
        assert_eq!(pages("$orderby=displayName,userPrincipalName desc"), [vec![4, 2, 5, 1, 3]]);
        assert_eq!(pages("$top=5"), [vec![1, 2, 3, 4, 5]]);
        assert_eq!(pages("$top=1&$filter=startswith(displayName,'a')"), [vec![2], vec![4]]);
    }

    #[test]
    fn the_next_link_repeats_the_query_and_adds_a_skip_token() {
        let people = people();
        let page =
            list("$top=2&$filter=accountEnabled%20eq+true&x=%26", false).unwrap().page(&service(), &people);
        let link = page.next_link.unwrap();
        let start =
            "https://presence.example/v1.0/users?$top=2&$filter=accountEnabled%20eq%20true&x=%26&$skiptoken=";
        assert!(link.starts_with(start), "{link}");
    }

    #[test]
    fn count_and_search_need_the_consistency_header() {
        let people = people();
        let page = |raw: &str, is_eventual| list(raw, is_eventual).unwrap().page(&service(), &people);
        assert_eq!(page("$count=true&$top=1", true).count, Some(5));
        assert_eq!(page("$count=true&$top=1", false).count, None);
        assert_eq!(page("$count=false", true).count, None);
        assert_eq!(page("$search=\"displayName:ada\"&$count=true", true).count, Some(2));
        assert_eq!(page("$search=\"displayName:ada\"&$filter=id eq null", true).users.len(), 0);
        let error = list("$search=\"displayName:ada\"", false).unwrap_err();
        assert_eq!(error.code.as_str(), "Request_UnsupportedQuery");
        assert_eq!(
            error.message,
            "Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'"
        );
    }

    #[test]
    fn skip_and_other_options_are_refused() {
        refused("$skip=1", "Request_UnsupportedQuery");
        refused("$expand=manager", "BadRequest");
        refused("$count=maybe", "BadRequest");
        refused("$orderby=mail", "Request_UnsupportedQuery");
        refused("$orderby=displayName up", "Request_UnsupportedQuery");
        refused("$orderby=", "Request_UnsupportedQuery");
        refused("$filter=mail", "BadRequest");
        refused("$select=x", "BadRequest");
        refused("$skiptoken=x", "BadRequest");
        let token = Position { keys: vec![], id: UserId::from_u128(1) }.token();
        assert!(list(&format!("$skiptoken={token}"), false).is_ok());
        refused(&format!("$skiptoken={token}&$orderby=displayName"), "BadRequest");
    }

    proptest! {
        #[test]
        fn no_list_query_panics(value in ".{0,30}", name in prop_oneof![Just("$top"), Just("$orderby"), Just("$skiptoken"), Just("$search"), Just("$count")]) {
            let raw = format!("{name}={value}");
            if let Ok(query) = Query::parse(&raw) {
                let _ = ListUsers::parse(&query, true);
            }
        }
    }
}

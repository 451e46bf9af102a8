//! Reading users from CSV and JSON files, all problems at once.

use std::fmt;

use graph::user::User;

/// Problems named at most.
const PROBLEMS_MAX: usize = 20;

/// A format users can be imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// A header line with property names, then a line a user.
    Csv,
    /// An array of users, or an object with the array as `value`, as `GET /users` answers it.
    Json,
}

impl ImportFormat {
    /// The format of a `Content-Type`.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence {
            "text/csv" => Some(Self::Csv),
            _ if graph::json::is_json(essence) => Some(Self::Json),
            _ => None,
        }
    }

    /// The `Content-Type` of the format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Json => "application/json",
        }
    }
}

/// What is wrong with a file, line by line or user by user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError(Vec<String>);

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ImportError {}

/// Reads all users of a file.
///
/// # Errors
/// [`ImportError`] with the first twenty problems; nothing is to be imported then.
pub fn read_users(format: ImportFormat, bytes: &[u8]) -> Result<Vec<User>, ImportError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let read = match format {
        ImportFormat::Csv => read_csv(bytes),
        ImportFormat::Json => read_json(bytes),
    };
    let (users, mut problems): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
    if problems.is_empty() {
        return Ok(users.into_iter().filter_map(Result::ok).collect());
    }
    problems.truncate(PROBLEMS_MAX);
    Err(ImportError(problems.into_iter().filter_map(Result::err).collect()))
}

fn read_csv(bytes: &[u8]) -> Vec<Result<User, String>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return vec![Err(error.to_string())],
    };
    let rows = reader.records().map(|row| {
        let row = row.map_err(|error| error.to_string())?;
        let line = row.position().map_or(0, csv::Position::line);
        User::from_columns(header.iter().zip(row.iter())).map_err(|error| format!("line {line}: {error}"))
    });
    rows.collect()
}

fn read_json(bytes: &[u8]) -> Vec<Result<User, String>> {
    let users = match serde_json::from_slice(bytes) {
        Ok(serde_json::Value::Array(users)) => users,
        Ok(serde_json::Value::Object(mut page)) => match page.remove("value") {
            Some(serde_json::Value::Array(users)) => users,
            _ => return vec![Err("the object has no array `value`".to_owned())],
        },
        Ok(_) => return vec![Err("neither an array of users nor an object with `value`".to_owned())],
        Err(error) => return vec![Err(error.to_string())],
    };
    let read = users.into_iter().enumerate().map(|(position, mut user)| {
        if let Some(members) = user.as_object_mut() {
            // What another directory exported: control information, and null for what it does not know.
            members.retain(|name, value| !name.starts_with('@') && !value.is_null());
        }
        serde_json::from_value(user).map_err(|error| format!("user {}: {error}", position + 1))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e";

    #[test]
    fn csv_and_both_shapes_of_json_give_the_same_users() {
        let csv =
            format!("\u{feff}id,userPrincipalName,displayName,mail\n{ID},ada@x.example,\"Lovelace, Ada\",\n");
        let json = format!(
            r#"[{{"@odata.type":"x","id":"{ID}","userPrincipalName":"ada@x.example","displayName":"Lovelace, Ada","mail":null}}]"#
        );
        let page = format!(r#"{{"@odata.context":"x","value":{json}}}"#);
        let users = read_users(ImportFormat::Csv, csv.as_bytes()).unwrap();
        assert_eq!(users[0].display_name.as_deref(), Some("Lovelace, Ada"));
        assert_eq!(read_users(ImportFormat::Json, json.as_bytes()).unwrap(), users);
        assert_eq!(read_users(ImportFormat::Json, page.as_bytes()).unwrap(), users);
    }

    #[test]
    fn every_problem_is_named_with_its_place() {
        let csv = format!("id,userPrincipalName\n{ID},ada@x.example\nnobody,x@x.example\n{ID}\n");
        let problems = read_users(ImportFormat::Csv, csv.as_bytes()).unwrap_err().to_string();
        assert!(problems.contains("line 3") && problems.contains("; "), "{problems}");
        for bad in ["{}", "1", "[1]", "", "[{\"id\":1}]"] {
            assert!(read_users(ImportFormat::Json, bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn tens_of_thousands_of_users_are_read() {
        let rows = (0..50_000).map(|n: u128| format!("{},u{n}@x.example\n", presence::UserId::from_u128(n)));
        let csv = "id,userPrincipalName\n".to_owned() + &rows.collect::<String>();
        assert_eq!(read_users(ImportFormat::Csv, csv.as_bytes()).unwrap().len(), 50_000);
    }
}

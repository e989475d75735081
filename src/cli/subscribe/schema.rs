//! What a GraphQL API has, asked of itself (introspection), and documents that fit it.

use super::api::Api;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt;

/// Asked of each type, seven levels of lists and non-nulls deep: no API has more.
const TYPE: &str = "query($name: String!) { __type(name: $name) { name kind fields { name args { ...input } type { ...of } } \
    inputFields { ...input } enumValues { name } } } \
    fragment input on __InputValue { name defaultValue type { ...of } } \
    fragment of on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } }";
const ROOTS: &str = "query { __schema { queryType { name } mutationType { name } } }";
/// Fields of what a list shows that could hold a secret are not asked for.
const SECRET: [&str; 4] = ["secret", "token", "password", "key"];

/// A type where it is used: with its lists and whether it may be null.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeRef {
    kind: String,
    name: Option<String>,
    of_type: Option<Box<TypeRef>>,
}

/// An argument, or a field of an input.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    pub name: String,
    default_value: Option<String>,
    #[serde(rename = "type")]
    pub of: TypeRef,
}

/// A field of a type; those of the two roots are the queries and mutations.
#[derive(Debug, Clone, Deserialize)]
pub struct Field {
    pub name: String,
    pub args: Vec<Input>,
    #[serde(rename = "type")]
    pub of: TypeRef,
}

/// A type as the API describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Type {
    pub kind: String,
    fields: Option<Vec<Field>>,
    input_fields: Option<Vec<Input>>,
    enum_values: Option<Vec<EnumValue>>,
}

#[derive(Debug, Clone, Deserialize)]
struct EnumValue {
    name: String,
}

impl TypeRef {
    /// The type's own name.
    pub fn named(&self) -> &str {
        self.of_type.as_deref().map_or_else(|| self.name.as_deref().unwrap_or_default(), TypeRef::named)
    }

    /// Whether it has fields.
    pub fn is_object(&self) -> bool {
        self.of_type.as_deref().map_or(["OBJECT", "INTERFACE"].contains(&self.kind.as_str()), TypeRef::is_object)
    }

    pub fn is_input(&self) -> bool {
        self.of_type.as_deref().map_or(self.kind == "INPUT_OBJECT", TypeRef::is_input)
    }

    /// Whether it is a word, a number or the like, or a list of them.
    pub fn is_leaf(&self) -> bool {
        self.of_type.as_deref().map_or(["SCALAR", "ENUM"].contains(&self.kind.as_str()), TypeRef::is_leaf)
    }

    pub fn is_list(&self) -> bool {
        self.kind == "LIST" || self.of_type.as_deref().is_some_and(TypeRef::is_list)
    }
}

/// As a document writes it: `[WebhookEvent!]!`.
impl fmt::Display for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), &self.of_type) {
            ("NON_NULL", Some(of)) => write!(f, "{of}!"),
            ("LIST", Some(of)) => write!(f, "[{of}]"),
            _ => f.write_str(self.name.as_deref().unwrap_or_default()),
        }
    }
}

impl Input {
    /// Whether it must be given.
    pub fn is_required(&self) -> bool {
        self.of.kind == "NON_NULL" && self.default_value.is_none()
    }
}

impl Field {
    /// Whether it can be asked for without a word.
    pub fn is_free(&self) -> bool {
        !self.args.iter().any(Input::is_required)
    }
}

/// As its reference would have it: `webhookCreate(input: WebhookCreateInput!)`.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.args.iter().map(|arg| format!("{}: {}", arg.name, arg.of)).collect();
        if args.is_empty() { write!(f, "{}: {}", self.name, self.of) } else { write!(f, "{}({})", self.name, args.join(", ")) }
    }
}

impl Type {
    pub fn fields(&self) -> &[Field] {
        self.fields.as_deref().unwrap_or_default()
    }

    pub fn inputs(&self) -> &[Input] {
        self.input_fields.as_deref().unwrap_or_default()
    }

    /// The words of an enum.
    pub fn words(&self) -> Vec<&str> {
        self.enum_values.iter().flatten().map(|value| value.name.as_str()).collect()
    }

    /// The fields that a list can show: words and numbers that take no arguments and hold no secret.
    pub fn leaves(&self) -> Vec<&str> {
        let secret = |name: &str| SECRET.iter().any(|word| name.to_lowercase().contains(word));
        let shown = self.fields().iter().filter(|field| field.of.is_leaf() && field.is_free() && !secret(&field.name));
        shown.map(|field| field.name.as_str()).collect()
    }
}

/// The queries and the mutations of an API.
pub async fn roots(api: &Api) -> anyhow::Result<(Type, Type)> {
    let roots = api.ask(ROOTS, &json!({})).await?;
    let name = |root: &str| roots["__schema"][root]["name"].as_str().map(str::to_owned);
    let (Some(query), Some(mutation)) = (name("queryType"), name("mutationType")) else {
        anyhow::bail!("the API does not say which mutations it has: what it calls a subscription can't be found");
    };
    Ok((type_of(api, &query).await?, type_of(api, &mutation).await?))
}

/// A type by its name.
pub async fn type_of(api: &Api, name: &str) -> anyhow::Result<Type> {
    let mut said = api.ask(TYPE, &json!({ "name": name })).await?;
    serde_json::from_value(said["__type"].take()).map_err(|_| anyhow::anyhow!("the API does not say what its type `{name}` is"))
}

/// A document and its variables.
#[derive(Debug, Clone)]
pub struct Operation {
    pub document: String,
    pub variables: Value,
}

/// The document that asks for a field of a root with these arguments; `selection` is empty or stands in braces.
pub fn operation(kind: &str, field: &Field, args: Map<String, Value>, selection: &str) -> Operation {
    let given: Vec<&Input> = field.args.iter().filter(|arg| args.contains_key(&arg.name)).collect();
    let join = |parts: Vec<String>| if parts.is_empty() { String::new() } else { format!("({})", parts.join(", ")) };
    let declared = join(given.iter().map(|arg| format!("${}: {}", arg.name, arg.of)).collect());
    let passed = join(given.iter().map(|arg| format!("{0}: ${0}", arg.name)).collect());
    Operation { document: format!("{kind}{declared} {{ {}{passed} {selection} }}", field.name), variables: Value::Object(args) }
}

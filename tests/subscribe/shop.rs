//! A shop's GraphQL API as Orderchamp's is described: a real GraphQL engine over HTTP, with introspection, users' errors, a token, a limit
//! that says `Throttled` with status 200, and a list in pages that insists on `first` or `last`.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use juniper::http::GraphQLRequest;
use juniper::{EmptySubscription, FieldResult, GraphQLEnum, GraphQLInputObject, GraphQLObject, ID, RootNode, graphql_object};
use serde_json::json;
use std::sync::{Arc, Mutex};

pub const TOKEN: &str = "made-up-api-token";
/// Subscriptions on a page.
const PAGE: usize = 2;

/// What the API keeps, and what came.
#[derive(Debug, Default)]
pub struct Kept {
    pub webhooks: Vec<Webhook>,
    pub made: u32,
    /// So many questions are answered `Throttled` first.
    pub throttled: u32,
    /// The documents of all mutations that were run.
    pub changes: Vec<String>,
    /// A mutation is run, and its answer never comes.
    pub breaks: bool,
    /// Nothing is removed.
    pub protected: bool,
}

#[derive(Debug, Clone, Default)]
pub struct State(pub Arc<Mutex<Kept>>);
impl juniper::Context for State {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, GraphQLEnum)]
pub enum WebhookEvent {
    OrderConfirmed,
    OrderUpdated,
    ProductCreated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, GraphQLEnum)]
pub enum WebhookTemplate {
    Default,
    Invoicing,
}

#[derive(Debug, Clone, GraphQLObject)]
pub struct Webhook {
    pub id: ID,
    pub url: String,
    pub events: Vec<WebhookEvent>,
    pub template: WebhookTemplate,
    pub signing_secret: String,
}

#[derive(GraphQLObject)]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}
#[derive(GraphQLObject)]
struct Edge {
    node: Webhook,
}
#[derive(GraphQLObject)]
struct WebhookConnection {
    edges: Vec<Edge>,
    page_info: PageInfo,
}
#[derive(GraphQLObject)]
struct UserError {
    field: Option<Vec<String>>,
    message: String,
}
#[derive(GraphQLObject)]
struct WebhookCreatePayload {
    webhook: Option<Webhook>,
    user_errors: Vec<UserError>,
}
#[derive(GraphQLObject)]
struct WebhookDeletePayload {
    deleted_id: Option<ID>,
    user_errors: Vec<UserError>,
}
#[derive(GraphQLInputObject)]
struct WebhookCreateInput {
    url: String,
    events: Vec<WebhookEvent>,
    template: Option<WebhookTemplate>,
}
#[derive(GraphQLInputObject)]
struct WebhookDeleteInput {
    id: ID,
}

pub struct Query;
#[graphql_object(context = State)]
impl Query {
    fn webhooks(context: &State, first: Option<i32>, last: Option<i32>, after: Option<String>) -> FieldResult<WebhookConnection> {
        if first.is_none() && last.is_none() {
            return Err("`first` or `last` is required".into());
        }
        let kept = context.0.lock().unwrap();
        let from: usize = after.and_then(|after| after.parse().ok()).unwrap_or(0);
        let to = (from + PAGE).min(kept.webhooks.len());
        let edges = kept.webhooks[from..to].iter().map(|node| Edge { node: node.clone() }).collect();
        let page_info = PageInfo { has_next_page: to < kept.webhooks.len(), end_cursor: Some(to.to_string()) };
        Ok(WebhookConnection { edges, page_info })
    }
}

fn wrong<T>(field: &str, message: &str, payload: impl Fn(Vec<UserError>) -> T) -> T {
    payload(vec![UserError { field: Some(vec!["input".into(), field.into()]), message: message.into() }])
}

pub struct Mutation;
#[graphql_object(context = State)]
impl Mutation {
    fn webhook_create(context: &State, input: WebhookCreateInput) -> WebhookCreatePayload {
        if input.url.contains("www.example.com") {
            return wrong("url", "is not allowed", |user_errors| WebhookCreatePayload { webhook: None, user_errors });
        }
        let mut kept = context.0.lock().unwrap();
        kept.made += 1;
        let id = ID::new(format!("V2ViaG9vazo{}", kept.made));
        let webhook = Webhook {
            id,
            url: input.url,
            events: input.events,
            template: input.template.unwrap_or(WebhookTemplate::Default),
            signing_secret: "made-up-signing".into(),
        };
        kept.webhooks.push(webhook.clone());
        WebhookCreatePayload { webhook: Some(webhook), user_errors: vec![] }
    }
    fn webhook_delete(context: &State, input: WebhookDeleteInput) -> WebhookDeletePayload {
        let mut kept = context.0.lock().unwrap();
        if kept.protected {
            return wrong("id", "is protected", |user_errors| WebhookDeletePayload { deleted_id: None, user_errors });
        }
        let before = kept.webhooks.len();
        kept.webhooks.retain(|webhook| webhook.id != input.id);
        if kept.webhooks.len() == before {
            return wrong("id", "does not exist", |user_errors| WebhookDeletePayload { deleted_id: None, user_errors });
        }
        WebhookDeletePayload { deleted_id: Some(input.id), user_errors: vec![] }
    }
}

/// Another API: other names, no input object, one kind of event each, the list inside the account, no users' errors.
pub mod other {
    use super::{ID, State, graphql_object};
    use juniper::GraphQLObject;

    #[derive(GraphQLObject)]
    struct Hook {
        id: ID,
        callback: String,
        topic: String,
    }
    #[derive(GraphQLObject)]
    struct Account {
        name: String,
        hooks: Vec<Hook>,
    }

    pub struct Query;
    #[graphql_object(context = State)]
    impl Query {
        fn account(context: &State) -> Account {
            let kept = context.0.lock().unwrap();
            let hook = |one: &super::Webhook| Hook { id: one.id.clone(), callback: one.url.clone(), topic: one.signing_secret.clone() };
            Account { name: "made up".into(), hooks: kept.webhooks.iter().map(hook).collect() }
        }
    }

    pub struct Mutation;
    #[graphql_object(context = State)]
    impl Mutation {
        fn register_hook(context: &State, callback: String, topic: String, format: String) -> Hook {
            assert_eq!(format, "json");
            let mut kept = context.0.lock().unwrap();
            kept.made += 1;
            let id = ID::new(format!("hook-{}", kept.made));
            let (events, template) = (vec![], super::WebhookTemplate::Default);
            kept.webhooks.push(super::Webhook { id: id.clone(), url: callback.clone(), events, template, signing_secret: topic.clone() });
            Hook { id, callback, topic }
        }
        fn remove_hook(context: &State, id: ID) -> bool {
            let mut kept = context.0.lock().unwrap();
            let before = kept.webhooks.len();
            kept.webhooks.retain(|webhook| webhook.id != id);
            kept.webhooks.len() < before
        }
    }
}

/// The API, served on loopback until the test ends.
pub struct Api {
    pub url: String,
    pub state: State,
}

type Answer = Result<hyper::Response<Full<Bytes>>, std::io::Error>;

async fn answer(state: State, request: hyper::Request<Incoming>, is_other: bool) -> Answer {
    let allowed = request.headers().get("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}").as_str());
    let with = |status: u16, body: String| Ok(hyper::Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    if !allowed {
        return with(401, json!({ "message": "Unauthenticated." }).to_string());
    }
    {
        let mut kept = state.0.lock().unwrap();
        if kept.throttled > 0 {
            kept.throttled -= 1;
            return with(200, json!({ "errors": [{ "message": "Throttled" }] }).to_string());
        }
    }
    let asked: GraphQLRequest = serde_json::from_slice(&body).unwrap();
    let said = if is_other {
        serde_json::to_string(&asked.execute_sync(&RootNode::new(other::Query, other::Mutation, EmptySubscription::new()), &state))
    } else {
        serde_json::to_string(&asked.execute_sync(&RootNode::new(Query, Mutation, EmptySubscription::new()), &state))
    };
    if asked.query.starts_with("mutation") {
        let mut kept = state.0.lock().unwrap();
        kept.changes.push(asked.query.clone());
        if kept.breaks {
            return Err(std::io::Error::other("the answer never comes"));
        }
    }
    with(200, said.unwrap())
}

impl Api {
    pub fn start() -> Self {
        Self::serve(false)
    }

    pub fn other() -> Self {
        Self::serve(true)
    }

    fn serve(is_other: bool) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, state) = (listener.local_addr().unwrap(), State::default());
        let kept = state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let state = kept.clone();
                    tokio::spawn(async move {
                        let service = service_fn(move |request| answer(state.clone(), request, is_other));
                        let io = hyper_util::rt::TokioIo::new(socket);
                        drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
                    });
                }
            });
        });
        Api { url: format!("http://{address}/v1/graphql"), state }
    }

    pub fn kept<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.state.0.lock().unwrap())
    }

    /// What is there: the address and events of each.
    pub fn there(&self) -> Vec<(String, Vec<WebhookEvent>)> {
        self.kept(|kept| kept.webhooks.iter().map(|one| (one.url.clone(), one.events.clone())).collect())
    }
}

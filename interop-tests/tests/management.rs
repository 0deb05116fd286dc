//! The node `$management` as fe2o3-amqp-management sees it, which follows the same working draft.
//!
//! Invariant: a broker of its own for each test, every wait with a limit. Only what that crate itself can ask; the rest is
//! in `proton/test_management.py`.

use fe2o3_amqp::types::primitives::{OrderedMap, Value};
use fe2o3_amqp_management::operations::{
    CreateRequest, DeleteRequest, GetAttributesRequest, GetMgmtNodesRequest, GetOperationsRequest,
    GetTypesRequest, QueryRequest, ReadRequest, UpdateRequest,
};
use fe2o3_amqp_management::{MgmtClient, Request, Response, error::Error};
use interop_tests::{Broker, Client, soon};

const QUEUE: &str = "verdict.queue";
const NODE: &str = "org.amqp.management";

/// The answer to a request, within the limit.
async fn call<Req, Res>(manager: &mut MgmtClient, request: Req) -> Result<Res, Error>
where
    Req: Request<Response = Res>,
    Res: Response,
    Res::Error: Into<Error>,
    for<'de> Res::Body: fe2o3_amqp::types::messaging::FromBody<'de> + std::fmt::Debug + Send,
{
    soon("an answer", manager.call(request)).await
}

async fn manager(client: &mut Client) -> MgmtClient {
    soon("attach", MgmtClient::attach(&mut client.session, "mgmt-client"))
        .await
        .expect("attach to $management")
}

/// The status that was answered.
fn status<T: std::fmt::Debug>(answer: Result<T, Error>) -> (u16, String) {
    match answer {
        Err(Error::Status(error)) => (error.code.0.get(), error.description.unwrap_or_default()),
        other => panic!("expected a status, got {other:?}"),
    }
}

fn settings(pairs: &[(&str, Value)]) -> (String, Value) {
    let map: OrderedMap<Value, Value> =
        pairs.iter().map(|(key, value)| (Value::String((*key).to_owned()), value.clone())).collect();
    ("settings".to_owned(), Value::Map(map))
}

fn setting<'a>(attributes: &'a OrderedMap<String, Value>, key: &str) -> Option<&'a Value> {
    match attributes.get("settings") {
        Some(Value::Map(settings)) => settings.get(&Value::String(key.to_owned())),
        _ => None,
    }
}

fn number(value: Option<&Value>) -> Option<u64> {
    if let Some(Value::Ulong(number)) = value { Some(*number) } else { None }
}

/// `CREATE` of that crate has no application property for the name: it goes into the body.
fn create(name: &str, pairs: &[(&str, Value)]) -> CreateRequest<'static> {
    let body: OrderedMap<String, Value> =
        [("name".to_owned(), Value::String(name.to_owned())), settings(pairs)].into_iter().collect();
    CreateRequest::new(name.to_owned(), QUEUE, None::<&str>, body)
}

#[tokio::test]
async fn a_queue_is_created_read_updated_and_deleted() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker.url()).await;
    let mut manager = manager(&mut client).await;
    let created =
        call(&mut manager, create("made", &[("max-attempts", Value::Uint(3))])).await.expect("CREATE");
    assert_eq!(created.entity_attributes.get("name"), Some(&Value::String("made".to_owned())));
    assert_eq!(number(setting(&created.entity_attributes, "max-attempts")), Some(3));
    assert_eq!(status(call(&mut manager, create("made", &[])).await).0, 409);

    let body: OrderedMap<String, Value> = [settings(&[("max-attempts", Value::Null)])].into_iter().collect();
    let update = UpdateRequest::name("made", QUEUE, None, body);
    let updated = call(&mut manager, update).await.expect("UPDATE");
    assert_eq!(number(setting(&updated.entity_attributes, "max-attempts")), Some(10));

    client.send("made", &["a"]).await;
    let read = call(&mut manager, ReadRequest::name("made", QUEUE, None)).await.expect("READ");
    assert_eq!(number(read.entity_attributes.get("ready")), Some(1));
    let (code, words) = status(call(&mut manager, DeleteRequest::name("made", QUEUE, None)).await);
    assert_eq!(code, 409, "{words}");

    call(&mut manager, create("empty", &[])).await.expect("CREATE");
    call(&mut manager, DeleteRequest::name("empty", QUEUE, None)).await.expect("DELETE");
    assert_eq!(status(call(&mut manager, ReadRequest::identity("empty", QUEUE, None)).await).0, 404);
    soon("detach", manager.close()).await.expect("detach");
    client.close().await;
}

#[tokio::test]
async fn queries_are_answered_in_the_form_that_the_crate_reads() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker.url()).await;
    let mut manager = manager(&mut client).await;
    for name in ["a", "b", "c"] {
        call(&mut manager, create(name, &[])).await.expect("CREATE");
    }
    let query = |names: &[&'static str], offset: Option<u32>, count: Option<u32>| {
        QueryRequest::new(Some(QUEUE.into()), offset, count, names.to_vec(), NODE, None)
    };
    let answer = call(&mut manager, query(&["name", "ready"], Some(1), Some(2))).await.expect("QUERY");
    assert_eq!((answer.count, answer.attribute_names), (2, vec!["name".to_owned(), "ready".to_owned()]));
    let names: Vec<_> = answer.results.iter().map(|row| row[0].clone()).collect();
    assert_eq!(names, [Value::String("b".to_owned()), Value::String("c".to_owned())]);
    let answer = call(&mut manager, query(&[], None, None)).await.expect("QUERY");
    assert!(answer.attribute_names.iter().any(|name| name == "settings") && answer.count >= 3);
    for kind in ["verdict.connection", "verdict.consumer"] {
        let all = QueryRequest::new(Some(kind.into()), None, None, Vec::<&str>::new(), NODE, None);
        let answer = call(&mut manager, all).await.expect("QUERY");
        assert_eq!(answer.count as usize, answer.results.len());
    }
    let (code, words) = status(call(&mut manager, query(&["size"], None, None)).await);
    assert_eq!(code, 400, "{words}");
}

#[tokio::test]
async fn the_node_says_what_there_is() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker.url()).await;
    let mut manager = manager(&mut client).await;
    let no = None::<&str>;
    let types = call(&mut manager, GetTypesRequest::new(None, NODE, no)).await.expect("GET-TYPES");
    assert_eq!(types.types.get(QUEUE), Some(&Vec::new()));
    let entity = Some(std::borrow::Cow::from(QUEUE));
    let asked = GetAttributesRequest::new(entity.clone(), NODE, no);
    assert!(call(&mut manager, asked).await.is_ok());
    let operations =
        call(&mut manager, GetOperationsRequest::new(entity, NODE, no)).await.expect("GET-OPERATIONS");
    let of_queues = operations.body.get(QUEUE).expect("those of queues");
    assert_eq!(of_queues.get("DELETE"), Some(&vec!["if-empty".to_owned(), "if-unused".to_owned()]));
    let nodes = call(&mut manager, GetMgmtNodesRequest::new(NODE, no)).await.expect("GET-MGMT-NODES");
    assert_eq!(nodes.body, ["$management"]);
    let broker = call(&mut manager, ReadRequest::name("self", "verdict.broker", None)).await.expect("READ");
    assert_eq!(broker.entity_attributes.get("ready"), Some(&Value::Bool(true)));
}

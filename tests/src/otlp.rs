//! A collector of traces: OTLP over gRPC, as the real ones take it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span as ProtoSpan, span::SpanKind, status::StatusCode},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Server};

use crate::{
    service::free_address,
    wait::{SOON, eventually},
};

/// A running collector. Ends when dropped.
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    taken: Taken,
    task: JoinHandle<()>,
}

/// A span that it took.
#[derive(Clone, Debug)]
pub struct Span {
    /// The service that made it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// What it is to the call: server, client, consumer.
    pub kind: SpanKind,
    /// The trace's id, in hex.
    pub trace: String,
    /// Its own.
    pub id: String,
    /// Its parent's; empty: it has none.
    pub parent: String,
    /// What is noted of it.
    pub attributes: BTreeMap<String, String>,
    /// Whether it went wrong.
    pub failed: bool,
    /// All of it as it came, to be searched.
    pub whole: String,
}

#[derive(Clone, Default)]
struct Taken {
    spans: Arc<Mutex<Vec<Span>>>,
    metadata: Arc<Mutex<Option<MetadataMap>>>,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Collector {
        Self::at(free_address()).await
    }

    /// Starts one at this address.
    pub async fn at(address: SocketAddr) -> Collector {
        let listener = TcpListener::bind(address).await.expect("bind");
        let taken = Taken::default();
        let service = TraceServiceServer::new(taken.clone());
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { serving.await.expect("serve") });
        Collector {
            address,
            taken,
            task,
        }
    }

    /// The arguments of a process that sends to it, under this name.
    pub fn args(&self, service: &str) -> Vec<String> {
        args(&format!("http://{}", self.address), service)
    }

    /// The spans it has taken.
    pub fn spans(&self) -> Vec<Span> {
        self.taken.spans.lock().unwrap().clone()
    }

    /// What came with the last of them.
    pub fn metadata(&self) -> MetadataMap {
        let metadata = self.taken.metadata.lock().unwrap();
        metadata.clone().unwrap_or_default()
    }

    /// Waits for a span that is as wanted.
    pub async fn wait_for(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        eventually(what, SOON, async || self.spans().into_iter().find(&is_it)).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The arguments of a process that sends to this address.
pub fn args(url: &str, service: &str) -> Vec<String> {
    let args = ["--otlp-endpoint", url, "--otlp-service-name", service];
    args.map(str::to_owned).to_vec()
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        *self.metadata.lock().unwrap() = Some(request.metadata().clone());
        let mut spans = self.spans.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            let whole = format!("{:?}", of_resource.resource);
            let resource = attributes(&of_resource.resource.unwrap_or_default().attributes);
            let service = resource.get("service.name").cloned().unwrap_or_default();
            let scopes = of_resource.scope_spans.into_iter();
            spans.extend(
                scopes
                    .flat_map(|scope| scope.spans)
                    .map(|span| read(&service, &whole, &span)),
            );
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(service: &str, resource: &str, span: &ProtoSpan) -> Span {
    let code = span.status.as_ref().map(|status| status.code());
    Span {
        service: service.to_owned(),
        name: span.name.clone(),
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: attributes(&span.attributes),
        failed: code == Some(StatusCode::Error),
        whole: format!("{resource} {span:?}"),
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), text(&pair.value)))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

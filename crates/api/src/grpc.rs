//! The Open Inference Protocol over gRPC, on the port of HTTP, with `grpc.health.v1` and reflection beside it.
//!
//! A call is a request like any other: it passes the same layers, shows the same keys (as metadata), and is turned away in
//! gRPC's words by [`crate::dialect`]. [`methods`] converts messages and calls what REST calls; [`stream`] is the one that
//! stays open; [`codec`] puts messages on the wire. What each asks of its caller is [`ACCESS`].

pub mod codec;
pub mod methods;
pub mod stream;

use crate::access::{Access, Right};
use crate::extract::{Known, let_in};
use crate::house::House;
use crate::refusal::{Code, Refusal};
use crate::request::{self, Origin};
use crate::routes::health;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use codec::Wire;
use ombud_oip::messages::{
    ModelConfigRequest, ModelInferRequest, ModelMetadataRequest, ModelReadyRequest,
    ModelStatisticsRequest, RepositoryIndexRequest, RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
};
use ombud_oip::{DESCRIPTORS, Message};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Status, metadata::MetadataMap};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};
use tower::ServiceExt;

/// The service's name.
pub const SERVICE: &str = "inference.GRPCInferenceService";

use Access::{Needs, Public};

/// What each method asks of its caller.
pub const ACCESS: &[(&str, Access)] = &[
    ("ServerLive", Public),
    ("ServerReady", Public),
    ("ServerMetadata", Public),
    ("ModelReady", Needs(Right::SeeModels)),
    ("ModelMetadata", Needs(Right::SeeModels)),
    ("ModelConfig", Needs(Right::SeeModels)),
    ("ModelStatistics", Needs(Right::SeeModels)),
    ("ModelInfer", Needs(Right::Decide)),
    ("ModelStreamInfer", Needs(Right::Decide)),
    ("RepositoryIndex", Needs(Right::SeeModels)),
    ("RepositoryModelLoad", Needs(Right::Deploy)),
    ("RepositoryModelUnload", Needs(Right::Deploy)),
];

/// Who calls a method, from where, and since when.
#[derive(Debug, Clone)]
pub struct Calling {
    pub house: House,
    /// Nobody, where a method is public.
    pub caller: Option<Known>,
    pub origin: Origin,
    pub method: &'static str,
    pub started: Instant,
}

/// The methods as routes.
pub fn router(house: &House) -> Router<House> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let v1 = reflection.build_v1();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let v1alpha = reflection.build_v1alpha();
    let health = HealthServer::new(Watched(house.clone()));
    let mut router = Router::new()
        .route(&format!("/{SERVICE}/{{method}}"), post(call))
        .merge(beside(health));
    if let Ok(service) = v1 {
        router = router.merge(beside(service));
    }
    if let Ok(service) = v1alpha {
        router = router.merge(beside(service));
    }
    router
}

/// A service that others wrote, under its own name.
fn beside<S>(service: S) -> Router<House>
where
    S: tower::Service<
            Request<Body>,
            Response = axum::http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let path = format!("/{}/{{method}}", S::NAME);
    let service = service
        .map_response(|response: axum::http::Response<tonic::body::Body>| response.map(Body::new));
    Router::new().route_service(&path, service)
}

async fn call(
    State(house): State<House>,
    Path(method): Path<String>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let Some((method, access)) = ACCESS.iter().find(|(name, _)| *name == method) else {
        return Err(Refusal::new(
            Code::Unsupported,
            format!("{method} is not done here"),
        ));
    };
    let (mut parts, body) = request.into_parts();
    let caller = match access {
        Public => None,
        _ => Some(let_in(&house, &mut parts, Ok(*access)).await?),
    };
    let origin = parts.extensions.get::<Origin>().cloned();
    let Some(origin) = origin else {
        return Err(request::no_such_route().await);
    };
    let calling = Calling {
        house,
        caller,
        origin,
        method,
        started: Instant::now(),
    };
    let request = Request::from_parts(parts, body);
    Ok(match *method {
        "ServerLive" => unary(calling, request, |c, m: ServerLiveRequest| c.server_live(m)).await,
        "ServerReady" => {
            unary(calling, request, |c, m: ServerReadyRequest| {
                c.server_ready(m)
            })
            .await
        }
        "ServerMetadata" => {
            unary(calling, request, |c, m: ServerMetadataRequest| {
                c.server_metadata(m)
            })
            .await
        }
        "ModelReady" => unary(calling, request, |c, m: ModelReadyRequest| c.model_ready(m)).await,
        "ModelMetadata" => {
            unary(calling, request, |c, m: ModelMetadataRequest| {
                c.model_metadata(m)
            })
            .await
        }
        "ModelConfig" => {
            unary(calling, request, |c, m: ModelConfigRequest| {
                c.model_config(m)
            })
            .await
        }
        "ModelStatistics" => {
            unary(calling, request, |c, m: ModelStatisticsRequest| {
                c.model_statistics(m)
            })
            .await
        }
        "ModelInfer" => unary(calling, request, |c, m: ModelInferRequest| c.model_infer(m)).await,
        "RepositoryIndex" => {
            unary(calling, request, |c, m: RepositoryIndexRequest| {
                c.repository_index(m)
            })
            .await
        }
        "RepositoryModelLoad" => {
            unary(calling, request, |c, m: RepositoryModelLoadRequest| {
                c.load(m)
            })
            .await
        }
        "RepositoryModelUnload" => {
            unary(calling, request, |c, m: RepositoryModelUnloadRequest| {
                c.unload(m)
            })
            .await
        }
        _ => stream::infer(calling, request).await,
    })
}

/// One message in, one out.
async fn unary<M, R, F, A>(calling: Calling, request: Request<Body>, answer: F) -> Response
where
    M: Message + Default + Send + 'static,
    R: Message + 'static,
    F: Fn(Calling, M) -> A + Clone + Send + 'static,
    A: Future<Output = Result<R, Refusal>> + Send + 'static,
{
    let wire = Wire::<M>::holding(request.extensions().get().cloned());
    let mut grpc = on_the_wire(&calling.house, wire);
    let is_read = Arc::new(AtomicBool::new(false));
    let service = Once {
        calling: calling.clone(),
        answer,
        is_read: Arc::clone(&is_read),
        message: std::marker::PhantomData::<M>,
    };
    let response = grpc.unary(service, request).await;
    if is_read.load(Ordering::Relaxed) {
        return response.map(Body::new).into_response();
    }
    // A message that cannot be read is a refused request, and on record as one.
    let refusal = match Status::from_header_map(response.headers()) {
        Some(status) if status.code() == tonic::Code::OutOfRange => {
            Refusal::new(Code::TooLarge, status.message().to_owned())
        }
        Some(status) => Refusal::malformed(status.message().to_owned()),
        None => Refusal::malformed("the message cannot be read"),
    };
    let refusal = match calling.known() {
        Ok(caller) => {
            let (house, origin) = (&calling.house, &calling.origin);
            house.record_refusal(&caller, origin, None, refusal).await
        }
        Err(_) => refusal,
    };
    calling.turned_away(refusal).await.into_http()
}

/// Messages within the limit of bodies, packed as the client likes.
fn on_the_wire<M: Message + Default + Send + 'static>(
    house: &House,
    wire: Wire<M>,
) -> Grpc<Wire<M>> {
    let bytes_max = house.config.limits.body_bytes_max.0;
    Grpc::new(wire)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Deflate)
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(usize::MAX)
}

struct Once<F, M> {
    calling: Calling,
    answer: F,
    /// Set when the message could be read.
    is_read: Arc<AtomicBool>,
    message: std::marker::PhantomData<M>,
}

impl<M, R, F, A> UnaryService<M> for Once<F, M>
where
    M: Message + Default + Send + 'static,
    R: Message + 'static,
    F: Fn(Calling, M) -> A + Clone + Send + 'static,
    A: Future<Output = Result<R, Refusal>> + Send + 'static,
{
    type Response = bytes::Bytes;
    type Future =
        futures_util::future::BoxFuture<'static, Result<tonic::Response<bytes::Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<M>) -> Self::Future {
        self.is_read.store(true, Ordering::Relaxed);
        let calling = self.calling.clone();
        let answer = (self.answer)(calling.clone(), request.into_inner());
        Box::pin(async move {
            match answer.await {
                Ok(told) => Ok(tonic::Response::new(told.encode_to_vec().into())),
                Err(refusal) => Err(calling.turned_away(refusal).await),
            }
        })
    }
}

impl Calling {
    /// Whoever calls a method that needs somebody.
    pub fn known(&self) -> Result<Known, Refusal> {
        self.caller.clone().ok_or_else(|| {
            Refusal::new(
                Code::Unauthenticated,
                "this method needs somebody who is known",
            )
        })
    }

    /// A refusal as gRPC tells it, on record as one over HTTP is: what surrounds requests sees none that a message was read for.
    async fn turned_away(&self, refusal: Refusal) -> Status {
        self.note(&refusal).await;
        Status::from(refusal)
    }

    async fn note(&self, refusal: &Refusal) {
        let route = format!("/{SERVICE}/{}", self.method);
        let caller = self.caller.as_deref();
        self.house
            .note_refusal(caller, &self.origin, &route, refusal)
            .await;
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = tonic::Code::from(refusal.code().grpc() as i32);
        let metadata = MetadataMap::from_headers(refusal.headers());
        Status::with_metadata(code, refusal.sentence(), metadata)
    }
}

/// `grpc.health.v1`, asked of the house itself.
#[derive(Debug, Clone)]
struct Watched(House);

impl Watched {
    async fn status(&self, service: &str) -> Result<HealthCheckResponse, Status> {
        if !(service.is_empty() || service == SERVICE) {
            return Err(Status::not_found(format!(
                "there is no service {service:?}"
            )));
        }
        let status = match health::is_well(&self.0).await {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        Ok(HealthCheckResponse {
            status: status.into(),
        })
    }
}

#[tonic::async_trait]
impl Health for Watched {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        let told = self.status(&request.get_ref().service).await?;
        Ok(tonic::Response::new(told))
    }

    type WatchStream =
        futures_util::stream::BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        Ok(tonic::Response::new(stream::changes(
            self.0.clone(),
            service,
        )))
    }
}

/// The status that [`stream::changes`] follows.
async fn watched(house: &House, service: &str) -> Result<HealthCheckResponse, Status> {
    Watched(house.clone()).status(service).await
}

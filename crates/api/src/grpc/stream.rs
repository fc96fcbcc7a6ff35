//! Calls that stay open: questions and answers as they come, and health as it changes.
//!
//! Triton and MLServer stream under one name and with two messages; a client of the one silently misreads the other. Triton's
//! is the default, and there an error is a message like any other and the stream goes on. Where `inference.mlserver_streams`
//! names a deployment, its streams answer in MLServer's, where an error ends the stream.

use super::{Calling, Wire, on_the_wire, watched};
use crate::house::House;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use ombud_oip::Message;
use ombud_oip::messages::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use std::time::{Duration, Instant};
use tonic::server::StreamingService;
use tonic::{Status, Streaming};
use tonic_health::pb::HealthCheckResponse;

/// How often health is looked at for those who watch it.
const WATCHED_EVERY: Duration = Duration::from_secs(5);

/// Answers questions in their order, each when it was asked.
pub async fn infer(calling: Calling, request: Request<Body>) -> Response {
    let wire = Wire::<ModelInferRequest>::holding(request.extensions().get().cloned());
    let mut grpc = on_the_wire(&calling.house, wire);
    let response = grpc.streaming(Questions(calling), request).await;
    response.map(Body::new).into_response()
}

struct Questions(Calling);

impl StreamingService<ModelInferRequest> for Questions {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<ModelInferRequest>>) -> Self::Future {
        let calling = self.0.clone();
        let answers = stream::unfold(Some(request.into_inner()), move |questions| {
            let calling = calling.clone();
            async move {
                let mut questions = questions?;
                match questions.message().await {
                    Ok(None) => None,
                    Ok(Some(question)) => {
                        let told = answer(&calling, question).await;
                        let rest = told.is_ok().then_some(questions);
                        Some((told, rest))
                    }
                    Err(status) => Some((Err(status), None)),
                }
            }
        });
        std::future::ready(Ok(tonic::Response::new(answers.boxed())))
    }
}

async fn answer(calling: &Calling, question: ModelInferRequest) -> Result<Bytes, Status> {
    let is_mlserver = speaks_mlserver(&calling.house, &question);
    let (id, model_name) = (question.id.clone(), question.model_name.clone());
    // An open stream holds no place for requests; each of its questions does while it is answered.
    let _place = calling.house.places.acquire().await;
    let calling = Calling {
        started: Instant::now(),
        ..calling.clone()
    };
    let paid = calling.pay_for_question().await;
    let told = match paid {
        Ok(()) => calling.clone().model_infer(question).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &told {
        calling.note(refusal).await;
    }
    let message = match (told, is_mlserver) {
        (Ok(told), true) => told.encode_to_vec(),
        (Err(refusal), true) => return Err(refusal.into()),
        (Ok(told), false) => ModelStreamInferResponse {
            error_message: String::new(),
            infer_response: Some(told),
        }
        .encode_to_vec(),
        (Err(refusal), false) => ModelStreamInferResponse {
            error_message: refusal.sentence(),
            // Names the question that failed.
            infer_response: Some(ModelInferResponse {
                id,
                model_name,
                ..ModelInferResponse::default()
            }),
        }
        .encode_to_vec(),
    };
    Ok(message.into())
}

impl Calling {
    /// A stream is let in once; what it asks is paid for question by question.
    async fn pay_for_question(&self) -> Result<(), crate::refusal::Refusal> {
        let caller = self.known()?;
        self.house.pay_for_rows(&caller, &self.origin, 1).await
    }
}

fn speaks_mlserver(house: &House, question: &ModelInferRequest) -> bool {
    let environment = question.parameters.get("environment");
    let environment = environment.and_then(|parameter| match &parameter.choice {
        Some(ombud_oip::messages::ParameterChoice::Text(name)) => Some(name.as_str()),
        _ => None,
    });
    let (model, environment) = (&question.model_name, environment.unwrap_or("production"));
    let named = &house.config.inference.mlserver_streams;
    named.iter().any(|place| match place.split_once('@') {
        Some((name, at)) => (name == "*" || name == model) && at == environment,
        None => place == "*" || place == model,
    })
}

/// The health of a service now, and whenever it changes.
pub fn changes(
    house: House,
    service: String,
) -> BoxStream<'static, Result<HealthCheckResponse, Status>> {
    // What was told last; nothing at all once an error ended it.
    let followed = stream::unfold(Some(None::<HealthCheckResponse>), move |told| {
        let (house, service) = (house.clone(), service.clone());
        async move {
            let told = told?;
            loop {
                if told.is_some() {
                    tokio::time::sleep(WATCHED_EVERY).await;
                }
                match watched(&house, &service).await {
                    Ok(now) if told.as_ref() == Some(&now) => {}
                    Ok(now) => return Some((Ok(now), Some(Some(now)))),
                    Err(status) => return Some((Err(status), None)),
                }
            }
        }
    });
    followed.boxed()
}

//! The methods that take one message and give one: each converts, calls what REST calls, and converts back.

use super::Calling;
use crate::access::Right;
use crate::inference::{self, Found, Place, find};
use crate::refusal::{Code, Refusal};
use crate::routes::oip::{self, SERVER_NAME, Where, about, counted, repository};
use ombud_oip::Request;
use ombud_oip::messages::{
    ModelConfigRequest, ModelConfigResponse, ModelIndex, ModelInferRequest, ModelInferResponse,
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
    ModelRepositoryParameter, ModelStatisticsRequest, ModelStatisticsResponse, RepositoryChoice,
    RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
};
use ombud_oip::model::{inputs, outputs};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

type Told<T> = Result<T, Refusal>;

impl Calling {
    pub async fn server_live(self, _message: ServerLiveRequest) -> Told<ServerLiveResponse> {
        Ok(ServerLiveResponse { live: true })
    }

    pub async fn server_ready(self, _message: ServerReadyRequest) -> Told<ServerReadyResponse> {
        let ready = crate::routes::health::is_well(&self.house).await;
        Ok(ServerReadyResponse { ready })
    }

    pub async fn server_metadata(
        self,
        _message: ServerMetadataRequest,
    ) -> Told<ServerMetadataResponse> {
        Ok(ServerMetadataResponse {
            name: SERVER_NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: oip::EXTENSIONS
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
        })
    }

    pub async fn model_ready(self, message: ModelReadyRequest) -> Told<ModelReadyResponse> {
        let (caller, at) = (self.known()?, Where::default());
        let (name, version) = (&message.name, &message.version);
        // As Triton answers: a model that is not there is not ready.
        match oip::is_ready(&self.house, &caller, name, version, at).await {
            Ok(ready) => Ok(ModelReadyResponse { ready }),
            Err(refusal) if refusal.code() == Code::NotFound => {
                Ok(ModelReadyResponse { ready: false })
            }
            Err(refusal) => Err(refusal),
        }
    }

    pub async fn model_metadata(
        self,
        message: ModelMetadataRequest,
    ) -> Told<ModelMetadataResponse> {
        let found = self.look(&message.name, &message.version).await?;
        let about = about(&found, self.house.config.limits.rows_max);
        Ok(ModelMetadataResponse {
            name: about.name.to_owned(),
            versions: oip::versions(&found),
            platform: about.platform(),
            inputs: inputs(about.schema)
                .iter()
                .map(ombud_oip::model::Slot::metadata)
                .collect(),
            outputs: outputs(about.outputs)
                .iter()
                .map(ombud_oip::model::Slot::metadata)
                .collect(),
            properties: about.properties(),
        })
    }

    pub async fn model_config(self, message: ModelConfigRequest) -> Told<ModelConfigResponse> {
        let found = self.look(&message.name, &message.version).await?;
        let config = about(&found, self.house.config.limits.rows_max).config();
        Ok(ModelConfigResponse {
            config: Some(config),
        })
    }

    pub async fn model_statistics(
        self,
        message: ModelStatisticsRequest,
    ) -> Told<ModelStatisticsResponse> {
        let caller = self.known()?;
        let (name, version) = (&message.name, &message.version);
        let counted = counted::counted(&self.house, &caller, name, version).await?;
        Ok(ModelStatisticsResponse {
            model_stats: counted.iter().map(counted::message).collect(),
        })
    }

    pub async fn model_infer(self, message: ModelInferRequest) -> Told<ModelInferResponse> {
        let caller = self.known()?;
        let is_raw = !message.raw_input_contents.is_empty();
        let model = ombud_core::ModelName::new(&message.model_name).ok();
        let (place, request) = match read(message) {
            Ok(read) => read,
            Err(refusal) => {
                let house = &self.house;
                return Err(house
                    .record_refusal(&caller, &self.origin, model, refusal)
                    .await);
            }
        };
        let (house, origin) = (&self.house, &self.origin);
        let told = inference::infer(house, &caller, origin, place, &request, self.started).await?;
        Ok(told.into_message(is_raw))
    }

    pub async fn repository_index(
        self,
        message: RepositoryIndexRequest,
    ) -> Told<RepositoryIndexResponse> {
        let caller = self.known()?;
        let indexed = repository::indexed(&self.house, &caller, message.ready).await?;
        let line = |view: repository::IndexedView| ModelIndex {
            name: view.name,
            version: view.version,
            state: view.state,
            reason: view.reason,
        };
        Ok(RepositoryIndexResponse {
            models: indexed.into_iter().map(line).collect(),
        })
    }

    pub async fn load(
        self,
        message: RepositoryModelLoadRequest,
    ) -> Told<RepositoryModelLoadResponse> {
        let (caller, parameters) = (self.known()?, values(message.parameters));
        let name = &message.model_name;
        repository::load_model(&self.house, &caller, &self.origin, name, &parameters).await?;
        Ok(RepositoryModelLoadResponse {
            model_name: message.model_name,
            is_loaded: true,
        })
    }

    pub async fn unload(
        self,
        message: RepositoryModelUnloadRequest,
    ) -> Told<RepositoryModelUnloadResponse> {
        let (caller, parameters) = (self.known()?, values(message.parameters));
        let name = &message.model_name;
        repository::unload_model(&self.house, &caller, &self.origin, name, &parameters).await?;
        Ok(RepositoryModelUnloadResponse {
            model_name: message.model_name,
            is_unloaded: true,
        })
    }

    async fn look(&self, name: &str, version: &str) -> Told<Found> {
        let place = Place::of(name, version, None)?;
        find(&self.house, &self.known()?, Right::SeeModels, place).await
    }
}

fn read(message: ModelInferRequest) -> Told<(Place, Request)> {
    let (name, version) = (message.model_name.clone(), message.model_version.clone());
    let request = Request::from_message(message)?;
    let place = Place::of(&name, &version, request.parameters.get("environment"))?;
    Ok((place, request))
}

fn values(parameters: BTreeMap<String, ModelRepositoryParameter>) -> Map<String, Value> {
    let value = |parameter: ModelRepositoryParameter| match parameter.choice {
        Some(RepositoryChoice::Bool(flag)) => Value::from(flag),
        Some(RepositoryChoice::Int(number)) => Value::from(number),
        Some(RepositoryChoice::Text(text)) => Value::from(text),
        // A file that is brought along; nobody reads it.
        Some(RepositoryChoice::Bytes(_)) | None => Value::Null,
    };
    parameters
        .into_iter()
        .map(|(name, parameter)| (name, value(parameter)))
        .collect()
}

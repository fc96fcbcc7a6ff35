//! The registry: models, their versions, and what people call them and write about them.

use crate::access::Right;
use crate::extract::{Json, Known, Path, Query};
use crate::house::House;
use crate::refusal::{Code, Refusal, chain};
use crate::request::Origin;
use crate::time::{self, now_us};
use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};
use futures_util::StreamExt;
use ombud_core::{Class, Fault, Label, ModelName, Version};
use ombud_engine::bundle::{Bundle, BundleError};
use ombud_ledger::RecordId;
use ombud_ledger::record::Kind;
use ombud_store::alias::NewAssignment;
use ombud_store::event::{Event, EventQuery};
use ombud_store::registry::RegistryError;
use ombud_store::version::Registration;
use ombud_store::{Environment, Model, Registered};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Where bundles are sent.
pub(crate) const MODELS_PATH: &str = "/api/v1/models";
/// The folder, within the storage folder, where a bundle waits until it is verified.
const INCOMING: &str = "incoming";

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelView {
    pub name: String,
    pub description: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub archived_at: Option<String>,
}

/// Models, by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelsView {
    pub models: Vec<ModelView>,
}

/// A version.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionView {
    pub model: String,
    /// Its place in the order of registration, from 1.
    pub version: u32,
    /// What people call it.
    pub label: String,
    /// The bundle's identity.
    pub digest: String,
    pub task: String,
    pub engine: String,
    /// The size of its files together.
    pub bytes: u64,
    /// The key that signed it.
    pub signed_by: Option<String>,
    #[schema(format = DateTime)]
    pub registered_at: String,
    pub registered_by: String,
    #[schema(format = DateTime)]
    pub archived_at: Option<String>,
}

/// A model with its versions and what points at them.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelDetail {
    #[serde(flatten)]
    pub model: ModelView,
    /// Newest first.
    pub versions: Vec<VersionView>,
    /// Names that people gave to versions.
    pub aliases: BTreeMap<String, u32>,
}

/// A version with everything known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionDetail {
    #[serde(flatten)]
    pub version: VersionView,
    pub tags: BTreeMap<String, String>,
    /// Oldest first.
    pub notes: Vec<NoteView>,
    /// The bundle's manifest: schema, outputs, metrics, lineage, gates.
    #[schema(value_type = Object)]
    pub manifest: Box<RawValue>,
}

/// A remark about a version.
#[derive(Debug, Serialize, ToSchema)]
pub struct NoteView {
    pub id: String,
    #[schema(format = DateTime)]
    pub time: String,
    pub author: String,
    pub body: String,
}

/// How a bundle is registered.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RegisterQuery {
    /// The label, when it is not the manifest's own.
    pub label: Option<String>,
}

/// A tag's value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagWish {
    #[schema(max_length = 1000)]
    pub value: String,
}

/// A remark to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteWish {
    #[schema(min_length = 1, max_length = 10000)]
    pub body: String,
}

/// Whether a version is put aside.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveWish {
    pub archived: bool,
}

/// What an alias should name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasWish {
    /// A number, a label or another alias; absent withdraws it.
    #[serde(default)]
    pub version: Option<String>,
    /// Why, in a person's words.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// Everything an alias ever named, in order.
#[derive(Debug, Serialize, ToSchema)]
pub struct AliasView {
    pub alias: String,
    pub history: Vec<AssignmentView>,
}

/// What an alias named from a moment on.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssignmentView {
    /// Absent: it was withdrawn.
    pub version: Option<u32>,
    #[schema(format = DateTime)]
    pub time: String,
    pub principal: String,
    pub reason: String,
}

/// Which events.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only of this model.
    pub model: Option<String>,
    /// Only in this environment.
    pub environment: Option<String>,
    /// At most this many.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// The last event of the page before.
    pub after: Option<String>,
}

/// Something that changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    pub id: String,
    #[schema(format = DateTime)]
    pub time: String,
    pub kind: String,
    pub model: Option<String>,
    pub environment: Option<String>,
    pub principal: String,
    /// Before, in words.
    pub was: String,
    /// After, in words.
    pub becomes: String,
    pub reason: String,
    /// With which numbers.
    pub numbers: serde_json::Value,
    /// Whether somebody overruled a gate.
    pub is_forced: bool,
}

/// A page of events, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventsView {
    pub events: Vec<EventView>,
    /// What to send as `after` for the next page.
    pub next: Option<String>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(model))
        .routes(routes!(version, delete))
        .routes(routes!(set_tag, remove_tag))
        .routes(routes!(add_note))
        .routes(routes!(archive))
        .routes(routes!(alias, set_alias))
        .routes(routes!(events))
}

/// List models
#[utoipa::path(get, path = "/api/v1/models", tag = "registry", responses((status = 200, description = "Models that have a version, by name.", body = ModelsView)))]
async fn list(State(house): State<House>, caller: Known) -> Result<Answer<ModelsView>, Refusal> {
    caller.may(Right::SeeModels)?;
    let store = &house.registry.store;
    let models = store.deployable_models(&caller.tenant).await?;
    let seen = models.into_iter().filter(|model| caller.sees(&model.name));
    Ok(Answer(ModelsView {
        models: seen.map(ModelView::from).collect(),
    }))
}

/// Register a bundle (`.tar.gz`) as a version of the model that its manifest names
///
/// The same bundle twice is the same version; other content under one label is refused.
#[utoipa::path(post, path = "/api/v1/models", tag = "registry", params(RegisterQuery),
    request_body(content = Vec<u8>, content_type = "application/gzip", description = "The packed bundle."),
    responses(
        (status = 201, description = "A new version.", body = VersionView),
        (status = 200, description = "The version that it was registered as before.", body = VersionView),
    ))]
async fn register(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Query(query): Query<RegisterQuery>,
    request: Request,
) -> Result<(StatusCode, Answer<VersionView>), Refusal> {
    caller.may_everywhere(Right::Register)?;
    let label = query
        .label
        .map(Label::try_from)
        .transpose()
        .map_err(|error| Refusal::malformed(error.to_string()))?;
    let bundle = take_in(&house, request.into_body()).await?;
    let registration = house
        .ops
        .register(
            &caller.tenant,
            &origin.caller(&caller),
            &*house.depot,
            Arc::new(bundle),
            label,
        )
        .await?;
    let status = if matches!(registration, Registration::New(_)) {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let registered = registration.into_registered();
    Ok((status, Answer(registered.into())))
}

/// A model with its versions
#[utoipa::path(get, path = "/api/v1/models/{name}", tag = "registry", params(("name" = String, Path, description = "The model's name.")),
    responses((status = 200, description = "The model.", body = ModelDetail)))]
async fn model(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<ModelName>,
) -> Result<Answer<ModelDetail>, Refusal> {
    caller.may_about(Right::SeeModels, &name)?;
    let (store, tenant) = (&house.registry.store, &caller.tenant);
    let model = store.model(tenant, &name).await?.into();
    let versions = store
        .versions(tenant, &name)
        .await?
        .into_iter()
        .map(VersionView::from)
        .collect();
    let aliases = store.aliases(tenant, &name).await?;
    let aliases = aliases
        .into_iter()
        .map(|(alias, version)| (alias, version.get()))
        .collect();
    Ok(Answer(ModelDetail {
        model,
        versions,
        aliases,
    }))
}

/// A version with everything known of it
#[utoipa::path(get, path = "/api/v1/models/{name}/versions/{version}", tag = "registry",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "A number, a label, an alias, or `latest`.")),
    responses((status = 200, description = "The version.", body = VersionDetail)))]
async fn version(
    State(house): State<House>,
    caller: Known,
    Path((name, version)): Path<(ModelName, String)>,
) -> Result<Answer<VersionDetail>, Refusal> {
    caller.may_about(Right::SeeModels, &name)?;
    let (store, tenant) = (&house.registry.store, &caller.tenant);
    let registered = store.resolve(tenant, &name, &version).await?;
    let number = registered.version;
    let manifest = RawValue::from_string(store.manifest(tenant, &name, number).await?)
        .map_err(|error| Refusal::internal(&error))?;
    let notes = store
        .notes(tenant, &name, number)
        .await?
        .into_iter()
        .map(|note| NoteView {
            id: note.id.to_string(),
            time: time::text(note.time_us),
            author: note.author,
            body: note.body,
        });
    let notes = notes.collect();
    let tags = store.tags(tenant, &name, number).await?;
    Ok(Answer(VersionDetail {
        version: registered.into(),
        tags,
        notes,
        manifest,
    }))
}

/// Delete a version that was never deployed
#[utoipa::path(delete, path = "/api/v1/models/{name}/versions/{version}", tag = "registry",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "Its number or label.")),
    responses((status = 204, description = "Deleted.")))]
async fn delete(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, version)): Path<(ModelName, String)>,
) -> Result<StatusCode, Refusal> {
    caller.may_about(Right::Register, &name)?;
    let registered = house
        .registry
        .store
        .resolve(&caller.tenant, &name, &version)
        .await?;
    note(&house, &caller, &origin, &registered, "delete").await?;
    house.registry.delete(&caller.tenant, &registered).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Set a tag
#[utoipa::path(put, path = "/api/v1/models/{name}/versions/{version}/tags/{tag}", tag = "registry", request_body = TagWish,
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "Its number or label."), ("tag" = String, Path, description = "The tag's name.")),
    responses((status = 204, description = "Set.")))]
async fn set_tag(
    State(house): State<House>,
    caller: Known,
    Path((name, version, tag)): Path<(ModelName, String, String)>,
    Json(wish): Json<TagWish>,
) -> Result<StatusCode, Refusal> {
    caller.may_about(Right::Register, &name)?;
    let registered = house
        .registry
        .store
        .resolve(&caller.tenant, &name, &version)
        .await?;
    house
        .registry
        .store
        .set_tag(
            &caller.tenant,
            &name,
            registered.version,
            &tag,
            Some(&wish.value),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a tag
#[utoipa::path(delete, path = "/api/v1/models/{name}/versions/{version}/tags/{tag}", tag = "registry",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "Its number or label."), ("tag" = String, Path, description = "The tag's name.")),
    responses((status = 204, description = "Removed, or not there.")))]
async fn remove_tag(
    State(house): State<House>,
    caller: Known,
    Path((name, version, tag)): Path<(ModelName, String, String)>,
) -> Result<StatusCode, Refusal> {
    caller.may_about(Right::Register, &name)?;
    let registered = house
        .registry
        .store
        .resolve(&caller.tenant, &name, &version)
        .await?;
    house
        .registry
        .store
        .set_tag(&caller.tenant, &name, registered.version, &tag, None)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Add a remark
#[utoipa::path(post, path = "/api/v1/models/{name}/versions/{version}/notes", tag = "registry", request_body = NoteWish,
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "Its number or label.")),
    responses((status = 201, description = "Added.", body = NoteView)))]
async fn add_note(
    State(house): State<House>,
    caller: Known,
    Path((name, version)): Path<(ModelName, String)>,
    Json(wish): Json<NoteWish>,
) -> Result<(StatusCode, Answer<NoteView>), Refusal> {
    caller.may_about(Right::Register, &name)?;
    if wish.body.trim().is_empty() {
        return Err(Fault::new("body", &wish.body, "a remark in words").into());
    }
    let (store, tenant) = (&house.registry.store, &caller.tenant);
    let registered = store.resolve(tenant, &name, &version).await?;
    let note = store
        .add_note(
            tenant,
            &name,
            registered.version,
            &caller.principal,
            &wish.body,
            now_us(),
        )
        .await?;
    let view = NoteView {
        id: note.id.to_string(),
        time: time::text(note.time_us),
        author: note.author,
        body: note.body,
    };
    Ok((StatusCode::CREATED, Answer(view)))
}

/// Put a version aside, or take it back
#[utoipa::path(post, path = "/api/v1/models/{name}/versions/{version}/archive", tag = "registry", request_body = ArchiveWish,
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "Its number or label.")),
    responses((status = 200, description = "The version as it is now.", body = VersionView)))]
async fn archive(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, version)): Path<(ModelName, String)>,
    Json(wish): Json<ArchiveWish>,
) -> Result<Answer<VersionView>, Refusal> {
    caller.may_about(Right::Register, &name)?;
    let (store, tenant) = (&house.registry.store, &caller.tenant);
    let registered = store.resolve(tenant, &name, &version).await?;
    let changed = store
        .archive_version(tenant, &name, registered.version, wish.archived, now_us())
        .await?;
    note(
        &house,
        &caller,
        &origin,
        &registered,
        if wish.archived {
            "archive"
        } else {
            "take back"
        },
    )
    .await?;
    Ok(Answer(changed.into()))
}

/// What an alias names, and named before
#[utoipa::path(get, path = "/api/v1/models/{name}/aliases/{alias}", tag = "registry",
    params(("name" = String, Path, description = "The model's name."), ("alias" = String, Path, description = "The alias.")),
    responses((status = 200, description = "Its history, in order.", body = AliasView)))]
async fn alias(
    State(house): State<House>,
    caller: Known,
    Path((name, alias)): Path<(ModelName, String)>,
) -> Result<Answer<AliasView>, Refusal> {
    caller.may_about(Right::SeeModels, &name)?;
    alias_view(&house, &caller, &name, alias).await
}

/// Give an alias to a version, or withdraw it
#[utoipa::path(put, path = "/api/v1/models/{name}/aliases/{alias}", tag = "registry", request_body = AliasWish,
    params(("name" = String, Path, description = "The model's name."), ("alias" = String, Path, description = "The alias.")),
    responses((status = 200, description = "Its history, in order.", body = AliasView)))]
async fn set_alias(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, alias)): Path<(ModelName, String)>,
    Json(wish): Json<AliasWish>,
) -> Result<Answer<AliasView>, Refusal> {
    caller.may_about(Right::Register, &name)?;
    let (store, tenant) = (&house.registry.store, &caller.tenant);
    let version = match &wish.version {
        Some(version) => Some(store.resolve(tenant, &name, version).await?.version),
        None => None,
    };
    let change = NewAssignment {
        version,
        principal: caller.principal.to_string(),
        reason: wish.reason.clone(),
    };
    store
        .set_alias(tenant, &name, &alias, change, now_us())
        .await?;
    let detail = json!({ "did": "alias", "model": name, "alias": alias, "version": version, "reason": wish.reason });
    house
        .record(Kind::Registry, &caller, &origin, detail)
        .await?;
    alias_view(&house, &caller, &name, alias).await
}

/// What changed in the registry and in deployments, newest first
#[utoipa::path(get, path = "/api/v1/events", tag = "registry", params(EventsQuery), responses((status = 200, description = "A page of events.", body = EventsView)))]
async fn events(
    State(house): State<House>,
    caller: Known,
    Query(query): Query<EventsQuery>,
) -> Result<Answer<EventsView>, Refusal> {
    caller.may_everywhere(Right::SeeModels)?;
    let wrong = |error: &dyn std::error::Error| Refusal::malformed(error.to_string());
    let query = EventQuery {
        model: query
            .model
            .map(|name| ModelName::new(&name))
            .transpose()
            .map_err(|error| wrong(&error))?,
        environment: query
            .environment
            .map(|name| Environment::new(&name))
            .transpose()
            .map_err(|error| wrong(&error))?,
        after: query
            .after
            .map(|id| super::audit::record_id(&id))
            .transpose()?,
        limit: query.limit.unwrap_or(100),
    };
    let page = house.registry.store.events(&caller.tenant, &query).await?;
    let next = page.next.as_ref().map(RecordId::to_string);
    Ok(Answer(EventsView {
        events: page.items.into_iter().map(EventView::from).collect(),
        next,
    }))
}

/// Takes a bundle in: to a file first, because it is large and may come slowly, then verified byte by byte.
async fn take_in(house: &House, body: Body) -> Result<Bundle, Refusal> {
    let folder = house.config.storage.folder.join(INCOMING);
    let id = RecordId::generate(now_us()).map_err(|error| Refusal::internal(&error))?;
    let file = Incoming(folder.join(format!("{id}.tar.gz")));
    tokio::fs::create_dir_all(&folder)
        .await
        .map_err(|error| Refusal::internal(&error))?;
    write(
        &file.0,
        body.into_data_stream(),
        house.config.limits.bundle_bytes_max.0,
    )
    .await?;
    let trust = house.registry.trust.clone();
    let path = file.0.clone();
    let opened = tokio::task::spawn_blocking(move || Bundle::open(&file.0, &trust)).await;
    let opened = opened.map_err(|error| Refusal::internal(&error))?;
    opened.map_err(|error| unfit(&error, &path))
}

/// Why a bundle that was sent is not taken. What is wrong with it is its sender's to mend, and where it lay here is not theirs
/// to know.
fn unfit(error: &BundleError, path: &FilePath) -> Refusal {
    let refusal = match error.class() {
        Class::Corrupt | Class::NotFound => {
            let words = chain(error).replace(&format!("{path:?}"), "the package");
            Refusal::malformed(format!("the bundle cannot be taken: {words}"))
        }
        class => Refusal::of_class(class, error),
    };
    refusal.hint(error.hint())
}

async fn write(
    path: &PathBuf,
    mut chunks: BodyDataStream,
    bytes_max: usize,
) -> Result<(), Refusal> {
    let mut file = tokio::fs::File::create_new(path)
        .await
        .map_err(|error| Refusal::internal(&error))?;
    let mut bytes = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::malformed("the body did not arrive whole"))?;
        bytes += chunk.len();
        if bytes > bytes_max {
            return Err(Refusal::new(
                Code::TooLarge,
                format!("a bundle may have {bytes_max} bytes"),
            ));
        }
        file.write_all(&chunk)
            .await
            .map_err(|error| Refusal::internal(&error))?;
    }
    file.flush()
        .await
        .map_err(|error| Refusal::internal(&error))
}

/// A file that is gone when nobody needs it any more, however that came.
struct Incoming(PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        // One that was never written is gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn note(
    house: &House,
    caller: &Known,
    origin: &Origin,
    version: &Registered,
    did: &str,
) -> Result<(), Refusal> {
    let detail = json!({ "did": did, "model": version.model, "version": version.version, "label": version.label });
    house
        .record(Kind::Registry, caller, origin, detail)
        .await
        .map(drop)
}

async fn alias_view(
    house: &House,
    caller: &Known,
    name: &ModelName,
    alias: String,
) -> Result<Answer<AliasView>, Refusal> {
    let history = house
        .registry
        .store
        .alias_history(&caller.tenant, name, &alias)
        .await?;
    if history.is_empty() {
        return Err(Refusal::new(
            Code::NotFound,
            format!("{name} has no alias {alias:?}"),
        ));
    }
    let history = history.into_iter().map(|assignment| AssignmentView {
        version: assignment.version.map(Version::get),
        time: time::text(assignment.time_us),
        principal: assignment.principal,
        reason: assignment.reason,
    });
    Ok(Answer(AliasView {
        alias,
        history: history.collect(),
    }))
}

/// An environment by its name, as a fault of a field when it is none.
pub(crate) fn environment(name: &str) -> Result<Environment, Refusal> {
    Environment::new(name).map_err(|_| {
        Fault::new(
            "environment",
            name,
            "a lower-case letter, then letters, digits, `_` or `-`",
        )
        .into()
    })
}

impl From<Model> for ModelView {
    fn from(model: Model) -> Self {
        ModelView {
            name: model.name.to_string(),
            description: model.description,
            created_at: time::text(model.created_us),
            archived_at: model.archived_us.map(time::text),
        }
    }
}

impl From<Registered> for VersionView {
    fn from(version: Registered) -> Self {
        VersionView {
            model: version.model.to_string(),
            version: version.version.get(),
            label: version.label.to_string(),
            digest: version.digest.to_string(),
            task: version.task,
            engine: version.engine,
            bytes: version.bytes,
            signed_by: version.signed_by,
            registered_at: time::text(version.registered_us),
            registered_by: version.registered_by,
            archived_at: version.archived_us.map(time::text),
        }
    }
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        EventView {
            id: event.id.to_string(),
            time: time::text(event.time_us),
            kind: event.kind,
            model: event.model.map(|name| name.to_string()),
            environment: event.environment.map(|name| name.to_string()),
            principal: event.principal,
            was: event.was,
            becomes: event.becomes,
            reason: event.reason,
            numbers: event.numbers,
            is_forced: event.is_forced,
        }
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => error.into(),
            error => Refusal::of_class(error.class(), &error),
        }
    }
}

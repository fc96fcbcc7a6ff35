//! The description of every route, for programs (`/openapi.json`) and for people (`/docs`, `/redoc`).
//!
//! The document is made from the handlers themselves; what all of them share (how a refusal looks, who may call) is added
//! here, once. The two pages carry their scripts with them: nothing comes from another server.

use crate::access::Access;
use crate::dialect::{Dialect, InferenceError, MlflowError};
use crate::house::House;
use crate::kit::Kit;
use crate::refusal::{FieldProblem, Problem, Refusal};
use crate::routes;
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::read::GzDecoder;
use std::io::Read;
use std::sync::Arc;
use utoipa::PartialSchema;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    ResponseBuilder,
};
use utoipa::openapi::{LicenseBuilder, OpenApiVersion, SecurityRequirement, Tag};

/// ReDoc's script, as npm has it (redoc 2.5.4), compressed.
const REDOC: &[u8] = include_bytes!("../assets/redoc.standalone.js.gz");
/// What the pages may load: what we serve, and styles that their scripts write.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const DOCUMENT: &str = "/openapi.json";

const REDOC_PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Ombud API</title>\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head>\
    <body style=\"margin:0\"><redoc spec-url=\"/openapi.json\"></redoc><script src=\"/redoc/redoc.js\"></script></body></html>\n";

/// The document's frame, before any route is in it.
pub fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Ombud")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(
            LicenseBuilder::new().name("MIT OR Apache-2.0").build(),
        ))
        .build();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key (`omb_…`) or a token of a known issuer."))
        .build();
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
        crate::auth::SESSION_COOKIE,
        "A session; changes also need `x-csrf-token`.",
    ));
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("session", SecurityScheme::ApiKey(cookie))
        .schema("Problem", Problem::schema())
        .schema("FieldProblem", FieldProblem::schema())
        .schema("InferenceError", InferenceError::schema())
        .schema("MlflowError", MlflowError::schema())
        .build();
    let mut document = OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build();
    document.openapi = OpenApiVersion::Version31;
    document
}

const ABOUT: &str = "\
Models that make calls about people: every decision is on record before it is answered.

Refusals are `application/problem+json` with a stable `code`; `docs/errors/` has a page for each. Answers carry `x-request-id`, \
which the log and the ledger carry too.";

/// Adds what all routes share.
pub fn finish(mut document: OpenApi, kits: &[Kit]) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let access = routes::access_of(kits, method, path);
            name(operation);
            share(operation, access, Dialect::at(path));
        }
    }
    document.tags = Some(tags(&mut document));
    document
}

/// The sections in the order in which a reader needs them: deciding first, what surrounds it after, kits last.
const SECTIONS: [&str; 12] = [
    "decisions",
    "outcomes",
    "deployments",
    "registry",
    "subjects",
    "audit",
    "inference",
    "ml",
    "keys",
    "people",
    "session",
    "health",
];

fn tags(document: &mut OpenApi) -> Vec<Tag> {
    let mut names: Vec<String> = Vec::new();
    for item in document.paths.paths.values_mut() {
        for (_, operation) in operations(item) {
            for tag in operation.tags.iter().flatten() {
                if !names.contains(tag) {
                    names.push(tag.clone());
                }
            }
        }
    }
    let place = |name: &String| SECTIONS.iter().position(|section| section == name);
    // Stable, so that sections of kits stay in their own order, behind ours.
    names.sort_by_key(|name| place(name).unwrap_or(SECTIONS.len()));
    names.into_iter().map(Tag::new).collect()
}

/// Every operation of a path, by its method.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// A handler's name is its own file's; with the resource before it, it is one of a kind, as generated clients need.
fn name(operation: &mut Operation) {
    let tag = operation.tags.as_ref().and_then(|tags| tags.first());
    if let (Some(tag), Some(id)) = (tag, &operation.operation_id) {
        operation.operation_id = Some(format!("{tag}_{id}"));
    }
}

fn share(operation: &mut Operation, access: Option<Access>, dialect: Dialect) {
    let (kind, schema) = dialect.described();
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema)))
        .build();
    let refused = ResponseBuilder::new()
        .description("Refused.")
        .content(kind, content)
        .build();
    operation
        .responses
        .responses
        .entry("default".to_owned())
        .or_insert(RefOr::T(refused));
    let needs = match access {
        None | Some(Access::Public | Access::Anonymous) => return,
        Some(Access::Known) => "any role".to_owned(),
        Some(Access::Needs(right)) => {
            let grant = right.grant();
            let roles: Vec<&str> = grant.roles.iter().map(|role| role.as_str()).collect();
            format!("the right `{}` ({})", grant.name, roles.join(", "))
        }
    };
    let said = operation
        .description
        .take()
        .map(|text| format!("{text}\n\n"))
        .unwrap_or_default();
    operation.description = Some(format!("{said}Needs {needs}."));
    let schemes = ["bearer", "session"]
        .map(|name| SecurityRequirement::new(name, std::iter::empty::<&str>()));
    operation.security = Some(schemes.to_vec());
}

/// The document and the two pages.
pub fn router(document: OpenApi) -> Router<House> {
    let json = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let swagger = Arc::new(utoipa_swagger_ui::Config::from(DOCUMENT));
    let page = {
        let swagger = Arc::clone(&swagger);
        move |Path(file): Path<String>| std::future::ready(swagger_file(&file, &swagger))
    };
    let front = move || std::future::ready(swagger_file("index.html", &swagger));
    Router::new()
        .route(
            DOCUMENT,
            get(move || {
                std::future::ready(([(header::CONTENT_TYPE, "application/json")], json.clone()))
            }),
        )
        .route(
            "/docs",
            get(|| async { axum::response::Redirect::permanent("/docs/") }),
        )
        .route("/docs/", get(front))
        .route("/docs/{file}", get(page))
        .route("/redoc", get(|| async { html(REDOC_PAGE) }))
        .route(
            "/redoc/",
            get(|| async { axum::response::Redirect::permanent("/redoc") }),
        )
        .route("/redoc/redoc.js", get(redoc_script))
}

fn swagger_file(file: &str, config: &Arc<utoipa_swagger_ui::Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(file, Arc::clone(config)) {
        Ok(Some(found)) => {
            let headers = [
                (header::CONTENT_TYPE, found.content_type),
                (header::CONTENT_SECURITY_POLICY, PAGE_POLICY.to_owned()),
            ];
            (headers, found.bytes.into_owned()).into_response()
        }
        _ => Refusal::new(
            crate::refusal::Code::NoSuchRoute,
            "the page has no such file",
        )
        .into_response(),
    }
}

async fn redoc_script(headers: HeaderMap) -> Response {
    let kind = (header::CONTENT_TYPE, "text/javascript");
    let accepted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !accepted.contains("gzip") {
        let mut plain = Vec::new();
        return match GzDecoder::new(REDOC).read_to_end(&mut plain) {
            Ok(_) => ([kind], plain).into_response(),
            Err(error) => Refusal::internal(&error).into_response(),
        };
    }
    ([kind, (header::CONTENT_ENCODING, "gzip")], REDOC).into_response()
}

fn html(page: &'static str) -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        ],
        page,
    )
        .into_response()
}

//! Every route on one page.
//!
//! Requests pass, from the outside in: security headers and metrics, the origin check, compression; then the handler,
//! which finds out who asks ([`auth`]) before it looks at anything else. Whatever goes wrong becomes a problem document
//! in [`error`]. Query strings are never logged, since tokens may be in them.

pub mod assets;
pub mod auth;
mod boards;
mod describe;
pub mod error;
mod health;
mod import;
mod invites;
mod ops;
pub mod origin;
mod pictures;
mod places;
pub mod progress;
pub mod rates;
pub mod request;
pub mod revoked;
pub mod seats;
mod site;
pub mod socket;
pub mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower_http::compression::CompressionLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::http::auth::AuthMode;
use crate::http::error::Problem;
use crate::http::origin::Origins;
use crate::http::pictures::Pictures;
use crate::http::places::{Places, SharedPlaces};
use crate::http::rates::Rates;
use crate::http::revoked::Revocations;
use crate::http::seats::Seats;
use crate::protocol::ids::Timestamp;
use crate::protocol::limits::Limits;
use crate::room::hub::Hub;
use crate::store::BoardStore;
use crate::telemetry::{HTTP_REQUEST_SECONDS, HTTP_REQUESTS_TOTAL, Metrics};

/// Requests at a time that bring a whole file, and that ask for a whole board: each may hold up to 64 MiB several times
/// over.
const TRANSFERS_MAX: usize = 8;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The boards that are live here.
    pub hub: Hub,
    /// Boards, members and assets.
    pub store: Arc<dyn BoardStore>,
    /// How people prove who they are.
    pub auth: Arc<AuthMode>,
    /// Pages of other hosts that may use this server.
    pub origins: Arc<Origins>,
    /// Ceilings.
    pub limits: Arc<Limits>,
    /// Tokens that count no more.
    pub revoked: Arc<Revocations>,
    /// How often somebody may try.
    pub rates: Arc<Rates>,
    /// Sockets of each user.
    pub seats: Seats,
    /// Sockets that are open, so that a stop can wait until each has been told.
    pub sockets: TaskTracker,
    /// The time of day.
    pub clock: fn() -> Timestamp,
    /// Metrics of this process.
    pub metrics: Metrics,
    /// Whether clients are served here, not operators alone.
    pub is_edge: bool,
    uploads: SharedPlaces,
    downloads: Places,
    pictures: Pictures,
    is_draining: Arc<AtomicBool>,
}

impl AppState {
    /// The state of a node that has just started.
    pub fn new(
        hub: Hub,
        store: Arc<dyn BoardStore>,
        auth: AuthMode,
        origins: Origins,
        limits: Limits,
        clock: fn() -> Timestamp,
        metrics: Metrics,
    ) -> Self {
        let (rates, seats) = match auth {
            AuthMode::Open => (Rates::none(), Seats::unlimited()),
            AuthMode::Jwt(_) => (
                Rates::new(&limits),
                Seats::new(limits.connections_user_max, limits.boards_user_max),
            ),
        };
        Self {
            hub,
            store,
            auth: Arc::new(auth),
            origins: Arc::new(origins),
            limits: Arc::new(limits),
            revoked: Arc::default(),
            rates: Arc::new(rates),
            seats,
            sockets: TaskTracker::new(),
            clock,
            metrics,
            is_edge: true,
            uploads: SharedPlaces::new(TRANSFERS_MAX),
            downloads: Places::new(TRANSFERS_MAX),
            pictures: Pictures::default(),
            is_draining: Arc::default(),
        }
    }

    /// Turns readiness red: the node is about to stop.
    pub fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is about to stop, so that new sockets should be refused.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Panseo", description = "Backend of a shared classroom whiteboard. Errors are problem documents (RFC 9457)."),
    tags(
        (name = "boards", description = "Boards and their settings"),
        (name = "members", description = "Who may do what on a board"),
        (name = "content", description = "What is on a board: edits, files, images"),
        (name = "tokens", description = "Logging out"),
        (name = "operation", description = "For operators"),
    ),
)]
struct ApiDoc;

/// All doors of the node.
pub fn router(state: AppState) -> Router {
    let doors = if state.is_edge {
        doors()
    } else {
        let (doors, _api) = operator_doors().split_for_parts();
        doors.fallback(|| async {
            Problem::not_found("This node stores boards and serves none. Go to one with the role edge.")
        })
    };
    doors
        .method_not_allowed_fallback(|| async {
            let detail = "This address does not take that method. The API is described at /docs.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .layer(middleware::from_fn_with_state(state.clone(), origin::check))
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

fn operator_doors() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

fn doors() -> Router<AppState> {
    let (rest, mut api) = operator_doors()
        .routes(routes!(boards::create, boards::list))
        .routes(routes!(boards::read, boards::update, boards::delete))
        .routes(routes!(boards::route))
        .routes(routes!(boards::members))
        .routes(routes!(boards::put_member, boards::delete_member))
        .routes(routes!(invites::create, invites::list))
        .routes(routes!(invites::delete))
        .routes(routes!(invites::join))
        .routes(routes!(invites::recent))
        .routes(routes!(invites::visit))
        .routes(routes!(ops::ops))
        .routes(routes!(ops::state))
        .routes(routes!(import::import_into))
        .routes(routes!(import::import_new))
        .routes(routes!(import::export))
        .routes(routes!(pictures::export))
        .routes(routes!(pictures::thumbnail))
        .routes(routes!(assets::put, assets::get))
        .routes(routes!(revoked::revoke))
        .split_for_parts();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .build();
    api.components
        .get_or_insert_default()
        .add_security_scheme("token", SecurityScheme::Http(bearer));
    api.security = Some(vec![utoipa::openapi::SecurityRequirement::new(
        "token",
        Vec::<String>::new(),
    )]);
    describe::complete(&mut api);
    let rest = rest
        .merge(docs(api))
        .fallback(site::serve)
        // The limits of `protocol/limits.rs` are applied where bodies are read.
        .layer(DefaultBodyLimit::disable())
        .layer(CompressionLayer::new());
    rest.merge(socket::routes())
}

/// The page that describes the doors. It calls nobody, not even to have the description checked.
fn docs(api: utoipa::openapi::OpenApi) -> SwaggerUi {
    let config = utoipa_swagger_ui::Config::default().validator_url("none");
    SwaggerUi::new("/docs").config(config).url("/openapi.json", api)
}

/// Counts and times the request, and sets the headers that every answer has.
async fn observe(State(_): State<AppState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = request.extensions().get::<MatchedPath>();
    // The pattern, not the path: ids must not become labels.
    let route = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    tracing::debug!(%method, route, status, duration_ms = elapsed.as_millis(), "A request was answered.");
    metrics::histogram!(HTTP_REQUEST_SECONDS, "route" => route.clone()).record(elapsed.as_secs_f64());
    let labels = [
        ("method", method_label(&method)),
        ("route", route),
        ("status", status.to_string()),
    ];
    metrics::counter!(HTTP_REQUESTS_TOTAL, &labels).increment(1);
    response
}

/// Methods can be made up by clients; labels must not be.
fn method_label(method: &axum::http::Method) -> String {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    }
}

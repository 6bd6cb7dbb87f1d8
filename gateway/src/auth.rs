//! Who is asking: tokens at the edge, from the Authorization header, a cookie or the query.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use http::{HeaderMap, Method, StatusCode, header};
use mercurio_auth::{Identity, Revocations as _, TokenError, is_user};

use crate::{Context, access::User, error::ApiError, lease::Token, query::Query};

/// A caller whose token was verified.
pub(crate) struct Caller {
    identity: Identity,
}

/// Who is asked about: the `{clientID}` of the path, which the caller may act for.
pub(crate) struct Client {
    pub id: String,
    pub caller: Caller,
}

impl Caller {
    /// Whose token it is.
    pub fn user(&self) -> &str {
        &self.identity.user
    }

    /// As far as it holds a stream open.
    pub fn token(&self) -> Token<'_> {
        Token::of(&self.identity)
    }

    /// Whether the token is still good. It was when the request came, but it may have been revoked
    /// since, before what it opened was there to be ended.
    pub fn check_not_revoked(&self, context: &Context) -> Result<(), ApiError> {
        match context.revocations.set().is_revoked(&self.identity) {
            true => Err(refused(&TokenError::Revoked)),
            false => Ok(()),
        }
    }

    pub fn check_may_publish(&self) -> Result<(), ApiError> {
        if self.identity.may_publish() {
            return Ok(());
        }
        let message = "publishing needs the scope notifications:publish";
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "scope-missing",
            message,
        ))
    }

    /// The client meant by `{clientID}`: the caller, as `me` or by id, or for services anyone.
    fn client(self, id: &str) -> Result<Client, ApiError> {
        let id = if id == "me" {
            self.identity.user.clone()
        } else {
            id.to_owned()
        };
        // Before anything is asked of a core: one that is none would end the relay for everyone.
        if !is_user(&id) {
            let allowed = "a user's id, 1..=128 bytes without control characters, or me";
            return Err(ApiError::field("clientID", &id, allowed));
        }
        if self.identity.may_act_for(&id) {
            return Ok(Client { id, caller: self });
        }
        let message = "these notifications are another user's";
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "not-your-feed",
            message,
        ))
    }
}

impl FromRequestParts<std::sync::Arc<Context>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &std::sync::Arc<Context>,
    ) -> Result<Self, ApiError> {
        let settings = &context.settings;
        let query = Query::new(parts.uri.query());
        // What a caller says outright comes before what a browser sends along by itself.
        let token = match bearer(&parts.headers)? {
            Some(token) => token,
            None => match query.one("access_token")? {
                Some(token) => token.to_owned(),
                None => {
                    let cookie = cookie(&parts.headers, &settings.cookie_name);
                    if cookie.is_some() && !matches!(parts.method, Method::GET | Method::HEAD) {
                        check_origin(&parts.headers, &settings.cors_origins)?;
                    }
                    cookie.unwrap_or_default()
                }
            },
        };
        let verified = context.verifier.verify_newest(&token).await;
        let caller = Self {
            identity: verified.map_err(|error| refused(&error))?,
        };
        User::note(&parts.extensions, &caller.identity.user);
        // Which tokens are revoked, a core has to have said once.
        if !context.revocations.is_told() {
            if !context.revocations.told(settings.open_timeout).await {
                return Err(ApiError::core_away());
            }
            caller.check_not_revoked(context)?;
        }
        Ok(caller)
    }
}

impl FromRequestParts<std::sync::Arc<Context>> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &std::sync::Arc<Context>,
    ) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, context).await?;
        context.charge(&caller.identity.user)?;
        let Path(path) = Path::<Vec<(String, String)>>::from_request_parts(parts, context)
            .await
            .map_err(|_| ApiError::field("clientID", "?", "a user's id in UTF-8"))?;
        let id = path
            .into_iter()
            .find(|(name, _)| name == "client")
            .map(|(_, id)| id);
        caller.client(&id.unwrap_or_default())
    }
}

fn refused(error: &TokenError) -> ApiError {
    let code = error.code().to_lowercase().replace('_', "-");
    ApiError::new(StatusCode::UNAUTHORIZED, &code, error.to_string())
}

fn bearer(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        // Which of them another hop would have looked at is anybody's guess.
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "token-invalid",
            "there are several Authorization headers",
        ));
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().to_owned())
    });
    match token {
        Some(token) => Ok(Some(token)),
        None => Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "token-missing",
            "the Authorization header has to be: Bearer, a space, the token",
        )),
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let pairs = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(found, _)| found.trim() == name);
    named
        .next()
        .map(|(_, token)| token.trim().trim_matches('"').to_owned())
}

/// A browser sends its cookies with any page's request: only pages of this origin, or of those
/// listed, may change something.
///
/// Which origin is this one, the browser knows best, and pages can't speak for it: a proxy in
/// between may have put its own name into `Host`. Browsers that don't say are judged by `Host`.
fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text("origin");
    let is_own = match text("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => {
            let host = origin.and_then(|origin| origin.split_once("://"));
            host.is_some_and(|(_, host)| text("host") == Some(host))
        }
    };
    let is_listed = origin.is_some_and(|origin| allowed.iter().any(|one| one == origin));
    if is_own || is_listed {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "origin-not-allowed",
        "a change by cookie needs an Origin header of this origin or of one that is allowed; \
         behind a proxy that replaces Host, list the site's with --cors-origin",
    ))
}

/// What heads say of who is asking, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(headers: &HeaderMap) {
    let _ = (bearer(headers), cookie(headers, "mercurio_token"));
    let listed = ["https://app.example".to_owned()];
    let allowed = check_origin(headers, &listed).is_ok();
    let is_stranger = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site");
    let origin = headers
        .get("origin")
        .and_then(|origin| origin.to_str().ok());
    assert!(!(allowed && is_stranger && origin != Some(&listed[0])));
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_change_by_cookie_needs_a_known_origin() {
        let allowed = ["https://app.example".to_owned()];
        for (origin, passes) in [
            ("http://here:8000", true),
            ("https://here:8000", true),
            ("https://app.example", true),
            ("https://app.example.evil", false),
            ("http://here:8001", false),
            ("null", false),
        ] {
            let headers = headers(&[(header::HOST, "here:8000"), (header::ORIGIN, origin)]);
            assert_eq!(check_origin(&headers, &allowed).is_ok(), passes, "{origin}");
        }
        assert!(check_origin(&headers(&[(header::HOST, "here")]), &allowed).is_err());
        // Where the browser says whose page it is, that counts: Host may be a proxy's.
        let site = |site, origin| {
            let site = (http::HeaderName::from_static("sec-fetch-site"), site);
            let found = headers(&[(header::HOST, "here:8000"), (header::ORIGIN, origin), site]);
            check_origin(&found, &allowed).is_ok()
        };
        assert!(site("same-origin", "https://proxy"));
        assert!(site("cross-site", "https://app.example"));
        for other in ["cross-site", "same-site", "none", ""] {
            assert!(!site(other, "https://evil.example"), "{other}");
            assert!(!site(other, "https://here:8000"), "{other}");
        }
        assert!(check_origin(&headers(&[]), &["*".to_owned()]).is_err());
    }

    #[test]
    fn cookies_and_headers_are_read() {
        let found = headers(&[(header::COOKIE, "a=b; token=x.y.z; c=d")]);
        assert_eq!(cookie(&found, "token").as_deref(), Some("x.y.z"));
        assert_eq!(cookie(&found, "tok"), None);
        let found = headers(&[(header::AUTHORIZATION, "bearer x")]);
        assert_eq!(bearer(&found).unwrap().as_deref(), Some("x"));
        assert!(bearer(&headers(&[(header::AUTHORIZATION, "Basic x")])).is_err());
    }
}

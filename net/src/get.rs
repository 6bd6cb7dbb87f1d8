//! One small answer over HTTP/1.1.

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::Dial;

/// The body of the answer to a GET of something small in JSON; follows no redirect.
///
/// # Errors
/// What went wrong, or the answer's status; also where the body has more than `most` bytes.
pub async fn get(url: &Uri, dial: &Dial, most: usize) -> Result<Bytes, String> {
    fn said(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let authority = url.authority().ok_or("the address has no host")?;
    let connection = dial.connect(url).await.map_err(said)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection))
        .await
        .map_err(said)?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(said)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(said)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer was {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), most).collect().await;
        Ok(body.map_err(said)?.to_bytes())
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        // What it brought before it ended may not be taken yet.
        _ = connection => answer.await,
    }
}

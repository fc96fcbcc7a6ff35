//! Bodies of the protocol: compressed or not, JSON or JSON with binary tensors behind it.
//!
//! A body is opened up to the same limit that holds for plain ones, so that a small file cannot become a large memory.

use crate::extract::read_body;
use crate::house::House;
use crate::refusal::{Code, Refusal};
use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use std::io::Read;

/// How long the JSON before the binary tensors is.
pub const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// Smaller answers leave as they are, whatever a client accepts.
const COMPRESSED_FROM: usize = 1 << 10;

/// A body, opened.
#[derive(Debug, Clone)]
pub struct Opened {
    pub bytes: Bytes,
    /// What the header says; 0 is a body that is nothing but one tensor.
    pub header_length: Option<usize>,
}

/// A body as it came to a question: one that cannot be opened is a refused request, and on record as one.
pub type Sent = Result<Opened, Refusal>;

/// How an answer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Deflate,
}

impl FromRequest<House> for Opened {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, house: &House) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes_max = house.config.limits.body_bytes_max.0;
        let came = read_body(body, bytes_max).await?;
        Ok(Opened {
            bytes: open(&parts.headers, came, bytes_max)?,
            header_length: header_length(&parts.headers)?,
        })
    }
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(HEADER_LENGTH) else {
        return Ok(None);
    };
    let length = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    length
        .map(Some)
        .ok_or_else(|| Refusal::malformed("Inference-Header-Content-Length is a number of bytes"))
}

fn open(headers: &HeaderMap, came: Bytes, bytes_max: usize) -> Result<Bytes, Refusal> {
    let coding = headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes);
    match coding {
        None | Some(b"" | b"identity") => Ok(came),
        Some(b"gzip") => unpack(GzDecoder::new(&came[..]), bytes_max),
        Some(b"deflate") => unpack(ZlibDecoder::new(&came[..]), bytes_max),
        Some(_) => Err(Refusal::new(
            Code::UnsupportedMediaType,
            "the body's Content-Encoding is gzip, deflate or none",
        )),
    }
}

fn unpack(packed: impl Read, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut bytes = Vec::new();
    packed
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Refusal::malformed("the body is not packed as its Content-Encoding says"))?;
    if bytes.len() > bytes_max {
        let detail = format!("a body may have {bytes_max} bytes, unpacked");
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    Ok(Bytes::from(bytes))
}

impl Packing {
    /// The packing that a client accepts.
    pub fn accepted(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_ENCODING);
        let accepted = accepted
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let names = accepted.split(',').filter_map(|choice| {
            let (name, weight) = choice.split_once(';').unwrap_or((choice, ""));
            (weight.trim() != "q=0").then(|| name.trim())
        });
        let names: Vec<&str> = names.collect();
        if names.contains(&"gzip") {
            Packing::Gzip
        } else if names.contains(&"deflate") {
            Packing::Deflate
        } else {
            Packing::Plain
        }
    }

    /// An answer with this body.
    pub fn respond(self, body: ombud_oip::response::Body) -> Response {
        let kind = match body.header_length {
            Some(_) => "application/octet-stream",
            None => "application/json",
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(length) = body.header_length {
            headers.insert(HEADER_LENGTH, HeaderValue::from(length));
        }
        let is_small = body.bytes.len() < COMPRESSED_FROM;
        let packed = match self {
            _ if is_small => None,
            Packing::Plain => None,
            Packing::Gzip => {
                pack(GzEncoder::new(&body.bytes[..], Compression::fast())).map(|b| ("gzip", b))
            }
            Packing::Deflate => {
                pack(ZlibEncoder::new(&body.bytes[..], Compression::fast())).map(|b| ("deflate", b))
            }
        };
        match packed {
            None => (headers, body.bytes).into_response(),
            Some((coding, bytes)) => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
                (headers, bytes).into_response()
            }
        }
    }
}

fn pack(mut plain: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // Packing what is in memory does not fail; if it did, the plain answer would be as good.
    plain.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn what_is_packed_is_opened_up_to_the_limit_of_plain_bodies() {
        let packed = pack(GzEncoder::new(&[7; 1_000][..], Compression::fast())).expect("packed");
        let gzip = headers(header::CONTENT_ENCODING, "gzip");
        let opened = open(&gzip, Bytes::from(packed.clone()), 1_000).expect("opened");
        assert_eq!(opened.len(), 1_000);
        let refused = open(&gzip, Bytes::from(packed.clone()), 999).expect_err("too large");
        assert_eq!(refused.code(), Code::TooLarge);
        let deflate = headers(header::CONTENT_ENCODING, "deflate");
        assert!(open(&deflate, Bytes::from(packed), 1_000).is_err());
    }

    #[test]
    fn a_client_gets_a_packing_that_it_accepts() {
        let accepted = |text| Packing::accepted(&headers(header::ACCEPT_ENCODING, text));
        assert_eq!(accepted("gzip, deflate"), Packing::Gzip);
        assert_eq!(accepted("gzip;q=0, deflate"), Packing::Deflate);
        assert_eq!(accepted("br"), Packing::Plain);
    }
}

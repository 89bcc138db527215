//! Tokens: verifying them, and minting one for development.
//!
//! The algorithm is fixed by the configured key, never by the token: a secret means HS256, an EC key ES256, an Ed25519 key
//! `EdDSA`. Times come in as arguments, so expiry can be tested without waiting.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::access::{ANY_BOARD, Caller, Grants, Identity, TokenMark};
use crate::protocol::ids::{BoardId, Role, Timestamp, UserId};

/// Longest life of a token that is accepted, in seconds: a school day, so that no lesson ends by it.
pub const LIFE_SECONDS_MAX: u64 = 12 * 60 * 60;
/// Difference between the clocks of issuer and server that is forgiven, in seconds.
pub const CLOCK_SKEW_SECONDS: u64 = 30;
/// Shortest secret for HS256, in bytes: the length of its hash (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Longest `name` or `jti` in a token, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Why a key cannot be used.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// Too short to be safe.
    #[error("the secret must have at least {SECRET_BYTES_MIN} bytes")]
    Short,
    /// A PEM text that is no P-256 or Ed25519 key of the kind needed.
    #[error("the PEM text must hold a {0} key of P-256 or Ed25519")]
    Pem(&'static str),
}

/// Why a token is not accepted. The text is fit for the client.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Not a token, another algorithm, or signed with another key.
    #[error("it is malformed or its signature is wrong")]
    Signature,
    /// A claim is missing or of the wrong form.
    #[error("a claim is missing or malformed")]
    Claims,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// It lives longer than is accepted.
    #[error("it is valid for more than 12 hours")]
    TooLong,
    /// Somebody revoked it.
    #[error("it was revoked")]
    Revoked,
    /// From another issuer.
    #[error("it comes from another issuer")]
    Issuer,
    /// For another server.
    #[error("it is meant for another audience")]
    Audience,
}

/// Checks tokens.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
    issuer: Option<String>,
    audience: Option<String>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(***)")
    }
}

impl Verifier {
    /// A verifier for tokens signed with this secret or with the private half of this PEM public key.
    pub fn new(key: &str, issuer: Option<String>, audience: Option<String>) -> Result<Self, KeyError> {
        let (algorithm, key) = decoding_key(key)?;
        let mut validation = Validation::new(algorithm);
        // Claims are checked below, against a time that comes in as an argument.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Ok(Self {
            key,
            validation,
            issuer,
            audience,
        })
    }

    /// Who the token names and what it grants, if it is good now.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, TokenError> {
        let token = jsonwebtoken::decode::<serde_json::Value>(token, &self.key, &self.validation)
            .map_err(|_details_help_attackers_only| TokenError::Signature)?;
        let claims: Claims =
            serde_json::from_value(token.claims).map_err(|_details_may_hold_content| TokenError::Claims)?;
        self.check_time(&claims, now)?;
        if self.issuer.is_some() && claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        let is_for_us = match (&self.audience, &claims.aud) {
            (None, None) => true,
            // A token that names its audience must not be taken by anybody else (RFC 7519 §4.1.3).
            (None, Some(_)) | (Some(_), None) => false,
            (Some(ours), Some(Audience::One(theirs))) => ours == theirs,
            (Some(ours), Some(Audience::Many(theirs))) => theirs.contains(ours),
        };
        if !is_for_us {
            return Err(TokenError::Audience);
        }
        claims.into_caller()
    }

    #[expect(clippy::unused_self, reason = "reads better beside the other checks")]
    fn check_time(&self, claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
        let skew = seconds(CLOCK_SKEW_SECONDS);
        let life_max = seconds(LIFE_SECONDS_MAX);
        let now = seconds(now.0 / 1000);
        let times = [Some(claims.exp), claims.nbf, claims.iat];
        if times.iter().flatten().any(|time| *time < 0.0) {
            return Err(TokenError::Claims);
        }
        if claims.exp + skew <= now {
            return Err(TokenError::Expired);
        }
        if [claims.nbf, claims.iat].iter().flatten().any(|time| *time > now + skew) {
            return Err(TokenError::NotYet);
        }
        if claims.exp - claims.iat.unwrap_or(now) > life_max + skew {
            return Err(TokenError::TooLong);
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 stay far below 2^53")]
fn seconds(seconds: u64) -> f64 {
    seconds as f64
}

fn decoding_key(text: &str) -> Result<(Algorithm, DecodingKey), KeyError> {
    if !is_pem(text) {
        return Ok((Algorithm::HS256, DecodingKey::from_secret(secret(text)?)));
    }
    let pem = text.as_bytes();
    // A private key has no business on a server that only verifies.
    if text.contains("PRIVATE KEY") {
        return Err(KeyError::Pem("public"));
    }
    let ec = DecodingKey::from_ec_pem(pem).ok().filter(|_any_curve| is_p256(text));
    if let Some(key) = ec {
        return Ok((Algorithm::ES256, key));
    }
    let ed = DecodingKey::from_ed_pem(pem).map_err(|_neither| KeyError::Pem("public"))?;
    Ok((Algorithm::EdDSA, ed))
}

/// Whether the key in the PEM text names the curve P-256 (RFC 5480 §2.1.1.1).
fn is_p256(text: &str) -> bool {
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let key = BASE64.decode(lines.collect::<String>());
    key.is_ok_and(|key| key.windows(P256.len()).any(|part| part == P256))
}

fn is_pem(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN")
}

fn secret(text: &str) -> Result<&[u8], KeyError> {
    let secret = text.trim_end_matches(['\r', '\n']).as_bytes();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError::Short);
    }
    Ok(secret)
}

#[derive(Deserialize)]
struct Claims {
    sub: UserId,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    jti: Option<String>,
    name: Option<String>,
    boards: Option<BTreeMap<String, Role>>,
    #[serde(default)]
    admin: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`check_time` has bounded it: not negative, at most 12 hours ahead"
    )]
    fn into_caller(self) -> Result<Caller, TokenError> {
        let is_board = |key: &String| key == ANY_BOARD || BoardId::new(key.as_str()).is_ok();
        let is_well_formed = self.name.iter().chain(&self.jti).all(|name| is_name(name))
            && self.boards.iter().flat_map(BTreeMap::keys).all(is_board);
        if !is_well_formed {
            return Err(TokenError::Claims);
        }
        let issued = self.iat.unwrap_or(self.exp - seconds(LIFE_SECONDS_MAX));
        Ok(Caller {
            token: Some(TokenMark {
                id: self.jti.map(Into::into),
                issued: Timestamp((issued * 1000.0) as u64),
            }),
            is_admin: self.admin,
            identity: Identity {
                user: self.sub,
                name: self.name,
            },
            grants: self.boards.map_or(Grants::Members, Grants::Listed),
            expires: Some(Timestamp((self.exp * 1000.0) as u64)),
        })
    }
}

/// Whether a token may hold this as `name` or `jti`.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// What to put into a token.
#[derive(Debug, Clone, Serialize)]
pub struct TokenClaims {
    /// The person.
    pub sub: UserId,
    /// When it is made, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// What it is revoked by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Whether its holder may revoke tokens of others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    /// What others see beside the cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Role by board id or `*`; absent: what the boards' member lists say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boards: Option<BTreeMap<String, Role>>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Which server it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
}

/// Signs a token with a secret or a PEM private key.
pub fn mint(key: &str, claims: &TokenClaims) -> Result<String, KeyError> {
    let (algorithm, key) = if is_pem(key) {
        let pem = key.as_bytes();
        EncodingKey::from_ec_pem(pem)
            .map(|key| (Algorithm::ES256, key))
            .or_else(|_not_ec| EncodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key)))
            .map_err(|_neither| KeyError::Pem("private PKCS#8"))?
    } else {
        (Algorithm::HS256, EncodingKey::from_secret(secret(key)?))
    };
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).map_err(|_unusable| KeyError::Pem("private PKCS#8"))
}

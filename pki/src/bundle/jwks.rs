//! The JWKS form of a bundle (SPIFFE Trust Domain and Bundle, section 4, and X.509-SVID, section 6.2).

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use x509_parser::oid_registry as oid;
use x509_parser::public_key::PublicKey;

use super::BundleError;
use crate::certificate;

/// Only what is needed; unknown members are ignored, as the standard asks.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Key>,
    #[serde(default)]
    spiffe_sequence: Option<u64>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    x5c: Vec<String>,
}

#[derive(Serialize)]
struct Written {
    spiffe_sequence: u64,
    spiffe_refresh_hint: u64,
    keys: Vec<Value>,
}

/// How often a receiver should look for a newer bundle, in seconds.
const REFRESH_HINT: u64 = 300;

fn bad(why: impl ToString) -> BundleError {
    BundleError::Jwks { why: why.to_string() }
}

pub(super) fn read(json: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Option<u64>), BundleError> {
    let document: Document = serde_json::from_slice(json).map_err(bad)?;
    let mut certificates = Vec::new();
    for (number, key) in (1..).zip(&document.keys) {
        // "Keys with an unknown or no use are to be ignored."
        if key.purpose.as_deref() != Some("x509-svid") {
            continue;
        }
        let [x5c] = key.x5c.as_slice() else {
            return Err(bad(format!(
                "key {number} has {} certificates in x5c, exactly 1 is asked for",
                key.x5c.len()
            )));
        };
        let der = BASE64
            .decode(x5c.as_bytes())
            .map_err(|error| bad(format!("x5c of key {number}: {error}")))?;
        certificates.push(der.into());
    }
    if certificates.is_empty() && !document.keys.is_empty() {
        return Err(bad("no key has the use x509-svid"));
    }
    Ok((certificates, document.spiffe_sequence))
}

pub(super) fn write<'a>(
    certificates: impl Iterator<Item = &'a CertificateDer<'static>>,
    spiffe_sequence: u64,
) -> Result<String, BundleError> {
    let keys = certificates.map(|der| key(der)).collect::<Result<_, _>>()?;
    let written = Written {
        spiffe_sequence,
        spiffe_refresh_hint: REFRESH_HINT,
        keys,
    };
    let mut text = serde_json::to_string_pretty(&written).map_err(bad)?;
    text.push('\n');
    Ok(text)
}

/// One key with its public parameters (RFC 7518 6.2 and 6.3, RFC 8037 2) and without `kid`.
fn key(der: &CertificateDer<'_>) -> Result<Value, BundleError> {
    let parsed = certificate::parse(der).map_err(bad)?;
    let spki = parsed.public_key();
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let mut jwk = if spki.algorithm.algorithm == oid::OID_SIG_ED25519 {
        json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&spki.subject_public_key.data)})
    } else {
        match spki.parsed().map_err(bad)? {
            PublicKey::RSA(rsa) => {
                let modulus = rsa
                    .modulus
                    .iter()
                    .position(|&b| b != 0)
                    .map_or(&[][..], |at| &rsa.modulus[at..]);
                json!({"kty": "RSA", "n": encode(modulus), "e": encode(rsa.exponent)})
            }
            PublicKey::EC(point) => {
                // The uncompressed form: 4, then two coordinates of the same length (SEC 1, 2.3.3).
                let Some((4, coordinates)) = point.data().split_first().map(|(first, rest)| (*first, rest)) else {
                    return Err(bad("an elliptic curve point that is not in uncompressed form"));
                };
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                let curve = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    66 => "P-521",
                    _ => return Err(bad("an elliptic curve without a JWK name")),
                };
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            _ => return Err(bad("a public key without a JWK form")),
        }
    };
    jwk["use"] = "x509-svid".into();
    jwk["x5c"] = json!([BASE64.encode(der)]);
    Ok(jwk)
}

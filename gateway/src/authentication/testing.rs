//! Keys that sign, for tests.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use causeway_config::Algorithm;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// A key of an issuer.
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) id: String,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Hmac(Vec<u8>),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    pub(crate) fn new(algorithm: Algorithm, id: &str) -> Self {
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            Algorithm::Es384 => Pair::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            Algorithm::EdDsa => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        };
        Self {
            algorithm,
            id: id.to_owned(),
            pair,
        }
    }

    pub(crate) fn secret(algorithm: Algorithm, secret: &[u8]) -> Self {
        Self {
            algorithm,
            id: "secret".to_owned(),
            pair: Pair::Hmac(secret.to_vec()),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Hmac(secret) => {
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
                aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
            }
            Pair::Rsa(pair) => {
                let padding: &'static dyn signature::RsaEncoding = match self.algorithm {
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut out).unwrap();
                out
            }
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match &self.pair {
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y), "kid": self.id})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()), "kid": self.id})
            }
            Pair::Hmac(secret) => json!({"kty": "oct", "k": encode(secret), "kid": self.id}),
            Pair::Rsa(pair) => {
                let modulus = pair.public_key().modulus();
                let exponent = pair.public_key().exponent();
                json!({
                    "kty": "RSA", "n": encode(modulus.big_endian_without_leading_zero()),
                    "e": encode(exponent.big_endian_without_leading_zero()), "kid": self.id, "alg": self.name(),
                })
            }
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        Algorithm::ALL
            .iter()
            .find(|(_, algorithm)| *algorithm == self.algorithm)
            .unwrap()
            .0
    }

    pub(crate) fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// A token with this header and these claims.
    pub(crate) fn token_of(&self, header: &Value, claims: &Value) -> String {
        self.token_of_text(&header.to_string(), &claims.to_string())
    }

    /// The same of texts that need not be JSON.
    pub(crate) fn token_of_text(&self, header: &str, claims: &str) -> String {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = BASE64URL_NOPAD.encode(&self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_of(&json!({"alg": self.name(), "typ": "JWT", "kid": self.id}), claims)
    }
}

/// A server of key sets, or of whatever it is told to answer.
pub(crate) struct KeyServer {
    pub(crate) url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    /// Answers with this set until told otherwise.
    pub(crate) fn start(set: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(String::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let server = Self {
            url,
            answer: Arc::clone(&answer),
            asked: Arc::clone(&asked),
        };
        server.serve(set);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                    line.clear();
                }
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                stream.get_mut().write_all(answer.as_bytes()).ok();
            }
        });
        server
    }

    /// Answers with this body from now on.
    pub(crate) fn serve(&self, body: &str) {
        let length = body.len();
        self.answer_with(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ));
    }

    /// Answers with these bytes from now on; with none it only closes.
    pub(crate) fn answer_with(&self, bytes: &str) {
        bytes.clone_into(&mut self.answer.lock().unwrap());
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

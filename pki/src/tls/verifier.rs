//! Both verifier traits of rustls over the one verifier.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::TunnelTls;
use crate::verify::{Role, VerifyError, verify_peer};

/// Verifies peers by the trust of the moment.
pub(super) struct PeerVerifier {
    pub(super) tls: TunnelTls,
    /// The site that is dialled; `None` when accepting.
    pub(super) expected_site: Option<Arc<str>>,
}

/// Why our side refused the peer, when that is what ended a handshake.
///
/// Looks through [`std::io::Error`], which is how async TLS streams report it.
pub fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a VerifyError> {
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return refusal(io.get_ref()?);
    }
    match error.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => other.downcast_ref(),
        _ => None,
    }
}

impl PeerVerifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        role: Role,
    ) -> Result<(), Error> {
        let material = self.tls.material.load();
        match verify_peer(
            leaf,
            intermediates,
            now,
            role,
            &material.trust,
            self.expected_site.as_deref(),
        ) {
            Ok(verified) => {
                if verified.skew.is_some() {
                    (self.tls.on_skew)(&verified);
                }
                Ok(())
            }
            Err(error) => {
                (self.tls.on_refusal)(&error);
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(
                    Arc::new(error),
                ))))
            }
        }
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.tls.provider.signature_verification_algorithms
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier")
            .field("expected_site", &self.expected_site)
            .finish_non_exhaustive()
    }
}

/// How signatures are checked: the same for both traits, which have these methods each for itself.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            // Tunnels never speak it, so that a signature of it is a fault of the peer.
            Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, self.algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms().supported_schemes()
        }
    };
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now, Role::Server)
            .map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now, Role::Client)
            .map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}

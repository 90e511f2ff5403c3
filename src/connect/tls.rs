//! TLS for every session: what of the server's certificate is checked, and against which roots.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// What of a server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: proof against those who listen, not against those who pose as the server.
    Nothing,
    /// That a trusted root vouches for it.
    Chain,
    /// That, and that it was made for the host's name.
    ChainAndName,
}

/// TLS could not be set up or agreed upon.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the roots cannot be read.
    #[error("read the trusted roots in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file with the roots holds no certificate that can be used.
    #[error("{} holds no usable certificate in PEM form", path.display())]
    NoRoots {
        /// The file.
        path: PathBuf,
    },
    /// The operating system has no trusted roots.
    #[error("this machine has no trusted roots; install ca-certificates, or name a file with sslrootcert=")]
    NoSystemRoots,
    /// The host cannot stand in a certificate.
    #[error("{host:?} is neither a host name nor an address that a certificate could name")]
    HostName {
        /// The host.
        host: String,
    },
    /// The library refused the settings.
    #[error("set up TLS")]
    Setup(#[source] rustls::Error),
    /// The handshake failed: a certificate that is not trusted, above all.
    #[error("shake hands; if the certificate is private, name its root with sslrootcert=")]
    Handshake(#[source] io::Error),
}

/// The settings of a TLS client. Roots come from `roots`, or else from the operating system.
pub fn client_config(verify: Verify, roots: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let chain = match verify {
        Verify::Nothing => None,
        Verify::Chain | Verify::ChainAndName => Some(chain_verifier(Arc::clone(&provider), roots)?),
    };
    let verifier: Arc<dyn ServerCertVerifier> = match (verify, chain) {
        (Verify::ChainAndName, Some(chain)) => chain,
        (Verify::Nothing | Verify::Chain | Verify::ChainAndName, chain) => Arc::new(Lenient { chain, provider }),
    };
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

fn chain_verifier(provider: Arc<CryptoProvider>, roots: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = roots {
        let pem = std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    } else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if store.is_empty() {
        return Err(roots.map_or(TlsError::NoSystemRoots, |path| TlsError::NoRoots { path: path.to_owned() }));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))
}

/// Checks less than rustls would: the chain without the name, or nothing. That the server holds the certificate's key
/// is always checked.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let checked = chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // rustls looks at the name last, so a complaint about it means that the chain was found good.
        let name_alone = matches!(
            checked,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ))
        );
        if name_alone { Ok(ServerCertVerified::assertion()) } else { checked }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

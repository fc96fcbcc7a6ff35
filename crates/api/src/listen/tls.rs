//! TLS by certificate files, read again when they change.
//!
//! A renewed certificate is taken up within a minute and without losing a connection. Files that do not fit together are
//! refused at start; at a renewal they are logged, and the certificate in use stays.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The certificate in use.
pub struct Tls {
    files: crate::config::Tls,
    current: RwLock<InUse>,
}

struct InUse {
    certificate: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

/// Why certificate files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the PEM file {path:?} cannot be read")]
    Pem {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("the certificate {path:?} holds no certificate")]
    Empty { path: PathBuf },
    #[error("the certificate and its key do not fit together")]
    Pair(#[from] rustls::Error),
}

type Stamp = (Option<SystemTime>, Option<SystemTime>);

impl Tls {
    /// Loads the files.
    pub fn load(files: &crate::config::Tls) -> Result<Self, TlsError> {
        Ok(Tls {
            current: RwLock::new(InUse::load(files)?),
            files: files.clone(),
        })
    }

    /// Shakes hands; `None` when the client does not within its time.
    pub async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let config = Arc::clone(
            &self
                .current
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .config,
        );
        let handshake = TlsAcceptor::from(config).accept(stream);
        tokio::time::timeout(patience, handshake).await.ok()?.ok()
    }

    /// Takes up new files as they come, for ever.
    pub async fn watch(&self) {
        let mut seen = stamp(&self.files);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let found = stamp(&self.files);
            if found != seen {
                self.look_again();
                seen = found;
            }
        }
    }

    /// Takes up the files as they are now; those that cannot be used change nothing.
    pub fn look_again(&self) {
        match InUse::load(&self.files) {
            Ok(in_use) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = in_use;
                tracing::info!("a renewed certificate is in use");
            }
            Err(error) => {
                tracing::error!(cause = %crate::refusal::chain(&error), "a renewed certificate cannot be used; the old one stays");
            }
        }
    }

    /// The certificate in use.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .certificate
            .clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl InUse {
    fn load(files: &crate::config::Tls) -> Result<Self, TlsError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&files.certificate)
            .map_err(unreadable(&files.certificate))?
            .collect();
        let chain = chain.map_err(unreadable(&files.certificate))?;
        let empty = || TlsError::Empty {
            path: files.certificate.clone(),
        };
        let certificate = chain.first().cloned().ok_or_else(empty)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(InUse {
            certificate,
            config: Arc::new(config),
        })
    }
}

fn stamp(files: &crate::config::Tls) -> Stamp {
    let changed = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|data| data.modified())
            .ok()
    };
    (changed(&files.certificate), changed(&files.key))
}

//! The demo's certificate: made at start, gone with it.
//!
//! Good for `localhost` and the loopback, and signed by itself: clients are told where it is. Start at
//! [`Certificate::make`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};

/// A certificate and its key in files of a directory of their own, which is removed with this.
pub(crate) struct Certificate {
    directory: tempfile::TempDir,
}

impl Certificate {
    /// Makes one.
    pub(super) fn make() -> io::Result<Self> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).map_err(io::Error::other)?;
        let directory = tempfile::Builder::new()
            .prefix("portcullis-demo-")
            .tempdir()?;
        let made = Self { directory };
        fs::write(made.certificate(), cert.pem())?;
        fs::write(made.key(), signing_key.serialize_pem())?;
        Ok(made)
    }

    /// The certificate's file.
    pub(super) fn certificate(&self) -> PathBuf {
        self.path().join("certificate.pem")
    }

    /// The key's file. Only this user can look into the directory.
    pub(super) fn key(&self) -> PathBuf {
        self.path().join("key.pem")
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

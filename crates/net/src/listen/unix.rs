//! The file of a Unix socket: taken over if nobody is behind it, removed in the end.
//!
//! Start at [`remove_stale`] and [`SocketFile`].

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::BindReason;

/// Owner and group may connect. Whoever else shall is put into the group, or reaches the socket by its folder.
const MODE: u32 = 0o660;

/// Removes a socket that a process left behind when it died.
pub(super) fn remove_stale(path: &Path) -> Result<(), BindReason> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !found.file_type().is_socket() {
        return Err(BindReason::NotASocket);
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        // It has gone in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Somebody answers, or would if we were allowed to ask.
        Ok(_) | Err(_) => Err(BindReason::InUse),
    }
}

/// A socket's file, removed when this is dropped, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// The file of a socket that was just bound; sets its permissions.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        Ok(Self {
            path: path.to_owned(),
            identity: identity(&fs::symlink_metadata(path)?),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if is_ours {
            // If it cannot be removed, the next start finds it stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

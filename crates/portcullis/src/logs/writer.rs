//! Where lines of the process's log end up: standard error, or a file that can be opened again.
//!
//! Each line is one write, at once and by whoever logs: what a process says last is what matters most. Start at
//! [`LogWriter`].

use std::fs::{File, OpenOptions};
use std::io::{self, Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::config::LogTarget;

/// Writes lines. Clones write to the same place, also after it was opened again.
#[derive(Debug, Clone)]
pub(super) struct LogWriter(Arc<Place>);

#[derive(Debug)]
enum Place {
    Stderr,
    File { path: PathBuf, open: ArcSwap<File> },
}

impl LogWriter {
    /// Opens the place; a file is appended to, and made if needed.
    ///
    /// # Errors
    /// The file cannot be opened; the error names it.
    pub(super) fn open(target: &LogTarget) -> io::Result<Self> {
        let place = match target {
            LogTarget::Stderr => Place::Stderr,
            LogTarget::File(path) => Place::File {
                path: path.clone(),
                open: ArcSwap::from_pointee(open(path)?),
            },
        };
        Ok(Self(Arc::new(place)))
    }

    /// Opens a file again: it may have been moved away.
    ///
    /// # Errors
    /// It cannot be opened; lines go on going where they went.
    pub(super) fn reopen(&self) -> io::Result<()> {
        if let Place::File { path, open: file } = &*self.0 {
            file.store(Arc::new(open(path)?));
        }
        Ok(())
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &*self.0 {
            Place::Stderr => stderr().write(line),
            Place::File { open, .. } => (&**open.load()).write(line),
        }
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        match &*self.0 {
            Place::Stderr => stderr().write_all(line),
            Place::File { open, .. } => (&**open.load()).write_all(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Neither place holds anything back.
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn a_moved_file_is_followed_once_it_is_opened_again() {
        let path = env::temp_dir().join(format!("portcullis-log-{}", process::id()));
        let moved = path.with_extension("1");
        let mut writer = LogWriter::open(&LogTarget::File(path.clone())).unwrap();
        let mut clone = writer.clone();
        writer.write_all(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        writer.write_all(b"two\n").unwrap();
        writer.reopen().unwrap();
        clone.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_file(path).unwrap();
        fs::remove_file(moved).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let target = LogTarget::File("/nonexistent/portcullis.log".into());
        let error = LogWriter::open(&target).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/portcullis.log"), "{error}");
    }
}

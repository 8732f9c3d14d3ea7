//! Where access logs go: one writer thread for all of them, fed through a buffer for each writer of lines.
//!
//! No formatting happens here: lines arrive whole. A worker never waits for a disk: when a buffer is full the
//! line is dropped and counted. Start at [`AccessLogs`].

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _, stderr, stdout};
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use portcullis_filter::log::{LogSink, LogSinks};
use portcullis_stats::{Counter, Registry};

/// What may wait in one buffer. A disk that stands still for longer than this takes to fill costs lines, not
/// memory and not latency.
const BUFFER_LIMIT: usize = 1 << 20;

/// How long lines may gather before they are written: one write for many lines, and still there when somebody
/// looks.
const GATHER: Duration = Duration::from_millis(50);

/// The access logs of the process. Clones are the same logs.
#[derive(Clone)]
pub struct AccessLogs(Arc<Owner>);

struct Owner {
    queue: Arc<Queue>,
    writer: Thread,
    handle: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer thread and the makers of sinks share.
#[derive(Default)]
struct Queue {
    sinks: Mutex<Vec<Arc<Sink>>>,
    reopen: AtomicBool,
    stop: AtomicBool,
}

/// One writer of lines: in practice, one filter in one worker. Its buffer's lock is contended only at the moment
/// in which the writer thread takes what has gathered.
pub struct Sink {
    target: Target,
    buffer: Mutex<Vec<u8>>,
    dropped: AtomicU64,
    writer: Thread,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Target {
    Stdout,
    Stderr,
    File(Arc<Path>),
}

impl AccessLogs {
    /// Starts the writer thread. It counts in the given shard of `registry`, which must be nobody else's.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(registry: &Registry, shard: usize) -> io::Result<Self> {
        let queue: Arc<Queue> = Arc::default();
        let (registry, shared) = (registry.clone(), Arc::clone(&queue));
        let handle = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || Writer::new(&registry, shard, shared).run())?;
        Ok(Self(Arc::new(Owner {
            queue,
            writer: handle.thread().clone(),
            handle: Mutex::new(Some(handle)),
        })))
    }

    /// A new writer of lines to `stdout`, `stderr` or a file, which is opened for appending and made if needed.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(&self, target: &str) -> io::Result<Arc<Sink>> {
        let target = match target {
            "stdout" => Target::Stdout,
            "stderr" => Target::Stderr,
            path => Target::File(Path::new(path).into()),
        };
        if let Target::File(path) = &target {
            open_file(path)?;
        }
        let sink = Arc::new(Sink {
            target,
            buffer: Mutex::default(),
            dropped: AtomicU64::new(0),
            writer: self.0.writer.clone(),
        });
        lock(&self.0.queue.sinks).push(Arc::clone(&sink));
        Ok(sink)
    }

    /// Opens all files again, for whoever has just moved them away.
    pub fn reopen(&self) {
        self.0.queue.reopen.store(true, Ordering::Release);
        self.0.writer.unpark();
    }

    /// Writes what has gathered and ends the writer thread. Later lines are lost.
    pub fn stop(&self) {
        self.0.queue.stop.store(true, Ordering::Release);
        self.0.writer.unpark();
        if let Some(handle) = lock(&self.0.handle).take() {
            // A writer that panicked has said so already.
            let _ = handle.join();
        }
    }
}

impl LogSinks for AccessLogs {
    fn open(&self, target: &str) -> io::Result<Arc<dyn LogSink>> {
        Ok(Self::open(self, target)?)
    }
}

impl LogSink for Sink {
    fn write(&self, line: &[u8]) {
        let mut buffer = lock(&self.buffer);
        if buffer.len() + line.len() > BUFFER_LIMIT {
            drop(buffer);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = buffer.is_empty();
        buffer.extend_from_slice(line);
        drop(buffer);
        if first {
            self.writer.unpark();
        }
    }
}

impl Target {
    fn is_file(&self, path: &Path) -> bool {
        matches!(self, Self::File(own) if **own == *path)
    }
}

/// The writer thread's own things.
struct Writer {
    queue: Arc<Queue>,
    files: HashMap<Arc<Path>, File>,
    spare: Vec<u8>,
    dropped: Counter,
    failed: Counter,
}

impl Writer {
    fn new(registry: &Registry, shard: usize, queue: Arc<Queue>) -> Self {
        let shard = registry.shard(shard);
        let lost = |reason| {
            shard.counter(
                "portcullis_access_log_lost_total",
                "Access log lines dropped because a buffer was full, and writes that failed.",
                &[("reason", reason)],
            )
        };
        Self {
            queue,
            files: HashMap::new(),
            spare: Vec::new(),
            dropped: lost("buffer_full"),
            failed: lost("write_error"),
        }
    }

    fn run(mut self) {
        loop {
            if !self.is_stopping() {
                thread::park();
            }
            if !self.is_stopping() {
                thread::sleep(GATHER);
            }
            // Looked at before writing: what came before the word is written.
            let is_last = self.is_stopping();
            if self.queue.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            self.write_all();
            if is_last {
                return;
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.queue.stop.load(Ordering::Acquire)
    }

    /// A file that cannot be opened again stays the one that lines go to: they are in it, wherever it was moved.
    fn reopen(&mut self) {
        for (path, file) in &mut self.files {
            match open_file(path) {
                Ok(opened) => *file = opened,
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "cannot open the access log again");
                }
            }
        }
    }

    fn write_all(&mut self) {
        let sinks = lock(&self.queue.sinks).clone();
        for sink in &sinks {
            mem::swap(&mut *lock(&sink.buffer), &mut self.spare);
            self.dropped.add(sink.dropped.swap(0, Ordering::Relaxed));
            if !self.spare.is_empty() && self.write(&sink.target).is_err() {
                self.failed.inc();
            }
            self.spare.clear();
        }
        drop(sinks);
        // A filter that is gone has let go of its sink; its last lines are written above.
        let mut sinks = lock(&self.queue.sinks);
        sinks.retain(|sink| Arc::strong_count(sink) > 1 || !lock(&sink.buffer).is_empty());
        self.files
            .retain(|path, _| sinks.iter().any(|sink| sink.target.is_file(path)));
    }

    fn write(&mut self, target: &Target) -> io::Result<()> {
        let lines = mem::take(&mut self.spare);
        let written = match target {
            Target::Stdout => stdout()
                .lock()
                .write_all(&lines)
                .and_then(|()| stdout().flush()),
            Target::Stderr => stderr().lock().write_all(&lines),
            Target::File(path) => self.file(path).and_then(|file| file.write_all(&lines)),
        };
        self.spare = lines;
        written
    }

    fn file(&mut self, path: &Arc<Path>) -> io::Result<&mut File> {
        if !self.files.contains_key(path) {
            let file = open_file(path)?;
            self.files.insert(Arc::clone(path), file);
        }
        self.files
            .get_mut(path)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("portcullis-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("access.log")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lines_of_all_sinks_are_written_before_the_end() {
        let folder = Folder::new("lines");
        let registry = Registry::new(1);
        let logs = AccessLogs::start(&registry, 0).unwrap();
        let path = folder.file();
        let first = logs.open(path.to_str().unwrap()).unwrap();
        let second = logs.open(path.to_str().unwrap()).unwrap();
        first.write(b"one\n");
        second.write(b"two\n");
        drop(second);
        logs.stop();
        assert_eq!(fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn reopening_follows_a_moved_file() {
        let folder = Folder::new("reopen");
        let registry = Registry::new(1);
        let queue: Arc<Queue> = Arc::default();
        let mut writer = Writer::new(&registry, 0, Arc::clone(&queue));
        let path: Arc<Path> = folder.file().into();
        let sink = Arc::new(Sink {
            target: Target::File(Arc::clone(&path)),
            buffer: Mutex::default(),
            dropped: AtomicU64::new(0),
            writer: thread::current(),
        });
        lock(&queue.sinks).push(Arc::clone(&sink));
        sink.write(b"before\n");
        writer.write_all();
        let moved = path.with_extension("1");
        fs::rename(&path, &moved).unwrap();
        writer.reopen();
        assert_eq!(fs::read_to_string(&path).unwrap(), "", "made at once");
        sink.write(b"after\n");
        writer.write_all();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "before\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }

    #[test]
    fn a_full_buffer_drops_and_counts() {
        let registry = Registry::new(1);
        let queue: Arc<Queue> = Arc::default();
        let mut writer = Writer::new(&registry, 0, Arc::clone(&queue));
        let sink = Arc::new(Sink {
            target: Target::File(Path::new("/").into()),
            buffer: Mutex::default(),
            dropped: AtomicU64::new(0),
            writer: thread::current(),
        });
        lock(&queue.sinks).push(Arc::clone(&sink));
        sink.write(&vec![b'x'; BUFFER_LIMIT]);
        sink.write(b"y");
        assert_eq!(lock(&sink.buffer).len(), BUFFER_LIMIT);
        writer.write_all();
        let lost = |reason| {
            let snapshot = registry.snapshot();
            snapshot.counter("portcullis_access_log_lost_total", &[("reason", reason)])
        };
        assert_eq!(lost("buffer_full"), 1);
        assert_eq!(lost("write_error"), 1, "a folder cannot be written to");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_at_once() {
        let registry = Registry::new(1);
        let logs = AccessLogs::start(&registry, 0).unwrap();
        assert!(logs.open("/nonexistent/folder/access.log").is_err());
        logs.stop();
    }
}

//! Notices that the configuration file has changed, however it is replaced.
//!
//! The directory is watched, not the file: editors and Kubernetes replace files by renaming, and a watch on the
//! old one would see nothing. It reads nothing and decides nothing; a change only says that it is worth looking.
//! Start at [`FileWatch::start`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// How long to wait for more changes after one: a tool that replaces a file takes several steps.
const SETTLE: Duration = Duration::from_millis(100);

/// A watch on one file. Ends when it is dropped.
pub(super) struct FileWatch {
    path: PathBuf,
    changed: Arc<Notify>,
    watcher: RecommendedWatcher,
    /// The directory that the file is really in, if a symbolic link leads out of its own.
    linked: Option<PathBuf>,
    /// Something changed, and nobody has been told yet.
    pending: bool,
}

impl FileWatch {
    /// Watches `path`, which may be a symbolic link, also to a directory that is replaced as a whole.
    ///
    /// # Errors
    /// The system cannot watch the file's directory.
    pub(super) fn start(path: &Path) -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let (notify, watched) = (Arc::clone(&changed), path.to_owned());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An overflow of the system's queue is an error too: then it is worth looking in any case.
            if event.map_or(true, |event| is_relevant(&event, &watched)) {
                notify.notify_one();
            }
        })?;
        let mut watch = Self {
            path: path.to_owned(),
            changed,
            watcher,
            linked: None,
            // It may have changed since it was read, before the watch began.
            pending: true,
        };
        let folder = folder_of(path);
        watch.watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        watch.follow();
        Ok(watch)
    }

    /// Waits until the file may have changed and its directory has come to rest. Dropping the future loses
    /// nothing: the next one goes on.
    pub(super) async fn changed(&mut self) {
        if !self.pending {
            self.changed.notified().await;
            self.pending = true;
        }
        while tokio::time::timeout(SETTLE, self.changed.notified())
            .await
            .is_ok()
        {}
        self.pending = false;
        self.follow();
    }

    /// Watches where a symbolic link leads now, as well.
    fn follow(&mut self) {
        let real = self.path.canonicalize().ok();
        let real = real.as_deref().map(folder_of);
        let own = folder_of(&self.path).canonicalize().ok();
        let real = real.filter(|real| Some(real) != own.as_ref());
        if real == self.linked {
            return;
        }
        if let Some(before) = self.linked.take() {
            // Usually gone already: that is what the change was.
            let _ = self.watcher.unwatch(&before);
        }
        if let Some(real) = real
            && self
                .watcher
                .watch(&real, RecursiveMode::NonRecursive)
                .is_ok()
        {
            self.linked = Some(real);
        }
    }
}

/// The file itself, the `..data` link through which Kubernetes replaces all files of a volume at once, or
/// anything where a link leads. A write counts when the writer closes the file: half a configuration is not
/// worth looking at.
fn is_relevant(event: &Event, watched: &Path) -> bool {
    let settled = matches!(
        event.kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Any
    );
    settled
        && event.paths.iter().any(|path| {
            let name = path.file_name().unwrap_or_default();
            Some(name) == watched.file_name()
                || name.as_encoded_bytes().starts_with(b"..")
                || path.parent() != Some(&folder_of(watched))
        })
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir()
                .join(format!("portcullis-watch-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn a_write_and_a_rename_are_noticed() {
        let folder = Folder::new("rename");
        let file = folder.0.join("portcullis.yaml");
        fs::write(&file, "one").unwrap();
        runtime().block_on(async {
            let mut watch = FileWatch::start(&file).unwrap();
            fs::write(&file, "two").unwrap();
            watch.changed().await;
            let next = folder.0.join("next");
            fs::write(&next, "three").unwrap();
            fs::rename(&next, &file).unwrap();
            watch.changed().await;
        });
    }

    #[test]
    fn a_config_map_is_noticed_each_time() {
        let folder = Folder::new("configmap");
        let version = |number: u32| {
            let folder = folder.0.join(format!("..version{number}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("portcullis.yaml"), number.to_string()).unwrap();
        };
        version(1);
        symlink("..version1", folder.0.join("..data")).unwrap();
        let file = folder.0.join("portcullis.yaml");
        symlink("..data/portcullis.yaml", &file).unwrap();
        runtime().block_on(async {
            let mut watch = FileWatch::start(&file).unwrap();
            for number in 2..4 {
                version(number);
                let next = folder.0.join("..data_tmp");
                symlink(format!("..version{number}"), &next).unwrap();
                fs::rename(&next, folder.0.join("..data")).unwrap();
                watch.changed().await;
                assert_eq!(fs::read_to_string(&file).unwrap(), number.to_string());
            }
        });
    }

    #[test]
    fn other_files_are_not_worth_a_look() {
        let event = |kind, path: &str| Event::new(kind).add_path(PathBuf::from(path));
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let data = EventKind::Modify(ModifyKind::Any);
        for (row, event, relevant) in [
            ("written", event(close, "/etc/p/p.yaml"), true),
            ("being written", event(data, "/etc/p/p.yaml"), false),
            ("where a link leads", event(close, "/srv/real.yaml"), true),
            ("another file", event(close, "/etc/p/access.log"), false),
            (
                "a volume",
                event(
                    EventKind::Modify(ModifyKind::Name(notify::event::RenameMode::To)),
                    "/etc/p/..data",
                ),
                true,
            ),
        ] {
            assert_eq!(
                is_relevant(&event, Path::new("/etc/p/p.yaml")),
                relevant,
                "{row}"
            );
        }
    }
}

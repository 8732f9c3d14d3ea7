//! Notices that the configuration file, or a file that it names, has changed, however it is replaced.
//!
//! The directory is watched, not the file: editors and Kubernetes replace files by renaming, and a watch on the
//! old one would see nothing. It reads nothing and decides nothing; a change only says that it is worth looking.
//! Start at [`FileWatch::start`], and at [`FilesWatch`] for many files that come and go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
        settle(&self.changed).await;
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

/// A watch on many files, which can change at any time. Ends when it is dropped.
pub(super) struct FilesWatch {
    changed: Arc<Notify>,
    files: Arc<Mutex<Vec<PathBuf>>>,
    /// Made for the first file: each costs a thread and one of the few watchers that a user may have.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

/// The changes that a [`FilesWatch`] notices.
pub(super) struct FileChanges {
    changed: Arc<Notify>,
    /// Something changed, and nobody has been told yet.
    pending: bool,
}

impl FilesWatch {
    /// No files yet.
    pub(super) fn new() -> (Self, FileChanges) {
        let changed = Arc::new(Notify::new());
        let changes = FileChanges {
            changed: Arc::clone(&changed),
            pending: false,
        };
        let watch = Self {
            changed,
            files: Arc::default(),
            watcher: None,
            folders: BTreeSet::new(),
        };
        (watch, changes)
    }

    /// Watches these files and no others, each also where a symbolic link leads now. What cannot be watched is logged; a
    /// reload looks at it all the same.
    pub(super) fn watch<'a>(&mut self, files: impl Iterator<Item = &'a Path>) {
        let files: Vec<PathBuf> = files.map(Path::to_owned).collect();
        let real = files.iter().filter_map(|file| file.canonicalize().ok());
        let folders: BTreeSet<PathBuf> = files
            .iter()
            .cloned()
            .chain(real)
            .filter_map(|file| folder_of(&file).canonicalize().ok())
            .collect();
        *lock(&self.files) = files;
        if folders.is_empty() {
            self.watcher = None;
            self.folders.clear();
            return;
        }
        if let Err(error) = self.watch_folders(folders) {
            tracing::warn!(%error, "cannot watch certificates; use HUP or POST /reload");
        }
    }

    fn watch_folders(&mut self, folders: BTreeSet<PathBuf>) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(start_watcher(&self.changed, &self.files)?),
        };
        for gone in self.folders.difference(&folders) {
            // Usually gone already: that is what the change was.
            let _ = watcher.unwatch(gone);
        }
        let mut result = Ok(());
        for folder in &folders {
            // Again also where there is a watch: the folder may be another one of the same name.
            let watched = watcher.watch(folder, RecursiveMode::NonRecursive);
            result = result.and(watched);
        }
        self.folders = folders;
        result
    }
}

impl FileChanges {
    /// As [`FileWatch::changed`].
    pub(super) async fn next(&mut self) {
        if !self.pending {
            self.changed.notified().await;
            self.pending = true;
        }
        settle(&self.changed).await;
        self.pending = false;
    }
}

fn start_watcher(
    changed: &Arc<Notify>,
    files: &Arc<Mutex<Vec<PathBuf>>>,
) -> notify::Result<RecommendedWatcher> {
    let (changed, files) = (Arc::clone(changed), Arc::clone(files));
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        let is_relevant = |event: Event| {
            let files = lock(&files);
            files.iter().any(|file| is_relevant(&event, file))
        };
        if event.map_or(true, is_relevant) {
            changed.notify_one();
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the lock panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until nothing has changed for a while.
async fn settle(changed: &Notify) {
    while tokio::time::timeout(SETTLE, changed.notified())
        .await
        .is_ok()
    {}
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
    fn many_files_come_and_go() {
        let [one, other] = [Folder::new("many-one"), Folder::new("many-other")];
        let [first, second] = [one.0.join("a.pem"), other.0.join("b.pem")];
        let link = one.0.join("link.pem");
        fs::write(&first, "1").unwrap();
        fs::write(&second, "1").unwrap();
        symlink(&second, &link).unwrap();
        runtime().block_on(async {
            let (mut watch, mut changes) = FilesWatch::new();
            watch.watch([first.as_path()].into_iter());
            fs::write(&first, "2").unwrap();
            changes.next().await;
            watch.watch([first.as_path(), link.as_path()].into_iter());
            fs::write(&second, "2").unwrap();
            changes.next().await;
            watch.watch(std::iter::empty());
            assert!(watch.watcher.is_none());
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

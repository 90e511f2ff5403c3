//! Every state that a power cut may legally leave, from the effects of a process (after Pillai and others, "All File Systems
//! Are Not Created Equal", OSDI 2014).
//!
//! * The bytes of a file are there once a sync of it has answered; before, none, some, or zeros in their place.
//! * A name is there (or gone) once a sync of its folder has answered; before, each by itself may be or may not be.
//! * A sync that failed keeps nothing, and a later one of the same folder or file keeps only what was changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::life::{MADE, Promised};
use crate::shim::Effect;

/// Beyond so many undecided names not every combination is tried, but each alone, each left out, all and none.
const ALL_COMBINATIONS: usize = 6;

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    kept: bool,
    lost: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Folder,
    File(usize),
    Gone,
    Moved(PathBuf, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    /// A sync failed: whether it was kept nobody will ever say.
    Doubtful,
    Kept,
}

#[derive(Clone, Debug)]
struct Named {
    path: PathBuf,
    change: Change,
    fate: Fate,
}

/// A disk under a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    changes: Vec<Named>,
    /// What the process has been told is durable.
    pub(crate) promised: Promised,
}

/// What stands on the disk after a power cut: folders, and files with their bytes.
pub(crate) type Left = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Disk {
    /// The next effect.
    pub(crate) fn happens(&mut self, effect: &Effect) {
        let path = effect.path.clone();
        match (effect.op.as_str(), effect.done) {
            ("create", true) if path.starts_with("ack") => self.promise(&path),
            ("create", true) => {
                self.files.push(File::default());
                self.named(path, self.files.len() - 1);
            }
            ("write", true) => {
                if let Some(file) = self.file(&path) {
                    file.bytes.extend(&effect.bytes);
                    file.kept = false;
                }
            }
            ("sync", done) => {
                if let Some(file) = self.file(&path) {
                    (file.kept, file.lost) = (done && !file.lost, file.lost || !done);
                }
            }
            ("syncdir", done) => {
                let fate = if done { Fate::Kept } else { Fate::Doubtful };
                let open = |change: &&mut Named| change.fate == Fate::Open && change.path.parent() == Some(&*path);
                self.changes.iter_mut().filter(open).for_each(|change| change.fate = fate);
            }
            ("mkdir", true) => self.change(path, Change::Folder),
            ("link", true) => {
                let file = self.names[&effect.from];
                self.named(path, file);
            }
            ("rename", true) => {
                let file = self.names.remove(&effect.from).unwrap();
                self.names.insert(path.clone(), file);
                self.change(path, Change::Moved(effect.from.clone(), file));
            }
            ("unlink" | "rmdir", true) => {
                self.names.remove(&path);
                self.change(path, Change::Gone);
            }
            // What failed was not done; what failed after it was done stands one line above.
            (_, false) => {}
            (op, true) => panic!("an effect that nobody thought of: {op}"),
        }
    }

    fn promise(&mut self, path: &Path) {
        let name = path.file_name().unwrap().to_str().unwrap();
        match name.parse::<u64>() {
            Ok(position) => self.promised.upto = self.promised.upto.max(position),
            Err(_) => self.promised.store |= name == MADE,
        }
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        self.names.get(path).map(|file| &mut self.files[*file])
    }

    fn named(&mut self, path: PathBuf, file: usize) {
        self.names.insert(path.clone(), file);
        self.change(path, Change::File(file));
    }

    fn change(&mut self, path: PathBuf, change: Change) {
        self.changes.push(Named { path, change, fate: Fate::Open });
    }

    /// Everything that a power cut may leave now.
    pub(crate) fn states(&self) -> BTreeSet<Left> {
        let undecided: Vec<_> = (0..self.changes.len()).filter(|at| self.is_undecided(*at)).collect();
        let all: BTreeSet<_> = undecided.iter().copied().collect();
        let mut choices = BTreeSet::from([all.clone(), BTreeSet::new()]);
        if undecided.len() <= ALL_COMBINATIONS {
            for mask in 0_u32..1 << undecided.len() {
                let chosen = undecided.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
                choices.insert(chosen.map(|(_, at)| *at).collect());
            }
        } else {
            for at in &undecided {
                choices.insert(BTreeSet::from([*at]));
                choices.insert(all.iter().copied().filter(|other| other != at).collect());
            }
        }
        let mut states = BTreeSet::new();
        for chosen in choices {
            for drafts in [false, true] {
                for torn in 0..3 {
                    states.insert(self.left(&chosen, drafts, torn));
                }
            }
        }
        states
    }

    /// Drafts are never synced into their folder: all of them stand or none, which is enough for what nobody reads.
    fn is_undecided(&self, at: usize) -> bool {
        self.changes[at].fate != Fate::Kept && !is_draft(&self.changes[at].path)
    }

    fn left(&self, chosen: &BTreeSet<usize>, drafts: bool, torn: u8) -> Left {
        let mut left = Left::from([(PathBuf::new(), None)]);
        let mut files = BTreeMap::new();
        for (at, Named { path, change, fate }) in self.changes.iter().enumerate() {
            let kept = *fate == Fate::Kept || chosen.contains(&at) || (drafts && is_draft(path));
            if !kept || !left.contains_key(path.parent().unwrap()) {
                continue;
            }
            match change {
                Change::Folder => drop(left.insert(path.clone(), None)),
                Change::File(file) => drop(files.insert(path.clone(), *file)),
                Change::Gone => {
                    left.remove(path);
                    files.remove(path);
                }
                Change::Moved(from, file) => {
                    files.remove(from);
                    files.insert(path.clone(), *file);
                }
            }
        }
        left.extend(files.into_iter().map(|(path, file)| (path, Some(self.bytes(file, torn)))));
        left
    }

    fn bytes(&self, file: usize, torn: u8) -> Vec<u8> {
        let File { bytes, kept, .. } = &self.files[file];
        match torn {
            _ if *kept => bytes.clone(),
            0 => Vec::new(),
            1 => bytes[..bytes.len() / 2].to_vec(),
            _ => vec![0; bytes.len()],
        }
    }
}

fn is_draft(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(".holdfast/draft"))
}

/// Puts it on a real disk again.
pub(crate) fn lay_down(left: &Left, folder: &Path) {
    for (path, bytes) in left {
        let place = folder.join(path);
        match bytes {
            None => fs::create_dir_all(place).unwrap(),
            Some(bytes) => fs::write(place, bytes).unwrap(),
        }
    }
}

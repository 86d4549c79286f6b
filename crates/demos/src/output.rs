//! The files that a command line names: checked before any work is done, and written whole or not at all.
//!
//! - A file is written beside its place under another name, and then renamed: if that fails, what was there is
//!   still there. A new file has the permissions of any new file, an old one keeps those that it has.
//! - Of a symbolic link, the file that it points to is replaced; the link stays. Of a hard link, the name
//!   that is given becomes a file of its own; the other names keep the old content.
//! - What cannot be renamed to is written directly: a device, a pipe, and the file that is already this
//!   process's output, as in `--csv /dev/stdout >file`.

use same_file::Handle;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf, is_separator};
use tempfile::NamedTempFile;

/// The files of a command line. No two of them may be the same, unless both are only read.
#[derive(Debug, Default)]
pub struct Files {
    known: Vec<Known>,
}

/// A file that an option names.
#[derive(Debug)]
struct Known {
    option: String,
    path: PathBuf,
    identity: Option<Identity>,
    is_changed: bool,
}

/// What two names of the same file have in common.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// A file that is there.
    Open(Handle),
    /// One that is not there yet: its folder, and its name there.
    Place(PathBuf, OsString),
}

impl Identity {
    /// That of a regular file. Devices and pipes have none: to use one twice loses nothing.
    fn of(path: &Path) -> Option<Self> {
        if let Ok(found) = fs::metadata(path) {
            return if found.is_file() {
                Handle::from_path(path).ok().map(Self::Open)
            } else {
                None
            };
        }
        let target = target(path).ok()?;
        let folder = fs::canonicalize(folder_of(&target)).ok()?;
        Some(Self::Place(folder, target.file_name()?.to_owned()))
    }
}

impl Files {
    /// The file of `option` is read.
    ///
    /// # Errors
    ///
    /// If another option writes to it.
    pub fn read(&mut self, option: &str, path: &Path) -> Result<(), String> {
        self.add(option, path, false)
    }

    /// The file of `option` is updated in place by others, such as a journal.
    ///
    /// # Errors
    ///
    /// If another option names it, it is a folder, or there is no folder for it.
    pub fn update(&mut self, option: &str, path: &Path) -> Result<(), String> {
        check_place(path).map_err(|problem| cannot_write(path, option, &problem))?;
        self.add(option, path, true)
    }

    /// The file of `option` will be written.
    ///
    /// # Errors
    ///
    /// If another option names it, it is a folder, there is no folder for it, or it cannot be written.
    pub fn write(&mut self, option: &str, path: &Path) -> Result<Output, String> {
        let place = check_place(path).and_then(|()| Place::find(path));
        let place = place.map_err(|problem| cannot_write(path, option, &problem))?;
        self.add(option, path, true)?;
        Ok(Output { option: option.to_owned(), path: path.to_owned(), place })
    }

    fn add(&mut self, option: &str, path: &Path, is_changed: bool) -> Result<(), String> {
        let identity = Identity::of(path);
        for known in &self.known {
            let is_same = identity.is_some() && identity == known.identity;
            if is_same && (is_changed || known.is_changed) {
                return Err(format!(
                    "{option} {} and {} {} are the same file; allowed: different ones",
                    path.display(),
                    known.option,
                    known.path.display()
                ));
            }
        }
        let (option, path) = (option.to_owned(), path.to_owned());
        self.known.push(Known { option, path, identity, is_changed });
        Ok(())
    }
}

fn cannot_write(path: &Path, option: &str, problem: &str) -> String {
    format!("cannot write {} ({option}): {problem}", path.display())
}

/// That a file could be there.
fn check_place(path: &Path) -> Result<(), String> {
    let ends_as_folder =
        path.as_os_str().to_string_lossy().chars().next_back().is_some_and(is_separator);
    if path.is_dir() {
        return Err("it is a folder; allowed: a file".to_owned());
    }
    if ends_as_folder {
        return Err("its name is that of a folder; allowed: that of a file".to_owned());
    }
    let target = target(path).map_err(|error| error.to_string())?;
    let folder = folder_of(&target);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("{} is not a folder; allowed: a file in a folder", folder.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!(
            "the folder {} does not exist; allowed: a file in one that does",
            folder.display()
        )),
        Err(error) => Err(format!("its folder {}: {error}", folder.display())),
    }
}

/// The folder that a file is in.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a file is that may be named by symbolic links. It need not be there.
fn target(path: &Path) -> io::Result<PathBuf> {
    /// As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => {
                target = folder_of(&target).join(fs::read_link(&target)?);
            }
            _ => return Ok(target),
        }
    }
    Err(io::Error::other(format!("more than {MOST_LINKS} symbolic links lead to it")))
}

/// How a file is written.
#[derive(Debug)]
enum Place {
    /// By a file beside it, which is then renamed.
    Replaced(PathBuf),
    /// In place: it is a device or a pipe.
    Direct,
    /// It is the output of this process.
    Stdout,
    /// It is where this process writes its problems.
    Stderr,
}

impl Place {
    /// How the file can be written; what speaks against it.
    fn find(path: &Path) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let target = target(path).map_err(text)?;
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => return Ok(Self::Direct),
            Ok(_) => {
                // Whoever may not write to the file could still replace it.
                let file = OpenOptions::new().write(true).open(path).map_err(text)?;
                let handle = Handle::from_file(file).ok();
                if handle.is_some() && handle == Handle::stdout().ok() {
                    return Ok(Self::Stdout);
                }
                if handle.is_some() && handle == Handle::stderr().ok() {
                    return Ok(Self::Stderr);
                }
            }
            Err(_) => {}
        }
        // Shows whether the folder takes a new file; it is gone at once.
        beside(&target).map_err(|error| format!("no file can be made in its folder: {error}"))?;
        Ok(Self::Replaced(target))
    }
}

/// A new file in the folder of another one, with the permissions of any new file.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    tempfile::Builder::new().prefix(".rootstep-").make_in(folder_of(target), create)
}

/// A file that will be written, checked by [`Files::write`].
#[derive(Debug)]
pub struct Output {
    option: String,
    path: PathBuf,
    place: Place,
}

impl Output {
    /// The file, as the command line names it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the whole file.
    ///
    /// # Errors
    ///
    /// If it cannot be written. What was there before is there still then, unless it is a device or a pipe.
    pub fn write(&self, content: &[u8]) -> Result<(), String> {
        let written = match &self.place {
            Place::Replaced(target) => replace(target, content),
            Place::Direct => {
                OpenOptions::new().write(true).open(&self.path).and_then(|file| fill(file, content))
            }
            Place::Stdout => fill(io::stdout().lock(), content),
            Place::Stderr => fill(io::stderr().lock(), content),
        };
        written.map_err(|error| cannot_write(&self.path, &self.option, &error.to_string()))
    }
}

fn fill(mut file: impl Write, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.flush()
}

fn replace(target: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = beside(target)?;
    fill(new.as_file_mut(), content)?;
    if let Ok(old) = fs::metadata(target) {
        new.as_file().set_permissions(old.permissions())?;
    }
    let _: File = new.persist(target).map_err(|error| error.error)?;
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file that appears under its name when it is complete, and not before.

use std::fs::Permissions;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::NamedTempFile;

/// Output on its way: a temporary file beside its place, removed unless it is completed.
pub struct Unfinished {
    file: NamedTempFile,
    path: PathBuf,
    force: bool,
}

impl Unfinished {
    /// Begins a file. One that exists already is an error, unless it may be overwritten.
    pub fn begin(path: &Path, force: bool) -> anyhow::Result<Self> {
        if !force && path.symlink_metadata().is_ok() {
            bail!(exists(path));
        }
        // A link stays, and what it leads to is replaced.
        let path = &path.canonicalize().unwrap_or(path.to_owned());
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".wm-").suffix(".unfinished");
        // As any new file: what the umask leaves of it.
        #[cfg(unix)]
        let all: Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        builder.permissions(all);
        let file = builder
            .tempfile_in(directory)
            .with_context(|| format!("{}: cannot be written there", path.display()))?;
        Ok(Unfinished {
            file,
            path: path.to_owned(),
            force,
        })
    }

    /// Where to write meanwhile.
    pub fn temporary(&self) -> &Path {
        self.file.path()
    }

    /// Gives the file its name.
    pub fn complete(self) -> anyhow::Result<()> {
        let Unfinished { file, path, force } = self;
        // What has its name after a power cut has its contents, too.
        file.as_file()
            .sync_all()
            .with_context(|| format!("{}", path.display()))?;
        // Who may read what is replaced may read the new one, and nobody else.
        if force && let Ok(replaced) = path.metadata() {
            let permissions = file.as_file().set_permissions(replaced.permissions());
            permissions.with_context(|| format!("{}", path.display()))?;
        }
        let renamed = match force {
            true => file.persist(&path),
            // Nobody can have made one meanwhile.
            false => file.persist_noclobber(&path),
        };
        match renamed {
            Ok(_) => Ok(()),
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => bail!(exists(&path)),
            Err(e) => Err(e.error).with_context(|| format!("{}", path.display())),
        }
    }
}

fn exists(path: &Path) -> String {
    format!("{} exists already: --force overwrites it", path.display())
}

/// Refuses to write a file over one that is read.
pub fn refuse_same(input: &Path, output: &Path) -> anyhow::Result<()> {
    if let (Ok(from), Ok(to)) = (input.canonicalize(), output.canonicalize())
        && from == to
    {
        bail!(
            "{} is input and output: give the output another name",
            output.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_wrote_meanwhile_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.wav");
        let begun = Unfinished::begin(&path, false).unwrap();
        std::fs::write(&path, "precious").unwrap();
        let error = begun.complete().unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_replaced_keeps_its_link_and_who_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let begun = Unfinished::begin(&link, true).unwrap();
        std::fs::write(begun.temporary(), "new").unwrap();
        begun.complete().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn others_can_read_it_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.wav");
        let begun = Unfinished::begin(&path, false).unwrap();
        begun.complete().unwrap();
        let usual = directory.path().join("usual");
        std::fs::write(&usual, "").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&usual));
    }
}

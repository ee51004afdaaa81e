//! Programs that the tests start; `tests/run install` installs them.

use std::path::{Path, PathBuf};

/// The path of a program. The test fails without it.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found =
        [own_folder()].into_iter().chain(folders).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed; run `tests/run install` first"))
}

/// The Python that has the packages of `requirements.txt`.
pub fn python() -> PathBuf {
    let python = own_folder().join("python");
    assert!(python.is_file(), "{} is missing; run `tests/run install` first", python.display());
    python
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin")
}

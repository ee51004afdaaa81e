//! Prepares the assets: joins the style sheets, puts a digest into each file's name and
//! compresses it, so that the server only ever sends bytes that are ready.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=static");
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-changed=migrations");
    let out = PathBuf::from(std::env::var("OUT_DIR").map_err(std::io::Error::other)?).join("assets");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let mut style = Vec::new();
    for part in sorted(Path::new("static/oat"), "css")? {
        style.extend(fs::read(part)?);
    }
    style.extend(fs::read("static/app.css")?);
    let mut list = write(&out, "app.css", &style)?;
    for name in ["app.js", "htmx.min.js", "icons.svg", "logo.svg"] {
        list += &write(&out, name, &fs::read(Path::new("static").join(name))?)?;
    }
    fs::write(out.join("list.rs"), format!("[{list}]"))
}

fn sorted(folder: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

/// Writes `app.css` as `app-0123456789abcdef.css`, and the same with `.gz`. Returns its entry in
/// the list of assets, in Rust.
fn write(out: &Path, name: &str, bytes: &[u8]) -> std::io::Result<String> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let file = format!("{stem}-{:016x}.{extension}", hasher.finish());
    fs::write(out.join(&file), bytes)?;
    let packed = fs::File::create(out.join(format!("{file}.gz")))?;
    let mut gzip = flate2::write::GzEncoder::new(packed, flate2::Compression::best());
    gzip.write_all(bytes)?;
    gzip.finish()?;
    Ok(format!(
        "Asset {{ name: {name:?}, path: {:?}, plain: include_bytes!({file:?}), gzip: include_bytes!({:?}) }},\n",
        format!("/assets/{file}"),
        format!("{file}.gz"),
    ))
}

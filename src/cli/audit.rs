//! `keydesk audit`: exports, verifies and recovers the audit log without a server.

mod database;
mod report;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::audit::checkpoint::{Checkpoint, Note, Signer, Verifier};
use crate::audit::verify::{self, TrustAnchors};
use crate::audit::{export, signing};
use crate::cli::audit::report::{first_bad, proof_of_file};
use crate::cli::open;
use crate::cli::output::{self, Failure, print};
use crate::db::Db;
use crate::id::OrgId;
use crate::orgs;
use crate::time::Time;

/// Bytes at the end of a file that are searched for its last line.
const TAIL_BYTES: u64 = 64 << 10;

/// The actions of `keydesk audit`.
#[derive(Subcommand)]
pub enum Action {
    /// Export the log as JSON lines that end with the signed checkpoint
    Export {
        /// The organisation, by slug
        #[arg(long)]
        org: String,
        /// The file to write [default: standard output]
        file: Option<PathBuf>,
    },
    /// Verify the logs of the database or an exported log, and name the first bad entry
    Verify(Verify),
    /// Continue a broken log; an entry records the recovery
    Recover {
        /// The organisation, by slug
        #[arg(long)]
        org: String,
        /// Continue under a new name although entries were altered
        #[arg(long)]
        new_name: bool,
    },
}

/// The arguments of `keydesk audit verify`.
#[derive(Args)]
pub struct Verify {
    /// An exported log [default: the logs of the database]
    #[arg(long)]
    export: Option<PathBuf>,
    /// The verifier key that you noted outside Keydesk
    #[arg(long)]
    key: Option<String>,
    /// A file with a checkpoint that you kept outside Keydesk
    #[arg(long)]
    checkpoint: Option<PathBuf>,
}

impl Action {
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Action::Export { org, file } => write_log(org, file.as_deref()),
            Action::Verify(verify) => verify.run(),
            Action::Recover { org, new_name } => database::recover(org, *new_name),
        }
    }
}

fn write_log(slug: &str, file: Option<&Path>) -> Result<(), Failure> {
    let config = open::config()?;
    let (db, keyring) = open::database(&config)?;
    let org = db.read_now(|conn| orgs::store::by_slug(conn, slug))?;
    let org = org.ok_or_else(|| Failure::Refused(format!("there is no organisation {slug:?}.")))?.id;
    let (host, signers) = (config.host(), Signer::all(&keyring)?);
    let now = Time::now();
    let note = db.write_now(|tx| signing::sign(tx, org, &host, &signers, now))?;
    let size = Note::parse(&note).and_then(|note| note.checkpoint()).map_or(0, |checkpoint| checkpoint.size);
    match file {
        None => write_lines(&db, org, size, &note, std::io::stdout().lock(), Failure::unwritten)?,
        Some(path) => {
            let failed = |error: std::io::Error| {
                Failure::Refused(format!("{} can't be written: {error}.", path.display()))
            };
            let out = File::create(path).map_err(failed)?;
            write_lines(&db, org, size, &note, &out, failed)?;
            out.sync_all().map_err(failed)?;
        }
    }
    output::note(format_args!("{size} entries. Keep the verifier key outside Keydesk:"));
    for (verifier, _) in db.read_now(|conn| signing::authentic_verifiers(conn, db.logs(), org))? {
        output::note(verifier);
    }
    Ok(())
}

fn write_lines(
    db: &Db,
    org: OrgId,
    size: u64,
    note: &str,
    out: impl Write,
    failed: impl Fn(std::io::Error) -> Failure,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(out);
    let mut from = 0;
    while from < size {
        let lines = db.read_now(|conn| export::block(conn, org, size, from))?;
        out.write_all(lines.as_bytes()).map_err(&failed)?;
        from += export::BLOCK;
    }
    out.write_all(export::trailer(note)?.as_bytes()).and_then(|()| out.flush()).map_err(failed)
}

impl Verify {
    fn run(&self) -> Result<(), Failure> {
        let anchors = self.anchors()?;
        match &self.export {
            Some(path) => check_file(path, &anchors),
            None => database::check(&anchors),
        }
    }

    fn anchors(&self) -> Result<TrustAnchors, Failure> {
        let key = self.key.as_deref().map(|text| {
            Verifier::parse(text).ok_or_else(|| {
                Failure::Usage("--key is not a verifier key. Use one such as host/org+1234abcd+AbCd….".into())
            })
        });
        let key = key.transpose()?;
        let Some(path) = &self.checkpoint else { return Ok(TrustAnchors { key, checkpoint: None }) };
        let failed = |problem: String| Failure::Usage(format!("--checkpoint {}: {problem}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(format!("{error}.")))?;
        // Mail programs may change line ends.
        let text = text.replace("\r\n", "\n");
        let note = Note::parse(&format!("{}\n", text.trim_end()));
        let note = note.ok_or_else(|| failed("the file is not a signed note.".into()))?;
        let checkpoint = note.checkpoint().ok_or_else(|| failed("the note is not a checkpoint.".into()))?;
        match &key {
            Some(key) if !key.has_signed(&note) => {
                Err(failed("the checkpoint is not signed by the key that --key names.".into()))
            }
            _ => Ok(TrustAnchors { key, checkpoint: Some(checkpoint) }),
        }
    }
}

fn check_file(path: &Path, anchors: &TrustAnchors) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::Usage(format!("{} can't be read: {error}.", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let last = last_line(&mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let checked = verify::export(BufReader::new(file), &last, anchors).map_err(failed)?;
    let log = checked.map_err(|fault| Failure::Refused(first_bad(&fault)))?;
    let Checkpoint { origin, size, .. } = &log.checkpoint;
    print(&format!("{origin}: {size} entries, unbroken, {}", proof_of_file(anchors, *size)))
}

/// Returns the last line of a file, with its line end if it has one.
fn last_line(file: &mut File) -> std::io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let lines = tail.strip_suffix(b"\n").unwrap_or(&tail);
    let start = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    Ok(String::from_utf8_lossy(&tail[start..]).into_owned())
}

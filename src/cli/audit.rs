//! `keydesk audit`: the log as a file, and checks of it that need no server.

mod database;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::audit::checkpoint::{Checkpoint, Note, Signer, Verifier};
use crate::audit::verify::{self, Fault, Outside};
use crate::audit::{export, signing};
use crate::cli::{Failure, print, store as open};
use crate::db::Db;
use crate::id::OrgId;
use crate::orgs;
use crate::time::Time;

/// How much of a file's end is searched for its last line.
const TAIL: u64 = 64 << 10;

/// What to do with the audit log.
#[derive(Subcommand)]
pub enum Act {
    /// Write the log as JSON lines, the signed checkpoint last
    Export {
        /// The organisation, by slug
        #[arg(long)]
        org: String,
        /// Where to; standard output if left out
        file: Option<PathBuf>,
    },
    /// Check the log of the database or of an export, and name the first bad entry
    Verify(Verify),
    /// Go on with a broken log; the log itself says so from then on
    Recover {
        /// The organisation, by slug
        #[arg(long)]
        org: String,
        /// Go on under a new name, although entries are not what was written
        #[arg(long)]
        new_name: bool,
    },
}

/// What to check, and against what.
#[derive(Args)]
pub struct Verify {
    /// An exported log; the database if left out
    #[arg(long)]
    export: Option<PathBuf>,
    /// The verifier key, as noted outside
    #[arg(long)]
    key: Option<String>,
    /// A file with a checkpoint that was kept outside
    #[arg(long)]
    checkpoint: Option<PathBuf>,
}

impl Act {
    /// Carries it out.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Act::Export { org, file } => write_log(org, file.as_deref()),
            Act::Verify(verify) => verify.run(),
            Act::Recover { org, new_name } => database::recover(org, *new_name),
        }
    }
}

fn write_log(slug: &str, file: Option<&Path>) -> Result<(), Failure> {
    let config = open::config()?;
    let (db, keyring) = open::open(&config)?;
    let org = db.read_now(|conn| orgs::store::by_slug(conn, slug))?;
    let org = org.ok_or_else(|| Failure::Refused(format!("there is no organisation {slug:?}.")))?.id;
    let (host, signers) = (config.host(), Signer::all(&keyring)?);
    let now = Time::now();
    let note = db.write_now(|tx| signing::sign(tx, org, &host, &signers, now))?;
    let size = Note::parse(&note).and_then(|note| note.checkpoint()).map_or(0, |told| told.size);
    match file {
        None => write_lines(&db, org, size, &note, std::io::stdout().lock())?,
        Some(path) => {
            let failed = |error: std::io::Error| {
                Failure::Refused(format!("{} can't be written: {error}.", path.display()))
            };
            let out = File::create(path).map_err(failed)?;
            write_lines(&db, org, size, &note, &out)?;
            out.sync_all().map_err(failed)?;
        }
    }
    eprintln!("{size} entries. Verifier key, to be kept elsewhere:");
    for (verifier, _) in db.read_now(|conn| signing::authentic_verifiers(conn, db.logs(), org))? {
        eprintln!("{verifier}");
    }
    Ok(())
}

fn write_lines(db: &Db, org: OrgId, size: u64, note: &str, out: impl Write) -> Result<(), Failure> {
    let mut out = BufWriter::new(out);
    let failed = |error: std::io::Error| Failure::Refused(format!("the export can't be written: {error}."));
    let mut from = 0;
    while from < size {
        let lines = db.read_now(|conn| export::block(conn, org, size, from))?;
        out.write_all(lines.as_bytes()).map_err(failed)?;
        from += export::BLOCK;
    }
    out.write_all(export::trailer(note)?.as_bytes()).and_then(|()| out.flush()).map_err(failed)
}

impl Verify {
    fn run(&self) -> Result<(), Failure> {
        let outside = self.outside()?;
        match &self.export {
            Some(path) => check_file(path, &outside),
            None => database::check(&outside),
        }
    }

    fn outside(&self) -> Result<Outside, Failure> {
        let key = self.key.as_deref().map(|text| {
            Verifier::parse(text).ok_or_else(|| {
                Failure::Misused(
                    "--key: this is no verifier key. It looks like host/org+1234abcd+AbCd….".into(),
                )
            })
        });
        let key = key.transpose()?;
        let Some(path) = &self.checkpoint else { return Ok(Outside { key, checkpoint: None }) };
        let failed = |why: String| Failure::Misused(format!("--checkpoint {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(format!("{error}.")))?;
        // Mail programs write line ends in their own way.
        let text = text.replace("\r\n", "\n");
        let note = Note::parse(&format!("{}\n", text.trim_end()));
        let note = note.ok_or_else(|| failed("this is no signed note.".into()))?;
        let checkpoint = note.checkpoint().ok_or_else(|| failed("this is no checkpoint.".into()))?;
        match &key {
            Some(key) if !key.has_signed(&note) => {
                Err(failed("it is not signed by the key of --key.".into()))
            }
            _ => Ok(Outside { key, checkpoint: Some(checkpoint) }),
        }
    }
}

fn check_file(path: &Path, outside: &Outside) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::Misused(format!("{} can't be read: {error}.", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let last = last_line(&mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let checked = verify::export(BufReader::new(file), &last, outside).map_err(failed)?;
    let sound = checked.map_err(|fault| broken("", &fault))?;
    let Checkpoint { origin, size, .. } = &sound.checkpoint;
    print(&format!("{origin}: {size} entries, unbroken, {}", proven_of_file(outside, *size)))
}

/// The last line of a file with its line end, if it has one.
fn last_line(file: &mut File) -> std::io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.strip_suffix(b"\n").unwrap_or(&tail);
    let start = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    Ok(String::from_utf8_lossy(&tail[start..]).into_owned())
}

/// What is proven of an exported log.
fn proven_of_file(outside: &Outside, size: u64) -> String {
    match (&outside.key, &outside.checkpoint) {
        (Some(_), None) => "signed as a whole with the key from outside. A key alone does not show whether \
                            this is an older copy: compare it with a checkpoint that was kept elsewhere, by \
                            --checkpoint."
            .to_owned(),
        (_, checkpoint) => by_checkpoint(checkpoint.as_ref(), size),
    }
}

fn by_checkpoint(checkpoint: Option<&Checkpoint>, size: u64) -> String {
    match checkpoint {
        // Nothing but the log itself tells of what came after.
        Some(told) if told.size < size => format!(
            "as the checkpoint from outside vouches for the first {} of them. The others are self-consistent only.",
            told.size
        ),
        Some(_) => "as the checkpoint from outside vouches.".to_owned(),
        None => "self-consistent only: give --key or --checkpoint, kept elsewhere, to compare it with \
                 something that nobody can have written who changed the database."
            .to_owned(),
    }
}

fn broken(place: &str, fault: &Fault) -> Failure {
    Failure::Refused(format!("{place}{}", first_bad(fault)))
}

fn first_bad(fault: &Fault) -> String {
    format!("first bad entry: {} ({})", fault.index, fault.why)
}

//! Checkpoints: signed statements of a log's size and root, as C2SP signed notes
//! (c2sp.org/tlog-checkpoint, c2sp.org/signed-note) with Ed25519.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use crate::audit::tree::Hash;
use crate::crypto::Keyring;
use crate::error::{Error, Result};

/// The algorithm byte of Ed25519 in a verifier key.
const ALGORITHM: u8 = 1;
const DASH: &str = "\u{2014} ";

/// Signs checkpoints. It can't be printed.
#[derive(Clone)]
pub struct Signer(Arc<Ed25519KeyPair>);

impl Signer {
    /// The signers of an installation: for the current root secret, and for the previous one while it is
    /// being replaced, so that anyone with only the old verifier key can still check signatures.
    pub fn all(keyring: &Keyring) -> Result<Vec<Signer>> {
        let seeds = keyring.seeds("keydesk audit checkpoints");
        seeds.iter().map(|seed| Signer::from_seed(seed.as_ref())).collect()
    }

    fn from_seed(seed: &[u8]) -> Result<Signer> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        pair.map(Arc::new).map(Signer).map_err(|error| Error::internal(error.to_string()))
    }

    /// The verifier key of this signer under `name`.
    pub fn verifier(&self, name: &str) -> Verifier {
        let mut public = [0; 32];
        public.copy_from_slice(self.0.public_key().as_ref());
        Verifier { name: name.to_owned(), public }
    }

    fn sign(&self, name: &str, text: &str) -> String {
        let mut signature = self.verifier(name).id().to_vec();
        signature.extend_from_slice(self.0.sign(text.as_bytes()).as_ref());
        format!("{DASH}{name} {}\n", STANDARD.encode(signature))
    }
}

/// The public key of a signer under a name: `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    public: [u8; 32],
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = [&[ALGORITHM], self.public.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

impl Verifier {
    /// Parses a verifier key; `None` if it is malformed or its id doesn't match its key.
    pub fn parse(text: &str) -> Option<Verifier> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = STANDARD.decode(key).ok()?;
        let (ALGORITHM, public) = key.split_first().map(|(kind, public)| (*kind, public))? else {
            return None;
        };
        let verifier = Verifier { name: name.to_owned(), public: public.try_into().ok()? };
        (is_name(name) && id == hex::encode(verifier.id())).then_some(verifier)
    }

    /// The name under which the key signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ALGORITHM])
            .chain_update(self.public)
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Whether the note claims a signature by this key.
    pub fn is_named_in(&self, note: &Note) -> bool {
        note.signatures.iter().any(|own| own.name == self.name && own.id == self.id())
    }

    /// Whether the note has a valid signature by this key.
    pub fn has_signed(&self, note: &Note) -> bool {
        let own = |signature: &&Signature| signature.name == self.name && signature.id == self.id();
        let key = UnparsedPublicKey::new(&ED25519, self.public);
        note.signatures.iter().filter(own).any(|own| key.verify(note.text.as_bytes(), &own.bytes).is_ok())
    }
}

/// The size and root of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's unique name.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The signed note, with a signature by each signer.
    pub fn sign<'a>(&self, signers: impl IntoIterator<Item = &'a Signer>) -> String {
        let text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        let signatures: String = signers.into_iter().map(|signer| signer.sign(&self.origin, &text)).collect();
        format!("{text}\n{signatures}")
    }
}

/// A signed note whose signatures have not been checked.
#[derive(Clone, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Note {
    /// Parses a signed note; `None` if it is malformed.
    pub fn parse(note: &str) -> Option<Note> {
        let (text, signatures) = note.rsplit_once("\n\n")?;
        let signatures = signatures.strip_suffix('\n')?.split('\n').map(Signature::parse);
        let signatures = signatures.collect::<Option<Vec<_>>>()?;
        let odd = |letter: char| letter.is_control() && letter != '\n';
        (!note.chars().any(odd)).then(|| Note { text: format!("{text}\n"), signatures })
    }

    /// The checkpoint in the note, if it contains one.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let mut lines = self.text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let number: u64 = size.parse().ok()?;
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        (!origin.is_empty() && number.to_string() == size).then(|| Checkpoint {
            origin: origin.to_owned(),
            size: number,
            root,
        })
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Signature> {
        let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = STANDARD.decode(bytes).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        is_name(name).then(|| Signature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|letter| letter.is_whitespace() || letter == '+')
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of c2sp.org/signed-note.
    const VERIFIER: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn published_example_is_verified() {
        let verifier = Verifier::parse(VERIFIER).unwrap();
        assert_eq!(verifier.to_string(), VERIFIER);
        let note = Note::parse(NOTE).unwrap();
        assert!(verifier.has_signed(&note));
        assert!(note.checkpoint().is_none());
        let forged = Note::parse(&NOTE.replace("example m", "exemplary m")).unwrap();
        assert!(!verifier.has_signed(&forged));
        for wrong in [NOTE.trim_end(), "", "text\n", "text\n\n", "text\n\n\u{2014} a b\n", "\u{7}\n\n"] {
            assert!(Note::parse(wrong).is_none(), "{wrong:?}");
        }
        for wrong in ["", "a+b+c", &VERIFIER.replace("530d", "530e"), &VERIFIER.replace("/foo", "/fop")] {
            assert!(Verifier::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn checkpoint_is_signed_by_the_new_and_the_previous_key() {
        let (old, new) = (Signer::from_seed(&[1; 32]).unwrap(), Signer::from_seed(&[2; 32]).unwrap());
        let checkpoint =
            Checkpoint { origin: "keys.example.com/acme".into(), size: 20_852_163, root: [9; 32] };
        let note = Note::parse(&checkpoint.sign([&new, &old])).unwrap();
        assert_eq!(note.checkpoint(), Some(checkpoint.clone()));
        for signer in [&old, &new] {
            assert!(signer.verifier("keys.example.com/acme").has_signed(&note));
            assert!(!signer.verifier("keys.example.com/other").has_signed(&note));
        }
        let one = Note::parse(&checkpoint.sign([&old])).unwrap();
        assert!(!new.verifier("keys.example.com/acme").has_signed(&one));
    }
}

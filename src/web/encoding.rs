//! Content encodings (RFC 9110 section 8.4): gzip, deflate, Brotli and Zstandard.
//!
//! Decoding goes step by step into a buffer of fixed size, so that a few bytes that stand for gigabytes take no
//! more memory than others.

use std::io;

use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::zstd::params::DParameter;
use compression_codecs::{BrotliDecoder, DecodeV2, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};

/// The encodings that can be decoded, as the value of `Accept-Encoding`.
pub const ACCEPTED: &str = "gzip, deflate, br, zstd";

/// The most encodings of one body, each applied to the result of the one before.
const MAX_LAYERS: usize = 3;
/// Zstandard needs to look back 8 MiB at most (RFC 9659 section 3).
const ZSTD_WINDOW_LOG: u32 = 23;
/// The size of the buffers between layers.
const BETWEEN: usize = 8 * 1024;

/// An encoding that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// An encoding that is unknown, or one too many.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsupported;

impl Encoding {
    /// The encodings in the values of `Content-Encoding`, in the order in which they were applied.
    pub fn list<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Encoding>, Unsupported> {
        let mut list = Vec::new();
        for value in values {
            let value = std::str::from_utf8(value).map_err(|_| Unsupported)?;
            for name in value.split(',') {
                list.extend(match name.trim().to_ascii_lowercase().as_str() {
                    "" | "identity" => None,
                    "gzip" | "x-gzip" => Some(Encoding::Gzip),
                    "deflate" => Some(Encoding::Deflate),
                    "br" => Some(Encoding::Brotli),
                    "zstd" => Some(Encoding::Zstd),
                    _ => return Err(Unsupported),
                });
            }
        }
        if list.len() > MAX_LAYERS { Err(Unsupported) } else { Ok(list) }
    }

    /// The most bytes that decoding keeps in memory after this many decoded bytes.
    pub fn memory(self, decoded: usize) -> usize {
        const KIB: usize = 1024;
        match self {
            Encoding::Gzip | Encoding::Deflate => 64 * KIB,
            Encoding::Brotli => 128 * KIB + decoded.min(16 * KIB * KIB),
            Encoding::Zstd => 256 * KIB + decoded.min(8 * KIB * KIB),
        }
    }
}

/// Decodes one body.
pub struct Decoder {
    /// The decoder of the encoding that was applied last comes first.
    layers: Vec<Layer>,
}

impl Decoder {
    /// A decoder of these encodings, in the order in which they were applied.
    pub fn new(encodings: &[Encoding]) -> Decoder {
        Decoder { layers: encodings.iter().rev().map(|encoding| Layer::new(*encoding)).collect() }
    }

    /// Decodes into `output` and returns the number of bytes written. Advances `input` past the bytes that were
    /// read. Only 0 means that all input was read and all that it stands for was written.
    pub fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> io::Result<usize> {
        decode(&mut self.layers, input, output)
    }

    /// Errors: the body is incomplete. A body without any byte is complete.
    pub fn finish(&self) -> io::Result<()> {
        let is_complete = self.layers.iter().all(|layer| layer.is_at_end || !layer.has_begun);
        if is_complete { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn decode(layers: &mut [Layer], input: &mut &[u8], output: &mut [u8]) -> io::Result<usize> {
    let Some((last, before)) = layers.split_last_mut() else {
        let length = input.len().min(output.len());
        output[..length].copy_from_slice(&input[..length]);
        *input = &input[length..];
        return Ok(length);
    };
    if before.is_empty() {
        return last.decode(input, output);
    }
    let mut waiting = std::mem::take(&mut last.waiting);
    let mut written = 0;
    while written == 0 {
        let mut rest = &waiting[last.read..];
        written = last.decode(&mut rest, output)?;
        last.read = waiting.len() - rest.len();
        if written == 0 {
            waiting.resize(BETWEEN, 0);
            let length = decode(before, input, &mut waiting)?;
            waiting.truncate(length);
            last.read = 0;
            if length == 0 {
                break;
            }
        }
    }
    last.waiting = waiting;
    Ok(written)
}

/// The decoder of one encoding.
struct Layer {
    encoding: Encoding,
    /// Chosen by the first byte of the body.
    codec: Option<Box<dyn DecodeV2>>,
    has_begun: bool,
    is_at_end: bool,
    /// Whether the last output had no room for all that was decoded.
    was_full: bool,
    /// Bytes from the layer before, and how many of them were read.
    waiting: Vec<u8>,
    read: usize,
}

impl Layer {
    fn new(encoding: Encoding) -> Layer {
        let (waiting, read) = (Vec::new(), 0);
        Layer { encoding, codec: None, has_begun: false, is_at_end: false, was_full: false, waiting, read }
    }

    fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> io::Result<usize> {
        let Some(first) = input.first() else { return self.drain(output) };
        let codec = self.codec.get_or_insert_with(|| codec(self.encoding, *first));
        self.has_begun = true;
        let mut source = PartialBuffer::new(*input);
        let mut target = WriteBuffer::new_initialized(output);
        while !source.unwritten().is_empty() && !target.has_no_spare_space() {
            if self.is_at_end {
                // Only these may consist of several parts (RFC 1952 section 2.2, RFC 8878 section 3).
                if !matches!(self.encoding, Encoding::Gzip | Encoding::Zstd) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes after the end"));
                }
                codec.reinit()?;
            }
            let before = (source.written_len(), target.written_len());
            self.is_at_end = codec.decode(&mut source, &mut target)?;
            if before == (source.written_len(), target.written_len()) && !self.is_at_end {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no progress"));
            }
        }
        self.was_full = target.has_no_spare_space();
        let written = target.written_len();
        *input = &input[source.written_len()..];
        // All input may have been read without any output, or stand for more than fits.
        Ok(written)
    }

    /// Writes what was decoded but did not fit.
    fn drain(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let Some(codec) = self.codec.as_mut().filter(|_| self.was_full && !self.is_at_end) else {
            return Ok(0);
        };
        let mut target = WriteBuffer::new_initialized(output);
        match codec.decode(&mut PartialBuffer::new(&[][..]), &mut target) {
            Ok(is_at_end) => self.is_at_end = is_at_end,
            // These call it an error if there is nothing to write.
            Err(_) if matches!(self.encoding, Encoding::Gzip | Encoding::Deflate) => {}
            Err(error) => return Err(error),
        }
        self.was_full = target.has_no_spare_space();
        Ok(target.written_len())
    }
}

fn codec(encoding: Encoding, first: u8) -> Box<dyn DecodeV2> {
    match encoding {
        Encoding::Gzip => Box::new(GzipDecoder::new()),
        // Some send deflate without the zlib format around it (RFC 9110 section 8.4.1.2), which begins with the
        // method 8 (RFC 1950 section 2.2).
        Encoding::Deflate if first & 0x0f == 8 => Box::new(ZlibDecoder::new()),
        Encoding::Deflate => Box::new(DeflateDecoder::new()),
        Encoding::Brotli => Box::new(BrotliDecoder::new()),
        Encoding::Zstd => {
            Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(ZSTD_WINDOW_LOG)]))
        }
    }
}

#[cfg(test)]
mod tests;

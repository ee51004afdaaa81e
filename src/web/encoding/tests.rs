//! Every encoding, in pieces of any size.

use std::io::Write;

use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::flate::params::FlateEncoderParams;
use compression_codecs::{BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder, ZstdEncoder};

use super::*;

const NAMES: [(&str, &[Encoding]); 6] = [
    ("gzip", &[Encoding::Gzip]),
    ("zlib", &[Encoding::Deflate]),
    ("deflate", &[Encoding::Deflate]),
    ("br", &[Encoding::Brotli]),
    ("zstd", &[Encoding::Zstd]),
    ("gzip, br", &[Encoding::Gzip, Encoding::Brotli]),
];

fn encoder(name: &str) -> Box<dyn EncodeV2> {
    match name {
        "gzip" => Box::new(GzipEncoder::new(FlateEncoderParams::from(Level::Default))),
        "zlib" => Box::new(ZlibEncoder::new(FlateEncoderParams::from(Level::Default))),
        "deflate" => Box::new(DeflateEncoder::new(FlateEncoderParams::from(Level::Default))),
        "br" => Box::new(BrotliEncoder::new(EncoderParams::default())),
        "zstd" => Box::new(ZstdEncoder::new(3)),
        _ => panic!("{name}"),
    }
}

/// Encodes texts, each so that it can be decoded before the next.
fn encode(name: &str, texts: &[&[u8]]) -> Vec<Vec<u8>> {
    if let Some((first, second)) = name.split_once(", ") {
        let once = encode(first, texts);
        return encode(second, &once.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    let mut encoder = encoder(name);
    let mut buffer = vec![0; 1024 * 1024];
    let mut parts = Vec::new();
    for text in texts {
        let mut output = WriteBuffer::new_initialized(&mut buffer);
        encoder.encode(&mut PartialBuffer::new(text), &mut output).expect("encodes");
        assert!(encoder.flush(&mut output).expect("flushes"));
        parts.push(output.written().to_vec());
    }
    let mut output = WriteBuffer::new_initialized(&mut buffer);
    assert!(encoder.finish(&mut output).expect("finishes"));
    parts.push(output.written().to_vec());
    parts
}

fn decode_all(decoder: &mut Decoder, mut input: &[u8], step: usize) -> io::Result<Vec<u8>> {
    let (mut decoded, mut buffer) = (Vec::new(), vec![0; step]);
    loop {
        match decoder.decode(&mut input, &mut buffer)? {
            0 => break,
            length => decoded.write_all(&buffer[..length])?,
        }
    }
    assert!(input.is_empty());
    Ok(decoded)
}

#[test]
fn every_encoding_is_decoded_however_the_bytes_are_cut() {
    let text: Vec<u8> = (0..20_000_u32).flat_map(|number| (number * number).to_le_bytes()).collect();
    for (name, encodings) in NAMES {
        let encoded = encode(name, &[&text]).concat();
        for (cut, step) in [(1, 1), (1, 4096), (7, 5), (1000, 100_000), (usize::MAX, 1), (usize::MAX, 333)] {
            let mut decoder = Decoder::new(encodings);
            let mut decoded = Vec::new();
            for part in encoded.chunks(cut.min(encoded.len())) {
                decoded.extend(decode_all(&mut decoder, part, step).expect("decodes"));
            }
            assert!(decoded == text, "{name} in pieces of {cut}, by steps of {step}");
            decoder.finish().expect("complete");
        }
    }
}

#[test]
fn each_flushed_part_is_decoded_before_the_next_arrives() {
    for (name, encodings) in NAMES {
        let texts: [&[u8]; 3] = [b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"];
        let mut decoder = Decoder::new(encodings);
        for (part, text) in encode(name, &texts).iter().zip(texts) {
            assert_eq!(decode_all(&mut decoder, part, 64).expect("decodes"), text, "{name}");
        }
    }
}

#[test]
fn incomplete_and_broken_bodies_are_noticed() {
    for (name, encodings) in NAMES {
        let encoded = encode(name, &[&[b'x'; 1000]]).concat();
        let mut decoder = Decoder::new(encodings);
        decode_all(&mut decoder, &encoded[..encoded.len() - 1], 64).expect("decodes");
        assert!(decoder.finish().is_err(), "{name}");
        let mut decoder = Decoder::new(encodings);
        let decoded = decode_all(&mut decoder, b"{\"model\": \"m\"}", 64);
        assert!(decoded.is_err() || decoder.finish().is_err(), "{name}");
        assert!(Decoder::new(encodings).finish().is_ok(), "{name}: an empty body is complete");
    }
}

#[test]
fn several_members_and_frames_are_one_body() {
    for (name, encodings) in [NAMES[0], NAMES[4]] {
        let twice = [encode(name, &[b"one"]).concat(), encode(name, &[b"two"]).concat()].concat();
        let mut decoder = Decoder::new(encodings);
        assert_eq!(decode_all(&mut decoder, &twice, 2).expect("decodes"), b"onetwo");
        decoder.finish().expect("complete");
    }
}

#[test]
fn names_are_read_in_every_form() {
    let list = |values: &[&str]| Encoding::list(values.iter().map(|value| value.as_bytes()));
    assert_eq!(list(&[]), Ok(vec![]));
    assert_eq!(list(&["identity", ""]), Ok(vec![]));
    assert_eq!(list(&["X-Gzip , identity", "BR"]), Ok(vec![Encoding::Gzip, Encoding::Brotli]));
    assert_eq!(list(&["compress"]), Err(Unsupported));
    assert_eq!(list(&["gzip, gzip", "gzip, gzip"]), Err(Unsupported));
}

//! Strong hashes: SHA-256, SHA-384, and SHA-512, as in pip's hash-checking mode.

use pkgapp_pypa::{HashAlgorithm, HashDigest};

/// The reason why a text is not an acceptable hash, with a hint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadHash {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// Whether the algorithm is known, but broken or not among pip's strong ones.
    pub(super) weak: bool,
}

/// Reads `sha256:…`.
pub(super) fn parse(text: &str) -> Result<HashDigest, BadHash> {
    match text.split_once(':') {
        Some((algorithm, digest)) => from_parts(algorithm, digest),
        None => Err(BadHash {
            message: format!("`{text}` is not a hash"),
            hint: Some("a hash is written as `sha256:` and 64 hexadecimal digits".to_owned()),
            weak: false,
        }),
    }
}

/// Reads an algorithm's name and its digest in hexadecimal.
pub(super) fn from_parts(algorithm: &str, digest: &str) -> Result<HashDigest, BadHash> {
    let (known, digits) = match algorithm {
        "sha256" => (HashAlgorithm::Sha256, 64),
        "sha384" => (HashAlgorithm::Sha384, 96),
        "sha512" => (HashAlgorithm::Sha512, 128),
        _ => {
            let weak = is_algorithm(algorithm);
            let message = if weak {
                format!("hash algorithm `{algorithm}` is too weak")
            } else {
                format!("unknown hash algorithm `{algorithm}`")
            };
            return Err(BadHash {
                message,
                hint: Some("use sha256, sha384, or sha512".to_owned()),
                weak,
            });
        }
    };
    if digest.len() != digits || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let bad = digest.chars().find(|c| !c.is_ascii_hexdigit());
        let found = match bad {
            Some(c) => format!("{c:?} is not one"),
            None => format!("this one has {}", digest.len()),
        };
        let message = format!("a {algorithm} hash has {digits} hexadecimal digits, and {found}");
        return Err(BadHash {
            message,
            hint: None,
            weak: false,
        });
    }
    Ok(HashDigest {
        algorithm: known,
        digest: digest.to_ascii_lowercase().as_str().into(),
    })
}

/// Returns whether a key of a URL's fragment, or of a lock's table, names a hash algorithm
/// (Python's `hashlib`).
pub(super) fn is_algorithm(name: &str) -> bool {
    const NAMES: [&str; 6] = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];
    NAMES.contains(&name) || name.starts_with("blake2") || name.starts_with("sha3_")
}

/// Returns the hashes that both lists accept; an empty list accepts all (pip's `Hashes.__and__`).
///
/// Returns `None` if the lists have nothing in common.
pub(super) fn both(one: &[HashDigest], other: &[HashDigest]) -> Option<Vec<HashDigest>> {
    if one.is_empty() || other.is_empty() {
        return Some([one, other].concat());
    }
    let common: Vec<_> = one
        .iter()
        .filter(|hash| other.contains(hash))
        .cloned()
        .collect();
    (!common.is_empty()).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strong_and_whole_hashes_are_read() {
        let whole = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            parse(&format!("sha256:{}", whole.to_uppercase()))
                .unwrap()
                .to_string(),
            format!("sha256:{whole}")
        );
        for (bad, message) in [
            ("abc", "`abc` is not a hash"),
            (
                "md5:900150983cd24fb0d6963f7d28e17f72",
                "hash algorithm `md5` is too weak",
            ),
            ("crc:1", "unknown hash algorithm `crc`"),
            (
                "sha256:abc",
                "a sha256 hash has 64 hexadecimal digits, and this one has 3",
            ),
            (
                "sha384:xyz",
                "a sha384 hash has 96 hexadecimal digits, and 'x' is not one",
            ),
        ] {
            assert_eq!(parse(bad).unwrap_err().message, message);
        }
    }
}

//! Tells an author's text from a leak of the build: a path that occurs in a source was written by
//! an author.

use std::path::Path;

use memchr::memmem::{self, Finder};

use super::{Leak, Needle};
use pkgapp_core::cache::Cache;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Result, shown};
use pkgapp_wheels::BuiltFrom;

/// The longest source file that is searched, in bytes. Longer files are data, from which no code is
/// compiled.
const LONGEST_SOURCE: u64 = 256 << 20;

/// Removes the leaks that the source of a wheel explains: unchanged copies of its files, and paths
/// that occur in it.
///
/// # Errors
/// The source cannot be read.
pub(super) fn remove_explained(
    suspects: &mut Vec<Leak>,
    source: &BuiltFrom,
    needles: &[Needle],
    cache: &Cache,
) -> Result<()> {
    let room = cache.temporary()?;
    for file in source.files(room.path())? {
        suspects.retain(|suspect| !suspect.texts.is_empty());
        if suspects.is_empty() {
            break;
        }
        remove_explained_by(suspects, &file, needles)?;
    }
    suspects.retain(|suspect| !suspect.texts.is_empty());
    Ok(())
}

fn remove_explained_by(suspects: &mut [Leak], file: &Path, needles: &[Needle]) -> Result<()> {
    let failed = || format!("cannot read `{}`", shown(file));
    let Ok(metadata) = file.symlink_metadata() else {
        return Ok(());
    };
    if !metadata.is_file() || metadata.len() > LONGEST_SOURCE {
        return Ok(());
    }
    let content = std::fs::read(file).context(failed)?;
    let sum = Sha256Sum::of(&content);
    for suspect in suspects {
        if suspect.sha256 == Some(sum) {
            suspect.texts.clear();
        }
        suspect
            .texts
            .retain(|text| !explains(&content, text, needles));
    }
    Ok(())
}

/// Returns whether a path occurs in a source, in one piece or as two literals that a program joins.
pub(super) fn explains(source: &[u8], text: &[u8], needles: &[Needle]) -> bool {
    let Some(needle) = Needle::of(text, needles) else {
        return false;
    };
    Finder::new(&needle.bytes).find_iter(source).any(|place| {
        let same = text
            .iter()
            .zip(&source[place..])
            .take_while(|(a, b)| a == b)
            .count();
        let (rest, ends) = (
            &text[same..],
            matches!(source.get(place + same), Some(b'"' | b'\'')),
        );
        rest.is_empty() || (ends && memmem::find(source, rest).is_some())
    })
}

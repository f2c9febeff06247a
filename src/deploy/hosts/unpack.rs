//! Directories that come from hosts.

use std::io::{Seek, SeekFrom};
use std::path::Path;

use pkgapp_core::error::{Context, Error, Result, shown};

/// Unpacks the tar stream of a host, which may be hostile: nothing is written outside of
/// `directory`. A whole tree is renamed to `target`, which it replaces.
///
/// # Errors
/// The stream is damaged or leads out of the directory; `target` is then as it was.
pub fn unpack(archive: &mut std::fs::File, directory: &Path, target: &Path) -> Result<()> {
    let failed = || format!("cannot unpack `{}`", shown(target));
    let aside = tempfile::Builder::new()
        .prefix(".pkgapp-")
        .tempdir_in(directory)
        .context(failed)?;
    let whole = aside.path().join("new");
    std::fs::create_dir(&whole).context(failed)?;
    check(archive).context(failed)?;
    let mut archive = tar::Archive::new(archive);
    for member in archive.entries().context(failed)? {
        let mut member = member.context(failed)?;
        let kind = member.header().entry_type();
        let path = member.path().context(failed)?.into_owned();
        // Devices, sockets and pipes are nothing to keep.
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link()) {
            continue;
        }
        // It refuses what would lie outside, or be written through a link that leads there.
        if !member.unpack_in(&whole).context(failed)? {
            return Err(
                Error::new(format!("`{}` leads out of the directory", path.display()))
                    .context(failed()),
            );
        }
    }
    let old = aside.path().join("old");
    if target.symlink_metadata().is_ok() {
        std::fs::rename(target, &old).context(failed)?;
    }
    std::fs::rename(&whole, target).context(failed)
}

/// Most bytes of what stands before a member in place of its header: a long name, a link's target,
/// attributes (pax).
const LONGEST_NAME: u64 = 1 << 20;

/// Refuses names that the reader would take into memory whole, however long they are; then goes
/// back to where it began.
fn check(file: &mut std::fs::File) -> std::io::Result<()> {
    let start = file.stream_position()?;
    let mut archive = tar::Archive::new(&mut *file);
    for member in archive.entries()?.raw(true) {
        let member = member?;
        let kind = member.header().entry_type();
        let is_name = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if is_name && member.size() > LONGEST_NAME {
            return Err(std::io::Error::other(
                "a name in it is longer than any path",
            ));
        }
    }
    file.seek(SeekFrom::Start(start))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn members_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("hosts/web1");
        std::fs::create_dir_all(&below).unwrap();
        let archive = |members: &[(&str, tar::EntryType, &str)]| {
            let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
            for (path, kind, content) in members {
                let mut header = tar::Header::new_gnu();
                // `set_path` refuses what a hostile host would write.
                header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_entry_type(*kind);
                header.set_mode(0o644);
                let link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
                let data = if link { "" } else { *content };
                if link {
                    header.as_old_mut().linkname[..content.len()]
                        .copy_from_slice(content.as_bytes());
                }
                header.set_size(data.len() as u64);
                header.set_cksum();
                builder.append(&header, data.as_bytes()).unwrap();
            }
            let mut file = builder.into_inner().unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file
        };
        use tar::EntryType::{Link, Regular, Symlink};
        let target = below.join("etc");
        let hostile: [&[(&str, tar::EntryType, &str)]; 3] = [
            &[("./a", Regular, "a"), ("../../out", Regular, "x")],
            &[("up", Symlink, "../../.."), ("up/out", Regular, "x")],
            &[("link", Link, "../../../secret")],
        ];
        std::fs::write(directory.path().join("secret"), "s").unwrap();
        for members in hostile {
            unpack(&mut archive(members), &below, &target).unwrap_err();
            assert!(
                !directory.path().join("out").exists()
                    && !directory.path().join("hosts/out").exists()
            );
            assert!(
                std::fs::read_dir(&below).unwrap().next().is_none(),
                "nothing is left behind"
            );
        }
        let mut builder = tar::Builder::new(archive(&[]));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(LONGEST_NAME + 1);
        header.set_cksum();
        builder
            .append(&header, std::io::repeat(b'a').take(LONGEST_NAME + 1))
            .unwrap();
        let mut long = builder.into_inner().unwrap();
        long.seek(SeekFrom::Start(0)).unwrap();
        assert!(
            unpack(&mut long, &below, &target)
                .unwrap_err()
                .to_string()
                .contains("longer than any path")
        );
        for content in ["old", "new"] {
            unpack(
                &mut archive(&[("./a", Regular, content), ("/abs", Symlink, "/etc")]),
                &below,
                &target,
            )
            .unwrap();
            assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 1);
    }
}

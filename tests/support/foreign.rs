//! Reads packages with programs that are not ours, and says what is in them as `pkgapp inspect
//! --files` does.

use std::path::Path;
use std::process::Command;

use super::tools::{python, text, tool};

/// Lines of a dump: kind and mode, owner, size, SHA-256, path, and a link's target.
pub(crate) type Dump = Vec<String>;

/// Reads a tarball with zstd or gzip and Python's tarfile. The paths are the archive's.
pub(crate) fn tarball(file: &Path) -> Option<Dump> {
    let unpack = if file.extension().is_some_and(|extension| extension == "zst") {
        "zstd"
    } else {
        "gzip"
    };
    tool(unpack)?;
    Some(dump(&format!("{unpack} -dc \"$2\""), file))
}

/// Reads a deb with dpkg-deb and Python's tarfile. Configuration is marked as its `conffiles` says.
pub(crate) fn deb(file: &Path) -> Option<Dump> {
    tool("dpkg-deb")?;
    let conffiles = text(
        Command::new("sh")
            .args(["-c", "dpkg-deb -I \"$0\" conffiles || :"])
            .arg(file),
    );
    let lines = dump("dpkg-deb --fsys-tarfile \"$2\"", file)
        .into_iter()
        .map(|line| {
            let config = conffiles
                .lines()
                .find(|path| line.ends_with(&format!(" {path}")));
            config.map_or(line.clone(), |path| {
                line.replace(&format!(" {path}"), &format!(" c {path}"))
            })
        });
    Some(lines.collect())
}

/// Reads an rpm: the header with rpm, and the payload with rpm2cpio and cpio; both must tell the
/// same sums.
pub(crate) fn rpm(file: &Path) -> Option<Dump> {
    for name in ["rpm", "rpm2cpio", "cpio"] {
        tool(name)?;
    }
    let query = "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILESIZES} sha256:%{FILEDIGESTS} \
                 %{FILEFLAGS:fflags}|%{FILENAMES}|%{FILELINKTOS}\n]";
    let header = text(Command::new("rpm").args(["-qp", "--qf", query]).arg(file));
    let unpacked = tempfile::tempdir().unwrap();
    let script = "rpm2cpio \"$0\" | (cd \"$1\" && cpio -idmu --quiet --no-absolute-filenames)";
    text(
        Command::new("sh")
            .args(["-ec", script])
            .arg(file)
            .arg(unpacked.path()),
    );
    let mut lines = Vec::new();
    for line in header.lines() {
        let mut parts = line.split('|');
        let (facts, path, target) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap_or(""),
        );
        let facts: Vec<&str> = facts.split(' ').collect();
        let [mode, owner, size, sum] = facts[..4] else {
            panic!("{line}")
        };
        // rpm's `c` is config, `n` noreplace.
        let mark = if facts.get(4).is_some_and(|flags| flags.contains('c')) {
            assert!(
                facts[4].contains('n'),
                "{path} is %config without noreplace"
            );
            "c "
        } else {
            ""
        };
        let on_disk = unpacked.path().join(path.trim_start_matches('/'));
        let metadata = on_disk
            .symlink_metadata()
            .unwrap_or_else(|error| panic!("{path} is not in the payload: {error}"));
        lines.push(match mode.as_bytes()[0] {
            b'-' => {
                let bytes = std::fs::read(&on_disk).unwrap();
                assert_eq!(
                    sum,
                    format!("sha256:{}", super::wheel::sha256(&bytes)),
                    "payload of {path}"
                );
                assert_eq!(size, bytes.len().to_string(), "size of {path}");
                format!("{mode} {owner} {size} {sum} {mark}{path}")
            }
            b'l' => {
                assert!(metadata.is_symlink(), "{path}");
                format!("{mode} {owner} - - {path} -> {target}")
            }
            _ => format!("{mode} {owner} - - {path}"),
        });
    }
    lines.sort_by(|a, b| path_of(a).cmp(path_of(b)));
    Some(lines)
}

/// The path of a line of a dump, without a link's target.
pub(crate) fn path_of(line: &str) -> &str {
    let path = line.splitn(5, ' ').nth(4).unwrap();
    let path = path.strip_prefix("c ").unwrap_or(path);
    path.split(" -> ").next().unwrap()
}

/// Unpacks a tarball with tar.
pub(crate) fn unpack(file: &Path, directory: &Path) -> Option<()> {
    if file.extension().is_some_and(|extension| extension == "zst") {
        tool("zstd")?;
    }
    std::fs::create_dir_all(directory).unwrap();
    text(
        Command::new("tar")
            .arg("-xf")
            .arg(file)
            .arg("-C")
            .arg(directory),
    );
    Some(())
}

/// Pipes what `command` (of sh; `$2` is the file) prints through Python's tarfile.
fn dump(command: &str, file: &Path) -> Dump {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/dump_tar.py");
    let mut sh = Command::new("sh");
    sh.args(["-ec", &format!("{command} | \"$0\" \"$1\"")])
        .arg(&python().path)
        .arg(script)
        .arg(file);
    text(&mut sh).lines().map(str::to_owned).collect()
}

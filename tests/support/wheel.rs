//! Wheels and sdists as good and as bad as a test needs them.
//!
//! The ZIP writer is ours: a library would refuse to write what hostile archives hold. Format:
//! PKWARE APPNOTE 6.3.10, §4.3.7 (local header), §4.3.12 (central directory), §4.3.16 (end record).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::write::{DeflateEncoder, GzEncoder};
use sha2::{Digest as _, Sha256};

/// A member of a ZIP archive.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    /// Unix mode with the file's type, e.g. `0o100644`; `0o120777` for a symbolic link.
    pub(crate) mode: u32,
    /// The CRC-32 in the headers, if not the true one.
    pub(crate) crc: Option<u32>,
    /// The uncompressed size in the headers, if not the true one.
    pub(crate) size: Option<u32>,
    /// General purpose flags, e.g. 1 for "encrypted".
    pub(crate) flags: u16,
}

impl Member {
    pub(crate) fn new(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            content: content.into(),
            mode: 0o100_644,
            crc: None,
            size: None,
            flags: 0,
        }
    }
}

/// Writes members in this order, whatever they are.
pub(crate) fn zip(members: &[Member]) -> Vec<u8> {
    const UTF8_NAME: u16 = 1 << 11;
    const DATE_1980: u16 = 0x21;
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&member.content).unwrap();
        let data = encoder.finish().unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(&member.content);

        let mut common = Vec::new();
        for field in [20, member.flags | UTF8_NAME, 8, 0, DATE_1980] {
            common.extend(field.to_le_bytes());
        }
        let size = member.size.unwrap_or(member.content.len() as u32);
        for field in [member.crc.unwrap_or(crc.sum()), data.len() as u32, size] {
            common.extend(field.to_le_bytes());
        }
        common.extend((member.name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes());

        let offset = archive.len() as u32;
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(member.name.as_bytes());
        archive.extend(&data);

        directory.extend(b"PK\x01\x02");
        directory.extend((0x0300u16 | 20).to_le_bytes()); // made by Unix: the mode counts
        directory.extend(&common);
        directory.extend([0; 6]); // comment, disk, internal attributes
        directory.extend((member.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(member.name.as_bytes());
    }
    let (start, count) = (archive.len() as u32, members.len() as u16);
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06");
    archive.extend([0; 4]);
    archive.extend(count.to_le_bytes());
    archive.extend(count.to_le_bytes());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0; 2]);
    archive
}

/// A wheel, right in every respect until a test says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Wheel {
    name: String,
    version: String,
    tag: String,
    metadata: String,
    entry_points: String,
    members: Vec<Member>,
    purelib: bool,
    record: Record,
}

/// What RECORD says.
#[derive(Debug, Clone)]
enum Record {
    True,
    Absent,
    /// Each pair's first text is replaced by its second.
    Edited(Vec<(String, String)>),
    Without(String),
}

impl Wheel {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            tag: "py3-none-any".into(),
            metadata: format!(
                "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: The {name}\n"
            ),
            entry_points: String::new(),
            members: Vec::new(),
            purelib: true,
            record: Record::True,
        }
    }

    /// A wheel with a package of one module that can be imported.
    pub(crate) fn simple(name: &str, version: &str) -> Self {
        let module = name.replace('-', "_");
        Self::new(name, version).file(
            &format!("{module}/__init__.py"),
            format!("VERSION = {version:?}\n"),
        )
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.member(Member::new(path, content.as_ref()))
    }

    pub(crate) fn member(mut self, member: Member) -> Self {
        self.members.push(member);
        self
    }

    /// A file of `<name>-<version>.data/`, e.g. `scripts/run`.
    pub(crate) fn data(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = format!("{}.data/{path}", self.stem());
        self.file(&path, content)
    }

    pub(crate) fn console_script(mut self, name: &str, object: &str) -> Self {
        if self.entry_points.is_empty() {
            self.entry_points.push_str("[console_scripts]\n");
        }
        _ = writeln!(self.entry_points, "{name} = {object}");
        self
    }

    /// A line of METADATA, e.g. `Requires-Dist: six`.
    pub(crate) fn header(mut self, line: &str) -> Self {
        _ = writeln!(self.metadata, "{line}");
        self
    }

    pub(crate) fn requires(self, requirement: &str) -> Self {
        self.header(&format!("Requires-Dist: {requirement}"))
    }

    /// Replaces METADATA.
    pub(crate) fn metadata(mut self, text: &str) -> Self {
        self.metadata = text.into();
        self
    }

    /// E.g. `cp311-cp311-linux_x86_64`; the files go to platlib.
    pub(crate) fn tag(mut self, tag: &str) -> Self {
        self.tag = tag.into();
        self.purelib = tag.ends_with("-any");
        self
    }

    pub(crate) fn without_record(mut self) -> Self {
        self.record = Record::Absent;
        self
    }

    pub(crate) fn record_edited(mut self, from: &str, to: &str) -> Self {
        self.record = match self.record {
            Record::Edited(mut pairs) => {
                pairs.push((from.into(), to.into()));
                Record::Edited(pairs)
            }
            _ => Record::Edited(vec![(from.into(), to.into())]),
        };
        self
    }

    /// RECORD does not list this path.
    pub(crate) fn record_without(mut self, path: &str) -> Self {
        self.record = Record::Without(path.into());
        self
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}.whl", self.stem(), self.tag)
    }

    /// The archive's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let info = format!("{}.dist-info", self.stem());
        let mut members = self.members.clone();
        let pure = self.purelib;
        members.push(Member::new(
            &format!("{info}/METADATA"),
            self.metadata.as_bytes(),
        ));
        members.push(Member::new(
            &format!("{info}/WHEEL"),
            format!(
                "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: {pure}\nTag: {}\n",
                self.tag
            ),
        ));
        if !self.entry_points.is_empty() {
            members.push(Member::new(
                &format!("{info}/entry_points.txt"),
                self.entry_points.as_bytes(),
            ));
        }
        if let Some(record) = self.record_text(&members, &info) {
            members.push(Member::new(&format!("{info}/RECORD"), record));
        }
        zip(&members)
    }

    /// Writes it into a directory, which is made; returns the file.
    pub(crate) fn write(&self, directory: &Path) -> PathBuf {
        std::fs::create_dir_all(directory).unwrap();
        let path = directory.join(self.file_name());
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }

    fn stem(&self) -> String {
        format!("{}-{}", self.name.replace('-', "_"), self.version)
    }

    fn record_text(&self, members: &[Member], info: &str) -> Option<String> {
        let mut text = String::new();
        for member in members {
            let left_out = matches!(&self.record, Record::Without(path) if *path == member.name);
            if !left_out && !member.name.ends_with('/') {
                let sum = base64_url(&Sha256::digest(&member.content));
                _ = writeln!(
                    text,
                    "{},sha256={sum},{}",
                    quoted(&member.name),
                    member.content.len()
                );
            }
        }
        _ = writeln!(text, "{info}/RECORD,,");
        match &self.record {
            Record::Absent => None,
            Record::True | Record::Without(_) => Some(text),
            Record::Edited(pairs) => {
                for (from, to) in pairs {
                    assert!(text.contains(from), "`{from}` is not in RECORD:\n{text}");
                    text = text.replace(from, to);
                }
                Some(text)
            }
        }
    }
}

/// A field of RECORD, which is CSV.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Base64 with the URL's alphabet and no padding (RFC 4648 §5), as RECORD has it.
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .chain(&[0, 0])
            .take(3)
            .fold(0usize, |bits, byte| bits << 8 | usize::from(*byte));
        for index in 0..=chunk.len() {
            text.push(char::from(ALPHABET[bits >> (18 - 6 * index) & 63]));
        }
    }
    text
}

/// The SHA-256 of bytes in hexadecimal, as `--hash=sha256:` takes it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// An sdist with fixtures/hello's build backend: it is built with nothing but the standard library.
pub(crate) fn sdist(
    directory: &Path,
    name: &str,
    version: &str,
    files: &[(&str, &str)],
) -> PathBuf {
    let backend = std::fs::read_to_string(super::fixture("hello").join("backend.py")).unwrap();
    let project = format!(
        "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\n\
         name = \"{name}\"\nversion = \"{version}\"\ndescription = \"The {name}\"\n"
    );
    let fixed = [
        ("pyproject.toml", project.as_str()),
        ("backend.py", &backend),
    ];
    sdist_of(directory, name, version, &[&fixed, files].concat())
}

/// An sdist of these files and PKG-INFO.
pub(crate) fn sdist_of(
    directory: &Path,
    name: &str,
    version: &str,
    files: &[(&str, &str)],
) -> PathBuf {
    std::fs::create_dir_all(directory).unwrap();
    let stem = format!("{name}-{version}");
    let path = directory.join(format!("{stem}.tar.gz"));
    let information = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    let mut archive = tar::Builder::new(GzEncoder::new(
        std::fs::File::create(&path).unwrap(),
        flate2::Compression::default(),
    ));
    for (file, content) in [("PKG-INFO", information.as_str())].iter().chain(files) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("{stem}/{file}"), content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
    path
}

#[test]
fn python_reads_what_is_written() {
    // Python's zipfile checks names, sizes and sums of every member.
    let directory = tempfile::tempdir().unwrap();
    let wheel = Wheel::simple("some-thing", "1.0")
        .console_script("x", "some_thing:main")
        .write(directory.path());
    let script =
        "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.testzip(), *z.namelist())";
    let mut command = std::process::Command::new(&super::tools::python().path);
    let text = super::tools::text(command.args(["-c", script]).arg(wheel));
    let info = "some_thing-1.0.dist-info";
    assert_eq!(
        text,
        format!(
            "None some_thing/__init__.py {info}/METADATA {info}/WHEEL {info}/entry_points.txt {info}/RECORD\n"
        )
    );
    assert_eq!(base64_url(b"\xff\xfe\xfd\xfc"), "__79_A");
}

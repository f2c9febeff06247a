//! Reads tarballs, debs, and rpms, from pkgapp or from other tools. Payloads are streamed, not
//! unpacked.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ::rpm::{FileFlags, IndexTag, PackageMetadata};

use super::{compress, header};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};

/// An artifact's metadata; its entries are read on demand.
#[derive(Debug, Clone)]
pub struct PackageReader {
    /// The path of the artifact.
    pub path: PathBuf,
    /// The format.
    pub kind: ArtifactKind,
    /// The name of the package, or that in the top directory of a tarball.
    pub name: String,
    /// The whole version in the notation of the format, `[epoch:]upstream-revision`, or that in the
    /// top directory of a tarball.
    pub version: String,
    /// The format's name of the architecture, or that in the file name of a tarball.
    pub arch: Option<String>,
    /// The summary in one line.
    pub summary: Option<String>,
    /// The relations of `Depends:` or `Requires:`; a tarball has none.
    pub depends: Vec<String>,
    /// The format's name and the text of each scriptlet.
    pub scriptlets: Vec<(String, String)>,
    /// The codec of the payload: `zstd`, `gzip`, `xz`, or `none`.
    pub compression: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// Whether the artifact contains a signature, from any key.
    pub is_signed: bool,
    /// The absolute paths of configuration files.
    config: HashSet<String>,
    /// The offset of the payload.
    payload: u64,
    /// The size of the payload.
    payload_size: u64,
    /// The owners of an rpm's files.
    owners: RpmOwners,
}

/// The user and group of an rpm's files, by path.
type RpmOwners = BTreeMap<String, (String, String)>;

/// The format of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactKind {
    /// A compressed tarball.
    Tar,
    /// A Debian package.
    Deb,
    /// An RPM package.
    Rpm,
}

/// A file, link, or directory in an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactEntry {
    /// The absolute path in a package, or the path in a tarball.
    pub path: String,
    /// The kind of the entry.
    pub kind: ListedKind,
    /// The permission bits.
    pub mode: u32,
    /// The names of the user and the group.
    pub owner: (String, String),
    /// The time of modification, in seconds since 1970.
    pub mtime: u64,
    /// Whether an administrator's changes survive an upgrade.
    pub config: bool,
}

/// The kind of an entry in an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// The size in bytes.
        size: u64,
        /// SHA-256 of the content in the artifact.
        sha256: Sha256Sum,
    },
    /// A symbolic link with its target.
    Symlink(String),
    /// Any other kind, which pkgapp does not write.
    Other,
}

/// The largest control file, scriptlet, or release record in bytes that is read into memory.
const TEXT_LIMIT: u64 = 256 << 20;

/// The longest name in a cpio archive in bytes: sixteen times PATH_MAX of Linux.
const LONGEST_NAME: u64 = 1 << 16;

/// The path of the release record, below the prefix.
const RECORD: &str = "/.pkgapp/release.json";

impl PackageReader {
    /// Reads the metadata of an artifact.
    ///
    /// # Errors
    /// The artifact cannot be read, has another format, or is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = pkgapp_core::fs::open(path)?;
        let mut magic = [0; 8];
        let length = read_up_to(&mut file, &mut magic).context(|| cannot_read(path))?;
        let size = file.metadata().context(|| cannot_read(path))?.len();
        file.rewind().context(|| cannot_read(path))?;
        match &magic[..length] {
            b"!<arch>\n" => open_deb(path, file, size),
            [0xed, 0xab, 0xee, 0xdb, ..] => open_rpm(path, size),
            _ => open_tar(path, file, size),
        }
    }

    /// Reads all entries, in the artifact's order, with the SHA-256 of their content.
    ///
    /// # Errors
    /// The payload is damaged.
    pub fn entries(&self) -> Result<Vec<ArtifactEntry>> {
        let mut entries = Vec::new();
        self.each(|mut entry, content| {
            if let ListedKind::File { sha256, .. } = &mut entry.kind {
                *sha256 = sum(content)?;
            }
            entries.push(entry);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }

    /// Returns the text form of all entries, in the format of
    /// [`pkgapp_release::tree::Tree::dump`].
    ///
    /// # Errors
    /// As for [`PackageReader::entries`].
    pub fn dump(&self) -> Result<String> {
        let mut entries = self.entries()?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut text = String::new();
        for entry in &entries {
            // Writing to a String cannot fail.
            _ = writeln!(text, "{}", entry.line());
        }
        Ok(text)
    }

    /// Reads the release record, `.pkgapp/release.json`; `None` if there is none.
    ///
    /// # Errors
    /// The payload is damaged.
    pub fn release_record(&self) -> Result<Option<Vec<u8>>> {
        self.find(|path| path.ends_with(RECORD))
    }

    /// Reads the content of the first file whose path satisfies the condition.
    ///
    /// # Errors
    /// The payload is damaged, or the file is too large to be a text.
    pub fn find(&self, wanted: impl Fn(&str) -> bool) -> Result<Option<Vec<u8>>> {
        let mut found = None;
        self.each(|entry, content| {
            if !matches!(entry.kind, ListedKind::File { .. }) || !wanted(&entry.path) {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(read_text(content)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Calls `see` with the path of every entry, and with the target of a symbolic link.
    ///
    /// # Errors
    /// The payload is damaged.
    pub fn names(&self, mut see: impl FnMut(&str, Option<&str>)) -> Result<()> {
        self.each(|entry, _| {
            let link = if let ListedKind::Symlink(link) = &entry.kind {
                Some(link.as_str())
            } else {
                None
            };
            see(&entry.path, link);
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Calls `visit` with each entry and its content; the SHA-256 of files is not known yet.
    fn each(
        &self,
        mut visit: impl FnMut(ArtifactEntry, &mut dyn Read) -> io::Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut file = pkgapp_core::fs::open(&self.path)?;
        let damaged = || format!("`{}` is damaged", shown(&self.path));
        file.seek(SeekFrom::Start(self.payload)).context(damaged)?;
        let (_, plain) =
            compress::decoder(BufReader::new(file.take(self.payload_size))).context(damaged)?;
        let mut visit = |mut entry: ArtifactEntry, content: &mut dyn Read| {
            entry.config = self.config.contains(&entry.path);
            if let Some(owner) = self.owners.get(&entry.path) {
                entry.owner = owner.clone();
            }
            visit(entry, content)
        };
        match self.kind {
            ArtifactKind::Rpm => each_cpio(plain, &mut visit),
            ArtifactKind::Deb => each_tar(plain, absolute, &mut visit),
            ArtifactKind::Tar => each_tar(
                plain,
                |name| Some(name.trim_end_matches('/').to_owned()),
                &mut visit,
            ),
        }
        .context(damaged)
    }
}

impl ArtifactEntry {
    /// Returns the line of a dump.
    pub fn line(&self) -> String {
        let (letter, content) = match &self.kind {
            ListedKind::Directory => ('d', "- -".to_owned()),
            ListedKind::File { size, sha256 } => ('-', format!("{size} sha256:{sha256}")),
            ListedKind::Symlink(_) => ('l', "- -".to_owned()),
            ListedKind::Other => ('?', "- -".to_owned()),
        };
        let (user, group) = &self.owner;
        let mark = if self.config { "c " } else { "" };
        let target = if let ListedKind::Symlink(target) = &self.kind {
            format!(" -> {target}")
        } else {
            String::new()
        };
        let mode = pkgapp_release::tree::permissions(self.mode);
        format!(
            "{letter}{mode} {user}:{group} {content} {mark}{}{target}",
            self.path
        )
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read `{}`", shown(path))
}

/// Reads until the buffer is full or the input ends.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn read_text(content: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(TEXT_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TEXT_LIMIT {
        return Err(io::Error::other("a text is larger than 256 MiB"));
    }
    Ok(bytes)
}

fn sum(content: &mut dyn Read) -> io::Result<Sha256Sum> {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(Sha256Sum(hasher.finalize().into())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

// Tar

type Visit<'a> = &'a mut dyn FnMut(ArtifactEntry, &mut dyn Read) -> io::Result<ControlFlow<()>>;

/// Returns the path on a host for a name in data.tar; `None` for the root itself.
fn absolute(name: &str) -> Option<String> {
    let below = name.strip_prefix("./").unwrap_or(name).trim_matches('/');
    (!below.is_empty() && below != ".").then(|| format!("/{below}"))
}

fn each_tar(
    plain: impl Read,
    path: impl Fn(&str) -> Option<String>,
    visit: Visit<'_>,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(plain);
    for member in archive.entries()? {
        let mut member = member?;
        let Some(path) = path(&String::from_utf8_lossy(&member.path_bytes())) else {
            continue;
        };
        let entry = tar_entry(path, &member)?;
        if visit(entry, &mut member)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn tar_entry(path: String, member: &tar::Entry<'_, impl Read>) -> io::Result<ArtifactEntry> {
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let header = member.header();
    let kind = match header.entry_type() {
        tar::EntryType::Directory => ListedKind::Directory,
        tar::EntryType::Regular => ListedKind::File {
            size: member.size(),
            sha256: Sha256Sum([0; 32]),
        },
        tar::EntryType::Symlink => ListedKind::Symlink(text(member.link_name_bytes().as_deref())),
        _ => ListedKind::Other,
    };
    let owner = (
        text(header.username_bytes()),
        text(header.groupname_bytes()),
    );
    Ok(ArtifactEntry {
        path,
        kind,
        mode: header.mode()? & 0o7777,
        owner,
        mtime: header.mtime()?,
        config: false,
    })
}

fn open_tar(path: &Path, file: fs_err::File, size: u64) -> Result<PackageReader> {
    let unknown = || {
        Error::new(format!("`{}` is not a tarball, deb, or rpm", shown(path)))
            .hint("name an artifact of `pkgapp build`, or any other deb or rpm")
    };
    let (codec, plain) =
        compress::decoder(BufReader::new(file)).map_err(|error| unknown().cause(error))?;
    // The error of the tar crate quotes bytes of the file, which do not help.
    let top = top_directory(plain)
        .map_err(|_| unknown())?
        .ok_or_else(unknown)?;
    let (name, version) = top.rsplit_once('-').unwrap_or((&top, ""));
    let file_name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let arch = ["x86_64", "aarch64", "noarch"]
        .into_iter()
        .find(|arch| file_name.contains(&format!(".{arch}.tar")));
    Ok(PackageReader {
        path: path.to_owned(),
        kind: ArtifactKind::Tar,
        name: name.to_owned(),
        version: version.to_owned(),
        arch: arch.map(str::to_owned),
        summary: None,
        depends: Vec::new(),
        scriptlets: Vec::new(),
        compression: codec.to_owned(),
        size,
        is_signed: false,
        config: HashSet::new(),
        payload: 0,
        payload_size: size,
        owners: BTreeMap::new(),
    })
}

/// Returns the top directory of the first member; `None` for an empty archive.
fn top_directory(plain: impl Read) -> io::Result<Option<String>> {
    let mut top = None;
    let mut first = |entry: ArtifactEntry, _: &mut dyn Read| {
        top = Some(entry.path.split('/').next().unwrap_or_default().to_owned());
        Ok(ControlFlow::Break(()))
    };
    each_tar(plain, |name| Some(name.to_owned()), &mut first)?;
    Ok(top)
}

// Debian

/// The metadata of a deb, and the position of its payload.
struct DebMembers {
    /// The files of control.tar, by name.
    control: BTreeMap<String, String>,
    /// The offset of data.tar.
    payload: u64,
    payload_size: u64,
}

impl DebMembers {
    /// Reads up to data.tar; `None` if a part is missing.
    fn read(file: fs_err::File) -> io::Result<Option<Self>> {
        let mut control = None;
        let mut archive = ar::Archive::new(BufReader::new(file));
        // After the magic, each member has a header of 60 bytes and ends at an even offset.
        let mut offset = 8;
        while let Some(member) = archive.next_entry() {
            let member = member?;
            let length = member.header().size();
            let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
            offset += 60;
            if name.starts_with("control.tar") {
                control = Some(read_control(member)?);
            } else if name.starts_with("data.tar") {
                return Ok(control.map(|control| Self {
                    control,
                    payload: offset,
                    payload_size: length,
                }));
            }
            offset += length.next_multiple_of(2);
        }
        Ok(None)
    }

    /// Returns the first line of a field of `control`.
    fn field(&self, name: &str) -> Option<String> {
        control_field(self.control.get("control")?, name)
    }

    fn scriptlets(&self) -> Vec<(String, String)> {
        ["preinst", "postinst", "prerm", "postrm", "triggers"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.control.get(name)?.clone())))
            .collect()
    }

    fn conffiles(&self) -> HashSet<String> {
        let listed = self.control.get("conffiles").map_or("", String::as_str);
        listed.split_terminator('\n').map(str::to_owned).collect()
    }
}

fn open_deb(path: &Path, file: fs_err::File, size: u64) -> Result<PackageReader> {
    let damaged = || format!("`{}` is damaged", shown(path));
    let incomplete =
        || Error::new(damaged()).cause_text("it has no control.tar and data.tar (deb(5))");
    let members = DebMembers::read(file)
        .context(damaged)?
        .ok_or_else(incomplete)?;
    let name = members.field("Package").ok_or_else(incomplete)?;
    let version = members.field("Version").ok_or_else(incomplete)?;
    let depends = members.field("Depends").map_or_else(Vec::new, |text| {
        text.split(',').map(|part| part.trim().to_owned()).collect()
    });
    let is_signed = has_debsig(path)?;

    let mut file = pkgapp_core::fs::open(path)?;
    file.seek(SeekFrom::Start(members.payload))
        .context(damaged)?;
    let (compression, _) = compress::decoder(BufReader::new(file)).context(damaged)?;

    Ok(PackageReader {
        path: path.to_owned(),
        kind: ArtifactKind::Deb,
        name,
        version,
        arch: members.field("Architecture"),
        summary: members.field("Description"),
        depends,
        scriptlets: members.scriptlets(),
        compression: compression.to_owned(),
        size,
        is_signed,
        config: members.conffiles(),
        payload: members.payload,
        payload_size: members.payload_size,
        owners: BTreeMap::new(),
    })
}

/// Reads the names and texts of the files in control.tar.
fn read_control(member: impl Read) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let (_, plain) = compress::decoder(BufReader::new(member))?;
    each_tar(plain, absolute, &mut |entry, content| {
        if matches!(entry.kind, ListedKind::File { .. }) {
            let text = String::from_utf8_lossy(&read_text(content)?).into_owned();
            files.insert(entry.path.trim_start_matches('/').to_owned(), text);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(files)
}

/// Returns the first line of a field.
fn control_field(control: &str, name: &str) -> Option<String> {
    control.lines().find_map(|line| {
        Some(
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .to_owned(),
        )
    })
}

/// Returns whether a deb has a signature, such as the member `_gpgorigin` after the data (deb(5),
/// debsigs(1p)).
fn has_debsig(path: &Path) -> Result<bool> {
    let damaged = || format!("`{}` is damaged", shown(path));
    let mut archive = ar::Archive::new(BufReader::new(pkgapp_core::fs::open(path)?));
    while let Some(member) = archive.next_entry() {
        if member
            .context(damaged)?
            .header()
            .identifier()
            .starts_with(b"_gpg")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

// RPM

/// The tags of signatures of the header, and of header and payload: RPMSIGTAG_DSA, _RSA, _OPENPGP,
/// _PGP, and _GPG.
const SIGNATURES: [u32; 5] = [267, 268, 278, 1002, 1005];

fn open_rpm(path: &Path, size: u64) -> Result<PackageReader> {
    let damaged = || format!("`{}` is damaged", shown(path));
    header::check(BufReader::new(pkgapp_core::fs::open(path)?)).context(damaged)?;
    let metadata = PackageMetadata::open(path).context(damaged)?;
    let (owners, config) = rpm_files(&metadata);
    let compressor = metadata
        .header
        .get_entry_data_as_string(IndexTag::RPMTAG_PAYLOADCOMPRESSOR);
    let mut signatures = SIGNATURES.iter();
    let payload = metadata.get_package_segment_offsets().payload;

    Ok(PackageReader {
        path: path.to_owned(),
        kind: ArtifactKind::Rpm,
        name: metadata.get_name().context(damaged)?.to_owned(),
        version: rpm_version(&metadata).context(damaged)?,
        arch: metadata.get_arch().ok().map(str::to_owned),
        summary: metadata.get_summary().ok().map(str::to_owned),
        depends: requires(&metadata),
        scriptlets: rpm_scriptlets(&metadata),
        compression: compressor.unwrap_or("none").to_owned(),
        size,
        is_signed: signatures.any(|tag| metadata.signature.entry_is_present(*tag)),
        config,
        payload,
        payload_size: size.saturating_sub(payload),
        owners,
    })
}

/// Returns the user and group of each file by its path, and the paths of configuration files.
fn rpm_files(metadata: &PackageMetadata) -> (RpmOwners, HashSet<String>) {
    let files = metadata.get_file_entries().unwrap_or_default();
    let path_of = |file: &::rpm::FileEntry<'_>| file.path().to_string_lossy().into_owned();
    let owner_of = |file: &::rpm::FileEntry<'_>| (file.user().to_owned(), file.group().to_owned());
    let owners = files.iter().map(|file| (path_of(file), owner_of(file)));
    let config = files
        .iter()
        .filter(|file| file.flags().contains(FileFlags::CONFIG));
    (owners.collect(), config.map(path_of).collect())
}

/// Returns the whole version, `[epoch:]version-release`.
fn rpm_version(metadata: &PackageMetadata) -> std::result::Result<String, ::rpm::Error> {
    let (version, release) = (metadata.get_version()?, metadata.get_release()?);
    let epoch = metadata
        .header
        .get_entry_data_as_u32(IndexTag::RPMTAG_EPOCH)
        .ok()
        .filter(|epoch| *epoch != 0);
    let epoch = epoch.map_or_else(String::new, |epoch| format!("{epoch}:"));
    Ok(format!("{epoch}{version}-{release}"))
}

/// Returns the requirements on a host, without rpm's features and the package's configuration.
fn requires(metadata: &PackageMetadata) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    for needed in metadata.get_requires().unwrap_or_default() {
        if needed.name.starts_with("rpmlib(") || needed.name.starts_with("config(") {
            continue;
        }
        let flags = needed.flags.bits();
        let operator: String = [(2, '<'), (4, '>'), (8, '=')]
            .iter()
            .filter(|(bit, _)| flags & bit != 0)
            .map(|(_, sign)| sign)
            .collect();
        let text = [needed.name.as_str(), &operator, &needed.version]
            .join(" ")
            .trim_end()
            .to_owned();
        if !shown.contains(&text) {
            shown.push(text);
        }
    }
    shown
}

fn rpm_scriptlets(metadata: &PackageMetadata) -> Vec<(String, String)> {
    let all = [
        ("%pretrans", metadata.get_pre_trans_script()),
        ("%pre", metadata.get_pre_install_script()),
        ("%post", metadata.get_post_install_script()),
        ("%preun", metadata.get_pre_uninstall_script()),
        ("%postun", metadata.get_post_uninstall_script()),
        ("%posttrans", metadata.get_post_trans_script()),
    ];
    let mut found: Vec<(String, String)> = all
        .into_iter()
        .filter_map(|(name, script)| Some((name.to_owned(), script.ok()?.script)))
        .collect();
    for trigger in metadata.get_trans_file_triggers().unwrap_or_default() {
        let paths: Vec<&str> = trigger
            .conditions
            .iter()
            .map(|condition| condition.name.as_str())
            .collect();
        found.push((
            format!("%transfiletriggerin -- {}", paths.join(" ")),
            trigger.script,
        ));
    }
    found
}

/// Reads a "new ASCII" cpio archive.
fn each_cpio(plain: impl Read, visit: Visit<'_>) -> io::Result<()> {
    let mut plain = BufReader::with_capacity(1 << 16, plain);
    loop {
        let header = CpioHeader::read(&mut plain)?;
        if header.name == "TRAILER!!!" {
            return Ok(());
        }
        let mut content = (&mut plain).take(header.size);
        let kind = header.kind(&mut content)?;
        if let Some(path) = absolute(&header.name) {
            let entry = ArtifactEntry {
                path,
                kind,
                mode: header.mode & 0o7777,
                owner: ("root".to_owned(), "root".to_owned()),
                mtime: header.mtime.into(),
                config: false,
            };
            if visit(entry, &mut content)?.is_break() {
                return Ok(());
            }
        }
        let rest = content.limit();
        skip(&mut plain, rest + padding(header.size))?;
    }
}

/// The header of a member of a cpio archive.
struct CpioHeader {
    name: String,
    mode: u32,
    mtime: u32,
    size: u64,
}

impl CpioHeader {
    /// The length of the numbers before the name.
    const LENGTH: usize = 110;

    /// Returns the kind of the member; reads the target of a symbolic link from its content.
    fn kind(&self, content: &mut impl Read) -> io::Result<ListedKind> {
        Ok(match self.mode & 0o170_000 {
            0o040_000 => ListedKind::Directory,
            0o100_000 => ListedKind::File {
                size: self.size,
                sha256: Sha256Sum([0; 32]),
            },
            0o120_000 => {
                ListedKind::Symlink(String::from_utf8_lossy(&read_text(content)?).into_owned())
            }
            _ => ListedKind::Other,
        })
    }

    fn read(plain: &mut impl BufRead) -> io::Result<Self> {
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut header = [0; Self::LENGTH];
        plain.read_exact(&mut header)?;
        // Only ASCII text can be sliced at any offset.
        let text = std::str::from_utf8(&header)
            .ok()
            .filter(|text| text.is_ascii())
            .ok_or_else(|| damaged("a cpio header is not ASCII"))?;
        if !matches!(&text[..6], "070701" | "070702") {
            // The `07070X` headers of packages with files over 4 GiB have no names.
            return Err(damaged("the payload is not in cpio's newc format"));
        }
        let field = |index: usize| {
            let digits = &text[6 + 8 * index..14 + 8 * index];
            u32::from_str_radix(digits, 16)
                .map_err(|_| damaged("a cpio header has an invalid number"))
        };
        let (mode, mtime, size) = (field(1)?, field(5)?, u64::from(field(6)?));

        let name_size = u64::from(field(11)?);
        if name_size > LONGEST_NAME {
            return Err(damaged("a name in the payload is longer than any path"));
        }
        let mut name = Vec::new();
        plain.by_ref().take(name_size).read_to_end(&mut name)?;
        name.pop();
        skip(plain, padding(Self::LENGTH as u64 + name_size))?;
        Ok(Self {
            name: String::from_utf8_lossy(&name).into_owned(),
            mode,
            mtime,
            size,
        })
    }
}

/// Returns the number of bytes up to the next multiple of four.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(4) - size
}

fn skip(input: &mut impl BufRead, size: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(size), &mut io::sink())?;
    if skipped == size {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

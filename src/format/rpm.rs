//! RPM packages, version 4: lead, signature header, header, compressed cpio payload
//! (<https://rpm-software-management.github.io/rpm/manual/format_v4.html>).
//!
//! The headers come from the `rpm` crate, but not its builder, which keeps the compressed payload in
//! memory, reads every file twice, and computes three checksums of both forms. Instead, the payload
//! is built from segments first, so that its digest is known when the headers are written.
//!
//! In contrast to rpmbuild, pkgapp does not write these tags: COOKIE, OPTFLAGS, PLATFORM (they name
//! the build machine), FILECLASS, CLASSDICT, FILECOLORS, FILEDEPENDS* (only multilib transactions
//! read them), PAYLOADDIGESTALT (a second pass, only for delta rpms), and MD5 sums of the whole.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use ::rpm::{
    Header, HeaderEntry, IndexData, IndexSignatureTag, IndexTag, Lead, PackageMetadata, RpmFormat,
    SignatureHeaderBuilder,
};

use super::version::PackageVersion;
use super::{
    ArchiveKind, MemberHeader, PackageFormat, archive, archive_order, cannot_write, cpio,
    description, one_line,
};
use crate::segment::{Payload, Segments};
use pkgapp_config::Compression;
use pkgapp_core::content::Content;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::name::Arch;
use pkgapp_core::path::InstallPath;
use pkgapp_release::depends::HostDependencies;
use pkgapp_release::package::{FileTrigger, Package, PackageInfo, RpmScriptlets};
use pkgapp_release::tree::{EntryKind, EntryOrigin, Tree, TreeEntry, UpgradeRole};

/// The format `rpm`.
#[derive(Debug, Clone, Copy)]
pub struct RpmPackage;

/// Flags of a dependency (rpm's `rpmsenseFlags`).
mod sense {
    pub(super) const LESS: u32 = 1 << 1;
    pub(super) const GREATER: u32 = 1 << 2;
    pub(super) const EQUAL: u32 = 1 << 3;
    pub(super) const POSTTRANS: u32 = 1 << 5;
    pub(super) const INTERP: u32 = 1 << 8;
    pub(super) const SCRIPT_PRE: u32 = 1 << 9;
    pub(super) const SCRIPT_PREUN: u32 = 1 << 11;
    pub(super) const SCRIPT_POSTUN: u32 = 1 << 12;
    pub(super) const TRIGGERIN: u32 = 1 << 16;
    pub(super) const RPMLIB: u32 = 1 << 24;
}

/// `RPMFILE_CONFIG | RPMFILE_NOREPLACE`: an administrator's changes survive an upgrade.
const CONFIG_NOREPLACE: u32 = 1 | 1 << 4;

/// `RPMFILE_GHOST`: a file that belongs to the package, but is not in its payload.
const GHOST: u32 = 1 << 6;

/// The verified properties of a ghost: all but digest, size, target, and time (`rpmVerifyAttrs`).
const VERIFY_GHOST: u32 = !(1 | 1 << 1 | 1 << 2 | 1 << 5);

/// A file trigger's name in a spec file.
const TRIGGER: &str = "transfiletriggerin";

/// The default priority of file triggers (rpm's `RPMTRIGGER_DEFAULT_PRIORITY`).
const TRIGGER_PRIORITY: u32 = 1_000_000;

/// SHA-256 in rpm's numbering (RFC 4880 §9.4).
const SHA256: u32 = 8;

/// The largest file: sizes in a cpio newc header have 32 bits.
const FILE_LIMIT: u64 = u32::MAX as u64;

/// The build host, as in distributions with reproducible packages.
const BUILD_HOST: &str = "reproducible";

/// The default group of rpmbuild; Fedora's guidelines discourage groups.
const GROUP: &str = "Unspecified";

/// The license of an application whose metadata names none: rpm requires the tag.
const NO_LICENSE: &str = "LicenseRef-Unspecified";

impl PackageFormat for RpmPackage {
    fn file_name(&self, meta: &PackageInfo) -> Result<String> {
        let version = PackageVersion::of(meta)?.without_epoch();
        Ok(format!(
            "{}-{version}.{}.rpm",
            meta.name,
            architecture(meta.arch)
        ))
    }

    fn write(&self, package: &Package, segments: &Segments<'_>, out: &mut dyn Write) -> Result<()> {
        check_sizes(&package.tree)?;
        // Building the header takes about as long as computing the payload's checksum.
        let payload = || {
            let payload = segments.payload(
                ArchiveKind::Cpio,
                members(package),
                package.meta.compression,
            )?;
            let sum = payload.sha256()?;
            Ok::<_, Error>((payload, sum))
        };
        let (entries, payload) = rayon::join(|| header_entries(package), payload);
        let (entries, (payload, sum)) = (entries?, payload?);
        if payload.plain_size() != archive_size(&package.tree) {
            return Err(Error::bug(
                "an rpm's payload has another size than its header says",
            ));
        }
        put(out, &metadata(package, entries, &payload, &sum)?)?;
        payload.write_to(out)
    }

    fn texts(&self, package: &Package) -> Result<Vec<(String, String)>> {
        let version = PackageVersion::of(&package.meta)?;
        let requires = requires(package, &version)?
            .into_iter()
            .map(dependency_line);
        let mut texts = vec![("requires".to_owned(), requires.collect::<String>())];
        let scriptlets = &package.scriptlets.rpm;
        texts
            .extend(scripts(scriptlets).map(|(name, text, ..)| (name.to_owned(), text.to_owned())));
        texts.extend(scriptlets.trigger.iter().map(|trigger| {
            (
                TRIGGER.to_owned(),
                format!("# -- {}\n{}", trigger.paths.join(" "), trigger.script),
            )
        }));
        Ok(texts)
    }
}

/// Returns a dependency as a line of text.
fn dependency_line((name, version, flags): (String, String, u32)) -> String {
    let signs = [
        (sense::LESS, '<'),
        (sense::GREATER, '>'),
        (sense::EQUAL, '='),
    ];
    let comparison: String = signs
        .iter()
        .filter(|(flag, _)| flags & flag != 0)
        .map(|(_, sign)| *sign)
        .collect();
    let line = format!("{name} {comparison} {version}");
    line.trim_end().to_owned() + "\n"
}

/// Returns rpm's name for an architecture.
pub fn architecture(arch: Arch) -> &'static str {
    match arch {
        Arch::Any => "noarch",
        Arch::X86_64 => "x86_64",
        Arch::Aarch64 => "aarch64",
    }
}

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).context(cannot_write)
}

fn check_sizes(tree: &Tree) -> Result<()> {
    let too_large = tree
        .files()
        .filter(|(_, _, content)| content.digest.size > FILE_LIMIT);
    let errors = too_large.map(|(path, _, _)| {
        Error::new(format!("`{path}` is too large for an rpm"))
            .note("files in an rpm are smaller than 4 GiB (cpio newc)")
    });
    Error::all(errors).map_or(Ok(()), Err)
}

// Headers

/// Returns the lead, the signature header, and the header.
fn metadata(
    package: &Package,
    entries: Vec<HeaderEntry>,
    payload: &Payload<'_>,
    sum: &[u8; 32],
) -> Result<Vec<u8>> {
    let cannot = || "cannot write the header of an rpm".to_owned();
    let digest = [
        entry(
            IndexTag::RPMTAG_PAYLOADSHA256,
            IndexData::StringArray(vec![hex::encode(sum)]),
        ),
        entry(
            IndexTag::RPMTAG_PAYLOADSHA256ALGO,
            IndexData::Int32(vec![SHA256]),
        ),
    ];
    let header = Header::<IndexTag>::from_entries(
        entries.into_iter().chain(digest),
        IndexTag::RPMTAG_HEADERIMMUTABLE,
    );
    let version = PackageVersion::of(&package.meta)?;
    let mut metadata = PackageMetadata {
        lead: Lead::new(&format!(
            "{}-{}",
            package.meta.name,
            version.without_epoch()
        )),
        signature: Header::from_entries([], IndexSignatureTag::HEADER_SIGNATURES),
        header,
    };
    let header_bytes = metadata.header_bytes().context(cannot)?;
    metadata.signature = signature_header(&header_bytes, payload).context(cannot)?;
    let mut bytes = Vec::new();
    metadata.write(&mut bytes).context(cannot)?;
    Ok(bytes)
}

/// Returns the signature header, without a signature.
fn signature_header(
    header: &[u8],
    payload: &Payload<'_>,
) -> std::result::Result<Header<IndexSignatureTag>, ::rpm::Error> {
    let mut signature = SignatureHeaderBuilder::new()
        .format(RpmFormat::V4)
        // Space to add a signature later without moving the payload.
        .reserved_space(Some(SignatureHeaderBuilder::DEFAULT_RESERVED_SPACE))
        .calculate_digests(header);
    // Omitted if it needs 64 bits: nothing reads the 64-bit tag.
    let size = header.len() as u64 + payload.size();
    if size <= u64::from(u32::MAX) {
        signature = signature.set_content_length(size);
    }
    with_archive_size(signature.build()?, payload.plain_size())
}

/// Adds the payload's uncompressed size if it needs 64 bits. In the main header, rpm would reject
/// that tag as damage.
fn with_archive_size(
    signature: Header<IndexSignatureTag>,
    size: u64,
) -> std::result::Result<Header<IndexSignatureTag>, ::rpm::Error> {
    if size <= u64::from(u32::MAX) {
        return Ok(signature);
    }
    let region = IndexSignatureTag::HEADER_SIGNATURES;
    let entries = signature
        .get_all_entries()?
        .into_iter()
        .filter(|(tag, _)| *tag != region as u32);
    let entries = entries.map(|(tag, data)| HeaderEntry::new(tag, data));
    let size = HeaderEntry::new(
        IndexSignatureTag::RPMSIGTAG_LONGARCHIVESIZE as u32,
        IndexData::Int64(vec![size]),
    );
    Ok(Header::from_entries(entries.chain([size]), region))
}

fn entry(tag: IndexTag, data: IndexData) -> HeaderEntry {
    HeaderEntry::new(tag as u32, data)
}

fn string(tag: IndexTag, text: impl Into<String>) -> HeaderEntry {
    entry(tag, IndexData::StringTag(text.into()))
}

fn translated(tag: IndexTag, text: impl Into<String>) -> HeaderEntry {
    entry(tag, IndexData::I18NString(vec![text.into()]))
}

/// Returns a size under a tag for 32 bits, or under another one for 64 bits.
fn size_entry(size: u64, short: IndexTag, long: IndexTag) -> HeaderEntry {
    match u32::try_from(size) {
        Ok(size) => entry(short, IndexData::Int32(vec![size])),
        Err(_) => entry(long, IndexData::Int64(vec![size])),
    }
}

/// Returns all entries of the header except for the payload's digest.
fn header_entries(package: &Package) -> Result<Vec<HeaderEntry>> {
    let version = PackageVersion::of(&package.meta)?;
    let mut entries = name_entries(&package.meta, &version)?;
    // Links count with the length of their targets.
    let installed: u64 = package
        .tree
        .iter()
        .map(|(_, entry)| u64::from(cpio::file_size(entry)))
        .sum();
    entries.push(size_entry(
        installed,
        IndexTag::RPMTAG_SIZE,
        IndexTag::RPMTAG_LONGSIZE,
    ));
    // rpm2cpio up to rpm 4.19 requires this tag. A size of 64 bits belongs in the signature header.
    if let Ok(archive) = u32::try_from(archive_size(&package.tree)) {
        entries.push(entry(
            IndexTag::RPMTAG_ARCHIVESIZE,
            IndexData::Int32(vec![archive]),
        ));
    }
    let (compressor, flags) = compressor(package.meta.compression);
    entries.push(string(IndexTag::RPMTAG_PAYLOADFORMAT, "cpio"));
    entries.push(string(IndexTag::RPMTAG_PAYLOADCOMPRESSOR, compressor));
    entries.push(string(IndexTag::RPMTAG_PAYLOADFLAGS, flags));
    entries.extend(scriptlet_entries(&package.scriptlets.rpm));
    entries.extend(all_dependency_entries(package, &version)?);
    entries.push(entry(
        IndexTag::RPMTAG_FILEDIGESTALGO,
        IndexData::Int32(vec![SHA256]),
    ));
    if package.tree.iter().len() > 0 {
        entries.extend(file_entries(package)?);
    }
    Ok(entries)
}

/// Returns the entries that describe the package itself.
fn name_entries(meta: &PackageInfo, version: &PackageVersion) -> Result<Vec<HeaderEntry>> {
    let license = meta
        .license
        .as_deref()
        .map(one_line)
        .filter(|license| !license.is_empty());
    let mut entries = vec![
        entry(
            IndexTag::RPMTAG_HEADERI18NTABLE,
            IndexData::StringArray(vec!["C".to_owned()]),
        ),
        string(IndexTag::RPMTAG_NAME, meta.name.as_str()),
        string(IndexTag::RPMTAG_VERSION, &version.upstream),
        string(IndexTag::RPMTAG_RELEASE, &version.revision),
        translated(IndexTag::RPMTAG_SUMMARY, summary(meta)),
        translated(IndexTag::RPMTAG_DESCRIPTION, description(meta)),
        entry(
            IndexTag::RPMTAG_BUILDTIME,
            IndexData::Int32(vec![mtime(meta)?]),
        ),
        string(IndexTag::RPMTAG_BUILDHOST, BUILD_HOST),
        string(
            IndexTag::RPMTAG_LICENSE,
            license.as_deref().unwrap_or(NO_LICENSE),
        ),
        string(IndexTag::RPMTAG_PACKAGER, one_line(&meta.maintainer)),
        translated(IndexTag::RPMTAG_GROUP, GROUP),
        string(IndexTag::RPMTAG_OS, "linux"),
        string(IndexTag::RPMTAG_ARCH, architecture(meta.arch)),
        // rpm recognizes a binary package by this tag.
        string(
            IndexTag::RPMTAG_SOURCERPM,
            format!("{}-{}.src.rpm", meta.name, version.without_epoch()),
        ),
        string(
            IndexTag::RPMTAG_RPMVERSION,
            concat!("pkgapp ", env!("CARGO_PKG_VERSION")),
        ),
        string(IndexTag::RPMTAG_ENCODING, "utf-8"),
    ];
    entries.extend(changelog(meta, version)?);
    entries.extend(optional_entries(meta, version));
    Ok(entries)
}

/// Returns the entries that only some packages have.
fn optional_entries(meta: &PackageInfo, version: &PackageVersion) -> Vec<HeaderEntry> {
    let mut entries = Vec::new();
    if version.epoch != 0 {
        entries.push(entry(
            IndexTag::RPMTAG_EPOCH,
            IndexData::Int32(vec![version.epoch]),
        ));
    }
    if let Some(homepage) = &meta.homepage {
        entries.push(string(IndexTag::RPMTAG_URL, one_line(homepage)));
    }
    if let Some(commit) = &meta.commit {
        entries.push(string(
            IndexTag::RPMTAG_VCS,
            format!("git#{}", one_line(commit)),
        ));
    }
    entries
}

/// Returns the summary, or the name of a package without one.
fn summary(meta: &PackageInfo) -> String {
    let summary = one_line(&meta.summary);
    if summary.is_empty() {
        meta.name.to_string()
    } else {
        summary.trim_end_matches('.').to_owned()
    }
}

/// Returns the single entry of `rpm -q --changelog`. As with rpmbuild, its time is noon of the day.
fn changelog(meta: &PackageInfo, version: &PackageVersion) -> Result<[HeaderEntry; 3]> {
    const DAY: u32 = 86_400;
    let time = mtime(meta)?;
    let who = format!("{} - {}", one_line(&meta.maintainer), version.full());
    let text = format!("- Version {}.", version.upstream);
    Ok([
        entry(
            IndexTag::RPMTAG_CHANGELOGTIME,
            IndexData::Int32(vec![time - time % DAY + DAY / 2]),
        ),
        entry(
            IndexTag::RPMTAG_CHANGELOGNAME,
            IndexData::StringArray(vec![who]),
        ),
        entry(
            IndexTag::RPMTAG_CHANGELOGTEXT,
            IndexData::StringArray(vec![text]),
        ),
    ])
}

fn mtime(meta: &PackageInfo) -> Result<u32> {
    u32::try_from(meta.timestamp).map_err(|error| {
        Error::new(format!(
            "the time {} is too late for an rpm",
            meta.timestamp
        ))
        .cause(error)
    })
}

fn compressor(compression: Compression) -> (&'static str, String) {
    match compression {
        Compression::Zstd(level) => ("zstd", level.to_string()),
        Compression::Gzip(level) => ("gzip", level.to_string()),
        Compression::Xz(preset) => ("xz", preset.to_string()),
    }
}

/// A scriptlet: its name in a spec file, its text, the tags of its text and its interpreter, and
/// the flag of the dependency on the interpreter.
type Script<'a> = (&'static str, &'a str, IndexTag, IndexTag, u32);

fn scripts(scriptlets: &RpmScriptlets) -> impl Iterator<Item = Script<'_>> {
    let RpmScriptlets {
        pre,
        preun,
        postun,
        posttrans,
        ..
    } = scriptlets;
    [
        (
            "pre",
            pre,
            IndexTag::RPMTAG_PREIN,
            IndexTag::RPMTAG_PREINPROG,
            sense::SCRIPT_PRE,
        ),
        (
            "preun",
            preun,
            IndexTag::RPMTAG_PREUN,
            IndexTag::RPMTAG_PREUNPROG,
            sense::SCRIPT_PREUN,
        ),
        (
            "postun",
            postun,
            IndexTag::RPMTAG_POSTUN,
            IndexTag::RPMTAG_POSTUNPROG,
            sense::SCRIPT_POSTUN,
        ),
        (
            "posttrans",
            posttrans,
            IndexTag::RPMTAG_POSTTRANS,
            IndexTag::RPMTAG_POSTTRANSPROG,
            sense::POSTTRANS,
        ),
    ]
    .into_iter()
    .filter_map(|(name, text, tag, program, flag)| {
        Some((name, text.as_deref()?, tag, program, flag))
    })
}

fn scriptlet_entries(scriptlets: &RpmScriptlets) -> Vec<HeaderEntry> {
    let mut entries: Vec<HeaderEntry> = scripts(scriptlets)
        .flat_map(|(_, text, tag, program, _)| {
            [string(tag, text.trim_end()), string(program, "/bin/sh")]
        })
        .collect();
    if let Some(trigger) = &scriptlets.trigger {
        entries.extend(trigger_entries(trigger));
    }
    entries
}

/// Returns the entries of a trigger: one script, and the path, script index, and flags of each of
/// its paths.
fn trigger_entries(trigger: &FileTrigger) -> [HeaderEntry; 7] {
    let count = trigger.paths.len();
    let texts = |texts: Vec<String>| IndexData::StringArray(texts);
    [
        entry(
            IndexTag::RPMTAG_TRANSFILETRIGGERSCRIPTS,
            texts(vec![trigger.script.trim_end().to_owned()]),
        ),
        entry(
            IndexTag::RPMTAG_TRANSFILETRIGGERSCRIPTPROG,
            texts(vec!["/bin/sh".to_owned()]),
        ),
        entry(
            IndexTag::RPMTAG_TRANSFILETRIGGERNAME,
            texts(trigger.paths.clone()),
        ),
        entry(
            IndexTag::RPMTAG_TRANSFILETRIGGERINDEX,
            IndexData::Int32(vec![0; count]),
        ),
        entry(
            IndexTag::RPMTAG_TRANSFILETRIGGERVERSION,
            texts(vec![String::new(); count]),
        ),
        entry(
            IndexTag::RPMTAG_TRANSFILETRIGGERFLAGS,
            IndexData::Int32(vec![sense::TRIGGERIN; count]),
        ),
        entry(
            IndexTag::RPMTAG_TRANSFILETRIGGERPRIORITIES,
            IndexData::Int32(vec![TRIGGER_PRIORITY]),
        ),
    ]
}

// Dependencies

/// Dependencies as name, version, and flags, sorted and without repetitions.
type Dependencies = std::collections::BTreeSet<(String, String, u32)>;

fn dependency_entries(
    dependencies: &Dependencies,
    [name, flags, version]: [IndexTag; 3],
) -> [HeaderEntry; 3] {
    [
        entry(
            name,
            IndexData::StringArray(
                dependencies
                    .iter()
                    .map(|(name, _, _)| name.clone())
                    .collect(),
            ),
        ),
        entry(
            flags,
            IndexData::Int32(dependencies.iter().map(|(_, _, flags)| *flags).collect()),
        ),
        entry(
            version,
            IndexData::StringArray(
                dependencies
                    .iter()
                    .map(|(_, version, _)| version.clone())
                    .collect(),
            ),
        ),
    ]
}

/// Returns the package's own name and the declared provides. The files of a release provide nothing
/// to other packages.
fn provides(package: &Package, version: &PackageVersion) -> Result<Dependencies> {
    let name = &package.meta.name;
    let evr = version.full();
    let mut provides = Dependencies::from([(name.to_string(), evr.clone(), sense::EQUAL)]);
    let isa = match package.meta.arch {
        Arch::Any => None,
        Arch::X86_64 => Some("x86-64"),
        Arch::Aarch64 => Some("aarch-64"),
    };
    provides.extend(isa.map(|isa| (format!("{name}({isa})"), evr.clone(), sense::EQUAL)));
    provides.extend(all_declared(&package.depends.relations.provides.rpm)?);
    Ok(provides)
}

fn all_declared(list: &[String]) -> Result<Dependencies> {
    list.iter().map(|text| declared(text)).collect()
}

/// Returns the entries of conflicts, obsoletes, and weak dependencies.
fn relation_entries(package: &Package) -> Result<Vec<HeaderEntry>> {
    use IndexTag as Tag;
    let relations = &package.depends.relations;
    let kinds = [
        (
            &relations.conflicts.rpm,
            [
                Tag::RPMTAG_CONFLICTNAME,
                Tag::RPMTAG_CONFLICTFLAGS,
                Tag::RPMTAG_CONFLICTVERSION,
            ],
        ),
        (
            &relations.replaces.rpm,
            [
                Tag::RPMTAG_OBSOLETENAME,
                Tag::RPMTAG_OBSOLETEFLAGS,
                Tag::RPMTAG_OBSOLETEVERSION,
            ],
        ),
        (
            &relations.recommends.rpm,
            [
                Tag::RPMTAG_RECOMMENDNAME,
                Tag::RPMTAG_RECOMMENDFLAGS,
                Tag::RPMTAG_RECOMMENDVERSION,
            ],
        ),
        (
            &relations.suggests.rpm,
            [
                Tag::RPMTAG_SUGGESTNAME,
                Tag::RPMTAG_SUGGESTFLAGS,
                Tag::RPMTAG_SUGGESTVERSION,
            ],
        ),
    ];
    let mut entries = Vec::new();
    for (list, tags) in kinds {
        if !list.is_empty() {
            entries.extend(dependency_entries(&all_declared(list)?, tags));
        }
    }
    Ok(entries)
}

/// Returns the entries of all dependencies and relations.
fn all_dependency_entries(package: &Package, version: &PackageVersion) -> Result<Vec<HeaderEntry>> {
    let mut entries = Vec::new();
    entries.extend(dependency_entries(
        &provides(package, version)?,
        [
            IndexTag::RPMTAG_PROVIDENAME,
            IndexTag::RPMTAG_PROVIDEFLAGS,
            IndexTag::RPMTAG_PROVIDEVERSION,
        ],
    ));
    entries.extend(dependency_entries(
        &requires(package, version)?,
        [
            IndexTag::RPMTAG_REQUIRENAME,
            IndexTag::RPMTAG_REQUIREFLAGS,
            IndexTag::RPMTAG_REQUIREVERSION,
        ],
    ));
    entries.extend(relation_entries(package)?);
    Ok(entries)
}

fn requires(package: &Package, version: &PackageVersion) -> Result<Dependencies> {
    let mut requires = Dependencies::from_iter(host_requirements(&package.depends));
    let programs = package.depends.programs.iter().map(|program| program.rpm());
    let declared = programs
        .chain(package.depends.declared_rpm.iter().map(String::as_str))
        .map(declared);
    let (declared, errors): (Vec<_>, Vec<_>) = declared.partition(Result::is_ok);
    if let Some(error) = Error::all(errors.into_iter().filter_map(Result::err)) {
        return Err(error);
    }
    requires.extend(declared.into_iter().flatten());
    requires.extend(scriptlet_requirements(&package.scriptlets.rpm));

    let features = features(
        package,
        version,
        requires.iter().any(|(name, _, _)| name.starts_with('(')),
    );
    requires.extend(features.into_iter().map(|(feature, since)| {
        (
            format!("rpmlib({feature})"),
            since.to_owned(),
            sense::RPMLIB | sense::LESS | sense::EQUAL,
        )
    }));
    Ok(requires)
}

/// Returns the programs that scriptlets need.
fn scriptlet_requirements(scriptlets: &RpmScriptlets) -> Vec<(String, String, u32)> {
    let shell = |flags| ("/bin/sh".to_owned(), String::new(), flags);
    let scripts = scripts(scriptlets).map(|(_, _, _, _, flag)| shell(flag | sense::INTERP));
    let trigger = scriptlets.trigger.iter().map(|_| shell(sense::INTERP));
    let programs = scriptlets.requires_pre.iter();
    let programs = programs.map(|name| (name.clone(), String::new(), sense::SCRIPT_PRE));
    scripts.chain(trigger).chain(programs).collect()
}

/// Returns the requirements on a host, in the form of rpm's own dependency generators.
fn host_requirements(depends: &HostDependencies) -> Vec<(String, String, u32)> {
    let mut needed = Vec::new();
    if let Some(python) = depends.python {
        needed.push((format!("/usr/bin/python{python}"), String::new(), 0));
        needed.push(("python(abi)".to_owned(), python.to_string(), sense::EQUAL));
        let parts = depends
            .python_parts
            .iter()
            .filter_map(|part| part.rpm(python));
        needed.extend(parts.map(|package| (package, String::new(), 0)));
    }
    if let Some(runtime) = &depends.runtime {
        needed.push((
            runtime.package.clone(),
            runtime.version.clone(),
            sense::GREATER | sense::EQUAL,
        ));
    }
    for library in &depends.libraries {
        let mark = if library.is_64 { "(64bit)" } else { "" };
        let any = std::iter::once("");
        for version in any.chain(library.versions.iter().map(String::as_str)) {
            // A name without a version has parentheses only before a mark: `libc.so.6()(64bit)`,
            // but `libc.so.6`.
            let parentheses = if version.is_empty() && mark.is_empty() {
                String::new()
            } else {
                format!("({version})")
            };
            needed.push((
                format!("{}{parentheses}{mark}", library.soname),
                String::new(),
                0,
            ));
        }
    }
    needed
}

/// Reads a dependency as in a spec file: `libpq`, `libpq >= 13`, or a rich one in parentheses.
fn declared(text: &str) -> Result<(String, String, u32)> {
    let bad = || {
        Error::new(format!("`{text}` under `depends.rpm` is not a dependency"))
            .hint("write `libpq` or `libpq >= 13`")
    };
    if text.starts_with('(') {
        return if text.ends_with(')') {
            Ok((text.to_owned(), String::new(), 0))
        } else {
            Err(bad())
        };
    }
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [name] if !name.contains(['<', '>', '=', ',']) => Ok((name.to_owned(), String::new(), 0)),
        [name, operator, version] => {
            let flags = match operator {
                "<" => sense::LESS,
                "<=" => sense::LESS | sense::EQUAL,
                "=" => sense::EQUAL,
                ">=" => sense::GREATER | sense::EQUAL,
                ">" => sense::GREATER,
                _ => return Err(bad()),
            };
            Ok((name.to_owned(), version.to_owned(), flags))
        }
        _ => Err(bad()),
    }
}

/// Returns the features of rpm that the package needs, each with the first version that has it
/// (rpm's `rpmlib` provides).
fn features(
    package: &Package,
    version: &PackageVersion,
    rich: bool,
) -> Vec<(&'static str, &'static str)> {
    let mut features = vec![
        ("CompressedFileNames", "3.0.4-1"),
        ("FileDigests", "4.6.0-1"),
        ("PayloadFilesHavePrefix", "4.0-1"),
    ];
    match package.meta.compression {
        Compression::Zstd(_) => features.push(("PayloadIsZstd", "5.4.18-1")),
        Compression::Xz(_) => features.push(("PayloadIsXz", "5.2-1")),
        Compression::Gzip(_) => {}
    }
    if version.upstream.contains('~') || version.revision.contains('~') {
        features.push(("TildeInVersions", "4.10.0-1"));
    }
    if rich {
        features.push(("RichDependencies", "4.12.0-1"));
    }
    features
}

// Files

/// An array of the header with one value for each file.
type HeaderArray = (IndexTag, IndexData);

/// A file as the header describes it.
struct HeaderFile<'a> {
    path: &'a InstallPath,
    entry: &'a TreeEntry,
    /// Whether a scriptlet creates the file, which is not in the payload.
    is_ghost: bool,
}

impl HeaderFile<'_> {
    fn digest(&self) -> String {
        match &self.entry.kind {
            EntryKind::File(content) if !self.is_ghost => content.digest.sha256.to_string(),
            EntryKind::File(_) | EntryKind::Directory | EntryKind::Symlink(_) => String::new(),
        }
    }

    fn link_target(&self) -> String {
        match &self.entry.kind {
            EntryKind::Symlink(target) => target.clone(),
            EntryKind::Directory | EntryKind::File(_) => String::new(),
        }
    }

    fn flags(&self) -> u32 {
        match self.entry.role {
            UpgradeRole::Config => CONFIG_NOREPLACE,
            UpgradeRole::Payload if self.is_ghost => GHOST,
            UpgradeRole::Payload => 0,
        }
    }

    /// Returns the properties that `rpm --verify` compares: all, except for a ghost.
    fn verify_flags(&self) -> u32 {
        if self.is_ghost {
            VERIFY_GHOST
        } else {
            u32::MAX
        }
    }

    /// Returns the path of the directory, with a slash at the end.
    fn directory(&self) -> &str {
        let path = self.path.as_str();
        &path[..path.len() - self.path.file_name().len()]
    }
}

/// Returns the files of the tree and the ghosts, sorted by path.
fn header_files<'a>(package: &'a Package, ghost: &'a TreeEntry) -> Vec<HeaderFile<'a>> {
    let ghosts = package.ghosts.iter().map(|path| (path, ghost));
    let mut files: Vec<HeaderFile<'_>> = package
        .tree
        .iter()
        .chain(ghosts)
        .map(|(path, entry)| HeaderFile {
            path,
            entry,
            is_ghost: package.ghosts.binary_search(path).is_ok(),
        })
        .collect();
    files.sort_by_key(|file| file.path);
    files
}

/// Returns the arrays that describe the files, in the order of the tree: rpm finds a file of the
/// payload by its name there.
fn file_entries(package: &Package) -> Result<Vec<HeaderEntry>> {
    let ghost = ghost();
    let files = header_files(package, &ghost);
    let arrays = [
        attribute_arrays(&files, &package.meta)?,
        content_arrays(&files),
        inode_arrays(&files)?,
        path_arrays(&files),
    ];
    Ok(arrays
        .into_iter()
        .flatten()
        .map(|(tag, data)| entry(tag, data))
        .collect())
}

/// Returns the arrays of modes, owners, times, and flags.
fn attribute_arrays(files: &[HeaderFile<'_>], meta: &PackageInfo) -> Result<Vec<HeaderArray>> {
    // No entry has a later time.
    mtime(meta)?;
    let file_time =
        |file: &HeaderFile<'_>| u32::try_from(archive::mtime(meta, file.entry)).unwrap_or(u32::MAX);
    let modes = files.iter().map(|file| cpio::file_mode(file.entry));
    let users = texts(files, |file| file.entry.owner.user.to_string());
    let groups = texts(files, |file| file.entry.owner.group.to_string());
    let verify_flags = numbers(files, HeaderFile::verify_flags);

    Ok(vec![
        (
            IndexTag::RPMTAG_FILEMODES,
            IndexData::Int16(modes.collect()),
        ),
        (IndexTag::RPMTAG_FILEMTIMES, numbers(files, file_time)),
        (
            IndexTag::RPMTAG_FILEFLAGS,
            numbers(files, HeaderFile::flags),
        ),
        (IndexTag::RPMTAG_FILEUSERNAME, users),
        (IndexTag::RPMTAG_FILEGROUPNAME, groups),
        (IndexTag::RPMTAG_FILEVERIFYFLAGS, verify_flags),
    ])
}

/// Returns the arrays of sizes, digests, link targets, and languages.
fn content_arrays(files: &[HeaderFile<'_>]) -> Vec<HeaderArray> {
    let sizes = numbers(files, |file| cpio::file_size(file.entry));
    let targets = texts(files, HeaderFile::link_target);
    vec![
        (IndexTag::RPMTAG_FILESIZES, sizes),
        (
            IndexTag::RPMTAG_FILEDIGESTS,
            texts(files, HeaderFile::digest),
        ),
        (IndexTag::RPMTAG_FILELINKTOS, targets),
        (IndexTag::RPMTAG_FILELANGS, texts(files, |_| String::new())),
    ]
}

/// Returns the arrays of device and inode numbers. Every file has its own inode number, so that rpm
/// takes no two files for hard links.
fn inode_arrays(files: &[HeaderFile<'_>]) -> Result<Vec<HeaderArray>> {
    let count = files.len();
    let last = u32::try_from(count).context(|| "too many files for an rpm")?;
    let inodes = IndexData::Int32((1..=last).collect());
    Ok(vec![
        (IndexTag::RPMTAG_FILERDEVS, IndexData::Int16(vec![0; count])),
        (
            IndexTag::RPMTAG_FILEDEVICES,
            IndexData::Int32(vec![1; count]),
        ),
        (IndexTag::RPMTAG_FILEINODES, inodes),
    ])
}

/// Returns the arrays of which the paths consist: directories, and names with their directory's
/// index.
fn path_arrays(files: &[HeaderFile<'_>]) -> Vec<HeaderArray> {
    let (directories, indexes) = directories(files);
    let names = texts(files, |file| file.path.file_name().to_owned());
    vec![
        (IndexTag::RPMTAG_DIRINDEXES, IndexData::Int32(indexes)),
        (IndexTag::RPMTAG_BASENAMES, names),
        (
            IndexTag::RPMTAG_DIRNAMES,
            IndexData::StringArray(directories),
        ),
    ]
}

fn numbers<'a>(files: &[HeaderFile<'a>], value: impl Fn(&HeaderFile<'a>) -> u32) -> IndexData {
    IndexData::Int32(files.iter().map(value).collect())
}

fn texts<'a>(files: &[HeaderFile<'a>], value: impl Fn(&HeaderFile<'a>) -> String) -> IndexData {
    IndexData::StringArray(files.iter().map(value).collect())
}

/// Returns the entry of a file that a scriptlet creates.
fn ghost() -> TreeEntry {
    let origin = Arc::new(EntryOrigin {
        label: "byte code".into(),
        layer: None,
    });
    TreeEntry::file(Content::memory(Vec::new()), 0o644, &origin)
}

/// Returns the directories, each once with a slash at the end, and the index of each file's.
fn directories(files: &[HeaderFile<'_>]) -> (Vec<String>, Vec<u32>) {
    let directories: Vec<&str> = files.iter().map(HeaderFile::directory).collect();
    // Most files are in the same directory as the file before.
    let groups = || directories.chunk_by(|a, b| a == b);
    let mut names: BTreeMap<&str, u32> = groups().map(|group| (group[0], 0)).collect();
    for (number, index) in (0..).zip(names.values_mut()) {
        *index = number;
    }
    let indexes = groups()
        .flat_map(|group| std::iter::repeat_n(names[group[0]], group.len()))
        .collect();
    (names.into_keys().map(str::to_owned).collect(), indexes)
}

// Payload

/// Returns all members in the tree's order: rpm finds a member in its header by the name.
fn members(package: &Package) -> Vec<MemberHeader<'_>> {
    let member = |(path, entry)| MemberHeader {
        name: format!(".{path}"),
        mtime: archive::mtime(&package.meta, entry),
        place: Some((path, entry)),
        md5: None,
    };
    archive_order(&package.tree.iter().collect::<Vec<_>>())
        .into_iter()
        .map(member)
        .collect()
}

/// Returns the size of the uncompressed payload in bytes.
fn archive_size(tree: &Tree) -> u64 {
    let entries = tree.iter().map(|(path, entry)| {
        cpio::record_size(path.as_str().len() + 1, u64::from(cpio::file_size(entry)))
    });
    entries.sum::<u64>() + cpio::record_size(cpio::TRAILER.len(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_dependencies_are_read_as_a_spec_file_has_them() {
        assert_eq!(
            declared("libpq").unwrap(),
            ("libpq".into(), String::new(), 0)
        );
        assert_eq!(
            declared("libpq >= 13").unwrap(),
            ("libpq".into(), "13".into(), 12)
        );
        assert_eq!(
            declared("(a or b)").unwrap(),
            ("(a or b)".into(), String::new(), 0)
        );
        for bad in [
            "",
            "libpq>=13",
            "libpq >= ",
            "libpq ~ 13",
            "(a or b",
            "a, b",
        ] {
            assert!(declared(bad).is_err(), "{bad:?}");
        }
    }

    /// Like rpmbuild: tags for 32 bits are used as long as the size fits.
    #[test]
    fn sizes_beyond_4_gib_have_tags_of_their_own_and_a_file_of_that_size_is_refused() {
        use pkgapp_core::content::Content;
        use pkgapp_release::tree::EntryOrigin;
        let origin = std::sync::Arc::new(EntryOrigin {
            label: "a layer".into(),
            layer: None,
        });
        let sized = |sizes: &[u64]| {
            let mut tree = Tree::new();
            for (number, size) in sizes.iter().enumerate() {
                let mut content = Content::memory(*b"x");
                content.digest.size = *size;
                let path = InstallPath::parse(&format!("/opt/shop/{number}")).unwrap();
                tree.insert(path, TreeEntry::file(content, 0o644, &origin))
                    .unwrap();
            }
            tree
        };
        let tags = |sizes: &[u64]| {
            let package = crate::judge::package(sized(sizes));
            let of = [
                IndexTag::RPMTAG_SIZE,
                IndexTag::RPMTAG_LONGSIZE,
                IndexTag::RPMTAG_ARCHIVESIZE,
                IndexTag::RPMTAG_LONGARCHIVESIZE,
            ];
            let entries = header_entries(&package).unwrap();
            of.map(|tag| {
                match entries
                    .iter()
                    .find(|entry| entry.tag == tag as u32)
                    .map(|entry| &entry.data)
                {
                    Some(IndexData::Int32(values)) => Some(u64::from(values[0])),
                    Some(IndexData::Int64(values)) => Some(values[0]),
                    _ => None,
                }
            })
        };
        let large = u64::from(u32::MAX);
        // Headers, names, and the trailer: three entries of 124 to 128 bytes.
        let [size, none, archive, none_either] = tags(&[large - 1000]);
        assert_eq!((size, none, none_either), (Some(large - 1000), None, None));
        assert!(archive.is_some_and(|archive| archive > large - 1000));
        // The message of rpm 4.18 for a header with the last one is "invalid signature tag
        // Longarchivesize".
        assert_eq!(tags(&[large, large]), [None, Some(2 * large), None, None]);
        let signature = SignatureHeaderBuilder::new()
            .format(RpmFormat::V4)
            .calculate_digests(b"header")
            .build()
            .unwrap();
        let (before, tag) = (
            signature.get_all_entries().unwrap(),
            IndexSignatureTag::RPMSIGTAG_LONGARCHIVESIZE,
        );
        let signature = with_archive_size(signature, 2 * large).unwrap();
        assert_eq!(signature.get_entry_data_as_u64(tag).unwrap(), 2 * large);
        assert_eq!(signature.get_all_entries().unwrap().len(), before.len() + 1);
        let signature = with_archive_size(signature, large).unwrap();
        assert_eq!(signature.get_all_entries().unwrap().len(), before.len() + 1);
        assert!(check_sizes(&sized(&[large, large])).is_ok());
        let error = check_sizes(&sized(&[large + 1, 1, large + 1]))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error.matches("is too large for an rpm").count(),
            2,
            "{error}"
        );
    }
}

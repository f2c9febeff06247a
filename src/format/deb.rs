//! Debian packages: ar archives of `debian-binary`, `control.tar.gz`, and `data.tar.*` (deb(5)).

use std::io::Write;

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use super::compress::{gzip, padded, without_zstd};
use super::gnutar::{Attributes, GnuTar};
use super::md5sums::Md5Sums;
use super::version::PackageVersion;
use super::{
    ArchiveKind, MemberHeader, PackageFormat, PlacedEntry, archive, archive_order, cannot_write,
    description, one_line, sonames,
};
use crate::segment::Segments;
use pkgapp_config::{Compression, PackageRelations};
use pkgapp_core::content::Bytes;
use pkgapp_core::content::Content;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::name::Arch;
use pkgapp_core::path::InstallPath;
use pkgapp_core::target::PackageFamily;
use pkgapp_core::template::render;
use pkgapp_release::package::{Package, PackageInfo};
use pkgapp_release::tree::{EntryKind, EntryOrigin, FileOwner, Tree, TreeEntry, UpgradeRole};

/// The format `deb`.
#[derive(Debug, Clone, Copy)]
pub struct DebPackage;

/// The largest size of an ar member in bytes (ar(5): ten decimal digits).
const MEMBER_LIMIT: u64 = 9_999_999_999;

/// gzip's level for `control.tar.gz`.
const CONTROL_LEVEL: u32 = 6;

/// The granularity of the size of `control.tar.gz` in bytes: a small edit does not move the data
/// after it.
const CONTROL_STEP: usize = 1024;

/// The width of folded long descriptions; lintian warns about lines beyond 80 columns.
const WIDTH: usize = 78;

impl PackageFormat for DebPackage {
    fn file_name(&self, meta: &PackageInfo) -> Result<String> {
        let version = PackageVersion::of(meta)?.without_epoch();
        Ok(format!(
            "{}_{version}_{}.deb",
            meta.name,
            architecture(meta.arch)
        ))
    }

    fn write(&self, package: &Package, segments: &Segments<'_>, out: &mut dyn Write) -> Result<()> {
        let meta = &package.meta;
        let extra = self.extra_tree(package)?;
        let contents = DebContents::new(&package.tree, &extra);
        let compression = compression(meta);
        let sums = Md5Sums::of(segments.cache(), &contents.entries)?;
        let control = || control_archive(package, &contents, &sums);
        let payload = || {
            segments.payload(
                ArchiveKind::Tar,
                members(meta, &contents, &sums),
                compression,
            )
        };
        let (control, payload) = if sums.are_known() {
            // Both read the tree, and the control archive takes about as long as all segments
            // together.
            let (control, payload) = rayon::join(control, payload);
            (control?, payload?)
        } else {
            let payload = payload()?;
            sums.complete()?;
            (control()?, payload)
        };
        let (name, size) = (data_name(compression), payload.size());
        check_size(name, size)?;
        put(out, b"!<arch>\n")?;
        member(out, meta, "debian-binary", b"2.0\n")?;
        member(out, meta, "control.tar.gz", &control)?;
        put(out, &member_header(meta, name, size))?;
        payload.write_to(out)?;
        if size % 2 == 1 {
            put(out, b"\n")
        } else {
            Ok(())
        }
    }

    fn texts(&self, package: &Package) -> Result<Vec<(String, String)>> {
        let extra = self.extra_tree(package)?;
        let files = control_files(package, &DebContents::new(&package.tree, &extra))?;
        let mut texts: Vec<_> = files
            .into_iter()
            .map(|(name, _, text)| (name.to_owned(), text))
            .collect();
        for (path, entry) in self.extra_entries(&package.meta)? {
            if let EntryKind::File(Content {
                bytes: Bytes::Memory(bytes),
                ..
            }) = &entry.kind
                && let Ok(text) = std::str::from_utf8(bytes)
            {
                texts.push((
                    path.as_str().trim_start_matches('/').to_owned(),
                    text.to_owned(),
                ));
            }
        }
        Ok(texts)
    }

    fn extra_entries(&self, meta: &PackageInfo) -> Result<Vec<(InstallPath, TreeEntry)>> {
        let name = meta.name.as_str();
        let files = [
            // Policy §12.5: every package has a copyright file; lintian error `no-copyright-file`.
            (
                format!("/usr/share/doc/{name}/copyright"),
                copyright(meta)?.into_bytes(),
            ),
            // Policy §12.7; lintian error `no-changelog`.
            (
                format!("/usr/share/doc/{name}/changelog.Debian.gz"),
                changelog(meta)?,
            ),
            // Overrides the tags that a self-contained application cannot avoid, with a reason
            // each.
            (
                format!("/usr/share/lintian/overrides/{name}"),
                overrides(meta)?.into_bytes(),
            ),
        ];
        let label = "what Debian's policy asks of every package".to_owned();
        let origin = std::sync::Arc::new(EntryOrigin { label, layer: None });
        files
            .into_iter()
            .map(|(path, bytes)| {
                Ok((
                    InstallPath::parse(&path)?,
                    TreeEntry::file(Content::memory(bytes), 0o644, &origin),
                ))
            })
            .collect()
    }
}

impl DebPackage {
    /// Returns the files that this format adds to a package's tree, with directories that the tree
    /// may already have.
    fn extra_tree(&self, package: &Package) -> Result<Tree> {
        let mut extra = Tree::new();
        for (path, entry) in self.extra_entries(&package.meta)? {
            // The entries at and above the added paths suffice to find collisions, so the tree is
            // not copied.
            for above in path.parents().chain([path.as_str()]) {
                let above = InstallPath::parse(above)?;
                if let (Some(present), None) = (package.tree.get(&above), extra.get(&above)) {
                    extra.insert(above, present.clone())?;
                }
            }
            extra.insert(path, entry)?;
        }
        Ok(extra)
    }
}

/// The content of a package: its tree, and the files that this format adds.
struct DebContents<'a> {
    /// The entries, in the order of a tree.
    entries: Vec<PlacedEntry<'a>>,
    /// The members, in the order of an archive: the paths of the entries, and the base system's
    /// directories above them.
    lines: Vec<(&'a str, Option<PlacedEntry<'a>>)>,
}

impl<'a> DebContents<'a> {
    fn new(tree: &'a Tree, extra: &'a Tree) -> Self {
        let mut entries: Vec<_> = tree.iter().collect();
        for (path, entry) in extra.iter() {
            if let Err(place) = entries.binary_search_by_key(&path, |(path, _)| path) {
                entries.insert(place, (path, entry));
            }
        }
        let lines = lines(archive_order(&entries));
        Self { entries, lines }
    }

    fn files(&self) -> impl Iterator<Item = (&'a InstallPath, &'a TreeEntry, &'a Content)> {
        self.entries
            .iter()
            .filter_map(|(path, entry)| match &entry.kind {
                EntryKind::File(content) => Some((*path, *entry, content)),
                EntryKind::Directory | EntryKind::Symlink(_) => None,
            })
    }
}

/// Adds the missing directories above each entry.
fn lines(ordered: Vec<PlacedEntry<'_>>) -> Vec<(&str, Option<PlacedEntry<'_>>)> {
    let lies_in = |path: &str, directory: &str| {
        path.strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let mut lines = Vec::with_capacity(ordered.len() + 16);
    // The directories above the last member.
    let mut above: Vec<&str> = Vec::new();
    for (path, entry) in ordered {
        while above
            .pop_if(|directory| !lies_in(path.as_str(), directory))
            .is_some()
        {}
        let known = above.last().map_or(0, |directory| directory.len());
        let missing: Vec<&str> = path
            .parents()
            .take_while(|parent| parent.len() > known)
            .collect();
        lines.extend(missing.iter().rev().map(|parent| (*parent, None)));
        lines.push((path.as_str(), Some((path, entry))));
        above.extend(missing.iter().rev().copied().chain([path.as_str()]));
    }
    lines
}

/// Returns Debian's name for an architecture.
pub fn architecture(arch: Arch) -> &'static str {
    match arch {
        Arch::Any => "all",
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    }
}

/// Returns the compression that all declared targets read.
fn compression(meta: &PackageInfo) -> Compression {
    let too_old = meta
        .targets
        .iter()
        .any(|target| target.family == PackageFamily::Deb && !target.zstd);
    if too_old {
        without_zstd(meta.compression)
    } else {
        meta.compression
    }
}

// data.tar

/// Returns all members: the entries, and the directories of the base system above them. dpkg
/// creates no parent directories, so the archive contains those of the base system, too, as from
/// dpkg-deb.
fn members<'a>(
    meta: &PackageInfo,
    contents: &DebContents<'a>,
    sums: &'a Md5Sums<'a>,
) -> Vec<MemberHeader<'a>> {
    let root = MemberHeader {
        name: ".".to_owned(),
        mtime: archive::directory_mtime(meta),
        place: None,
        md5: None,
    };
    let member = |(path, place): &(&str, Option<PlacedEntry<'a>>)| MemberHeader {
        name: [".", path].concat(),
        mtime: place.map_or_else(
            || archive::directory_mtime(meta),
            |(_, entry)| archive::mtime(meta, entry),
        ),
        place: *place,
        md5: place.and_then(|(path, _)| sums.wanted(path)),
    };
    [root]
        .into_iter()
        .chain(contents.lines.iter().map(member))
        .collect()
}

// control.tar

fn control_archive(
    package: &Package,
    contents: &DebContents<'_>,
    sums: &Md5Sums<'_>,
) -> Result<Vec<u8>> {
    // gzip: hosts that cannot read zstd cannot read control.tar.zst either, and the member is
    // small. It is compressed in every build, and checksums gain nothing from a higher level.
    let mut tar = GnuTar::new(gzip(Vec::new(), CONTROL_LEVEL), package.meta.timestamp);
    let owner = FileOwner::default();
    tar.directory(
        "./",
        &Attributes {
            mode: 0o755,
            owner: &owner,
        },
    )?;
    let mut files = control_files(package, contents)?;
    files.push(("md5sums", 0o644, md5sums(contents, sums)?));
    files.sort_by_key(|(name, _, _)| *name);
    for (name, mode, text) in files {
        let attributes = Attributes {
            mode,
            owner: &owner,
        };
        tar.file(
            &format!("./{name}"),
            text.len() as u64,
            &attributes,
            |out| out.write_all(text.as_bytes()).context(cannot_write),
        )?;
    }
    let member = tar.finish()?.finish().context(cannot_write)?;
    Ok(padded(&member, CONTROL_STEP))
}

/// Returns the name, mode, and text of each file in control.tar except for the checksums.
fn control_files(
    package: &Package,
    contents: &DebContents<'_>,
) -> Result<Vec<(&'static str, u32, String)>> {
    let mut files = vec![("control", 0o644, control(package, contents)?)];
    let conffiles: String = contents
        .files()
        .filter(|(_, entry, _)| entry.role == UpgradeRole::Config)
        .map(|(path, _, _)| format!("{path}\n"))
        .collect();
    if !conffiles.is_empty() {
        files.push(("conffiles", 0o644, conffiles));
    }
    let scriptlets = &package.scriptlets.deb;
    for (name, text) in [
        ("preinst", &scriptlets.preinst),
        ("postinst", &scriptlets.postinst),
        ("prerm", &scriptlets.prerm),
        ("postrm", &scriptlets.postrm),
    ] {
        files.extend(text.iter().map(|text| (name, 0o755, text.clone())));
    }
    if !scriptlets.triggers.is_empty() {
        files.push((
            "triggers",
            0o644,
            scriptlets
                .triggers
                .iter()
                .map(|line| format!("{line}\n"))
                .collect(),
        ));
    }
    files.sort_by_key(|(name, _, _)| *name);
    Ok(files)
}

/// Returns the file for `dpkg --verify`, without configuration files, as from dh_md5sums.
fn md5sums(contents: &DebContents<'_>, sums: &Md5Sums<'_>) -> Result<String> {
    let mut text = String::new();
    for ((path, entry, _), sum) in contents.files().zip(sums.all()) {
        if entry.role == UpgradeRole::Payload {
            HEXLOWER.encode_append(&sum?, &mut text);
            text.extend(["  ", path.as_str().trim_start_matches('/'), "\n"]);
        }
    }
    Ok(text)
}

/// Returns the `control` file (deb-control(5)).
fn control(package: &Package, contents: &DebContents<'_>) -> Result<String> {
    let meta = &package.meta;
    let version = PackageVersion::of(meta)?;
    let depends = sonames::depends(&package.depends)?;
    let mut fields = vec![
        ("Package", meta.name.to_string()),
        ("Version", version.full()),
        ("Architecture", architecture(meta.arch).to_owned()),
        ("Maintainer", one_line(&meta.maintainer)),
        ("Installed-Size", installed_size(contents).to_string()),
        ("Pre-Depends", package.scriptlets.deb.pre_depends.join(", ")),
        ("Depends", one_line(&depends.join(", "))),
    ];
    fields.extend(relation_fields(&package.depends.relations));
    fields.extend([
        ("Section", meta.section.clone()),
        ("Priority", "optional".to_owned()),
        (
            "Homepage",
            one_line(meta.homepage.as_deref().unwrap_or_default()),
        ),
        // Not an official field: the commit from which the package was built.
        (
            "X-Commit",
            one_line(meta.commit.as_deref().unwrap_or_default()),
        ),
    ]);
    fields.retain(|(_, value)| !value.is_empty());
    fields.push((
        "Description",
        format!("{}\n{}", synopsis(meta), folded(&description(meta))),
    ));
    Ok(fields
        .into_iter()
        .map(|(name, value)| format!("{name}: {}\n", value.trim_end()))
        .collect())
}

/// Returns the fields of relations to other packages.
fn relation_fields(relations: &PackageRelations) -> [(&'static str, String); 6] {
    // Policy §7.6: a package that replaces another one conflicts with it, so that the other one is
    // removed. A package that takes over files from earlier versions breaks these, so that they are
    // upgraded.
    let (parts, whole): (Vec<&String>, Vec<&String>) = relations
        .replaces
        .deb
        .iter()
        .partition(|entry| entry.contains('('));
    [
        ("Recommends", relations.recommends.deb.join(", ")),
        ("Suggests", relations.suggests.deb.join(", ")),
        ("Conflicts", listed(&relations.conflicts.deb, &whole)),
        ("Breaks", listed(&[], &parts)),
        ("Replaces", relations.replaces.deb.join(", ")),
        ("Provides", relations.provides.deb.join(", ")),
    ]
}

/// Joins the declared entries and those of `more` that are not among them.
fn listed(declared: &[String], more: &[&String]) -> String {
    let mut all: Vec<&str> = declared.iter().map(String::as_str).collect();
    all.extend(
        more.iter()
            .map(|entry| entry.as_str())
            .filter(|entry| !declared.iter().any(|known| known == entry)),
    );
    all.join(", ")
}

/// Checks that the size of a member fits its header.
fn check_size(name: &str, size: u64) -> Result<()> {
    if size <= MEMBER_LIMIT {
        return Ok(());
    }
    Err(
        Error::new("the package is too large for a deb").note(format!(
            "`{name}` has {size} bytes, but an ar member can have at most {MEMBER_LIMIT} (deb(5))"
        )),
    )
}

/// Returns the name of the member with the payload.
fn data_name(compression: Compression) -> &'static str {
    match compression {
        Compression::Zstd(_) => "data.tar.zst",
        Compression::Gzip(_) => "data.tar.gz",
        Compression::Xz(_) => "data.tar.xz",
    }
}

fn synopsis(meta: &PackageInfo) -> String {
    let summary = one_line(&meta.summary);
    let summary = summary.trim_end_matches('.');
    if summary.is_empty() {
        meta.name.to_string()
    } else {
        summary.to_owned()
    }
}

/// Returns the size in KiB as from dpkg-gencontrol: files and links are rounded up individually, and
/// everything else, including parents, counts 1.
fn installed_size(contents: &DebContents<'_>) -> u64 {
    let size = |entry: &TreeEntry| match &entry.kind {
        EntryKind::Directory => 1,
        EntryKind::File(content) => content.digest.size.div_ceil(1024),
        EntryKind::Symlink(target) => (target.len() as u64).div_ceil(1024),
    };
    // The root directory counts, too.
    1 + contents
        .lines
        .iter()
        .map(|(_, place)| place.map_or(1, |(_, entry)| size(entry)))
        .sum::<u64>()
}

/// Folds a long description (Policy §5.6.13): wraps paragraphs, but not indented lines.
fn folded(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut paragraph: Vec<&str> = Vec::new();
    for line in text.lines() {
        let line = line.trim_end();
        if !line.is_empty() && !line.starts_with([' ', '\t']) {
            paragraph.extend(line.split_whitespace());
            continue;
        }
        lines.extend(wrapped(&paragraph));
        paragraph.clear();
        lines.push(if line.is_empty() {
            " .".to_owned()
        } else {
            format!(" {}", line.replace('\t', "    "))
        });
    }
    lines.extend(wrapped(&paragraph));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn wrapped(words: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            // A line must not begin with a period, so such a word stays on the previous line,
            // however long that becomes.
            Some(line)
                if line.chars().count() + 1 + word.chars().count() <= WIDTH
                    || word.starts_with('.') =>
            {
                *line = format!("{line} {word}");
            }
            // At the beginning of a paragraph, a second space makes the line verbatim, which may
            // begin with a period.
            _ if word.starts_with('.') => lines.push(format!("  {word}")),
            _ => lines.push(format!(" {word}")),
        }
    }
    lines
}

// /usr/share/doc

fn copyright(meta: &PackageInfo) -> Result<String> {
    let license = meta
        .license
        .as_deref()
        .map(one_line)
        .filter(|license| !license.is_empty());
    // The format requires a short name on the line; the rest of the author's text goes below it.
    let short =
        |text: &str| text.len() <= 70 && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    let (name, text) = match &license {
        Some(license) if short(license) => (
            license.as_str(),
            "See the license file that the application comes with.",
        ),
        Some(license) => ("other", license.as_str()),
        None => (
            "unspecified",
            "The application's metadata names no license.",
        ),
    };
    render(
        include_str!("../../packaging/deb/copyright"),
        minijinja::context! {
            name => meta.name.as_str(),
            homepage => meta.homepage.as_deref().map(one_line),
            prefix => meta.prefix.as_str(),
            year => time(meta)?.strftime("%Y").to_string(),
            license => name,
            license_text => text,
        },
    )
}

fn time(meta: &PackageInfo) -> Result<Timestamp> {
    let time = i64::try_from(meta.timestamp)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.ok_or_else(|| Error::new(format!("invalid time {} for the changelog", meta.timestamp)))
}

fn changelog(meta: &PackageInfo) -> Result<Vec<u8>> {
    let version = PackageVersion::of(meta)?;
    let text = render(
        include_str!("../../packaging/deb/changelog"),
        minijinja::context! {
            name => meta.name.as_str(),
            version => version.full(),
            upstream => version.upstream,
            maintainer => one_line(&meta.maintainer),
            date => time(meta)?.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        },
    )?;
    let mut encoder = gzip(Vec::new(), 9);
    encoder.write_all(text.as_bytes()).context(cannot_write)?;
    encoder.finish().context(cannot_write)
}

fn overrides(meta: &PackageInfo) -> Result<String> {
    let template = include_str!("../../packaging/deb/lintian-overrides");
    render(template, minijinja::context! { name => meta.name.as_str() })
}

// ar

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).context(cannot_write)
}

fn member(out: &mut dyn Write, meta: &PackageInfo, name: &str, bytes: &[u8]) -> Result<()> {
    put(out, &member_header(meta, name, bytes.len() as u64))?;
    put(out, bytes)?;
    if bytes.len() % 2 == 1 {
        put(out, b"\n")
    } else {
        Ok(())
    }
}

/// Returns the header of a member; `name` has at most 15 characters, or dpkg does not find it.
fn member_header(meta: &PackageInfo, name: &str, size: u64) -> [u8; 60] {
    debug_assert!(name.len() <= 15);
    let text = format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
        meta.timestamp, 0, 0, "100644"
    );
    let mut header = [b' '; 60];
    header.copy_from_slice(text.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_folded_as_policy_says() {
        let text = "A shop that sells  things.\nOn the same line.\n\n  * one\n\t* two\n.env is read\nand .foo";
        assert_eq!(
            folded(text),
            " A shop that sells things. On the same line.\n .\n   * one\n     * two\n  .env is read and .foo\n"
        );
        let long = "word ".repeat(40);
        assert!(
            folded(&long)
                .lines()
                .all(|line| line.len() <= 80 && line.starts_with(" word"))
        );
    }

    /// The tree of added files equals the result of inserting them, including the errors.
    #[test]
    fn what_debian_asks_for_lies_among_the_rest_and_collides_with_it() {
        let origin = std::sync::Arc::new(EntryOrigin {
            label: "the application".into(),
            layer: None,
        });
        let file = || TreeEntry::file(Content::memory(*b"x"), 0o600, &origin);
        let private = || TreeEntry {
            mode: 0o700,
            ..TreeEntry::directory(&origin)
        };
        let mut judged = 0;
        for inserted in [
            vec![("/opt/shop/bin/shop", file())],
            vec![
                ("/usr/share/doc/shop", private()),
                ("/usr/share/doc/shop/NEWS", file()),
            ],
            vec![
                ("/usr/share/doc/shop-x", file()),
                ("/usr/share/zoneinfo/shop", file()),
            ],
            vec![("/usr/share/doc/shop/copyright", file())],
            vec![("/usr/share/doc/shop/copyright/of", file())],
            vec![("/usr/share/doc/shop", file())],
            vec![("/usr/share/lintian/overrides/shop", private())],
        ] {
            let mut tree = Tree::new();
            for (path, entry) in inserted {
                tree.insert(InstallPath::parse(path).unwrap(), entry)
                    .unwrap();
            }
            let package = crate::judge::package(tree);
            let mut whole = package.tree.clone();
            let extra = DebPackage.extra_entries(&package.meta).unwrap();
            let wanted = extra
                .into_iter()
                .try_for_each(|(path, entry)| whole.insert(path, entry));
            match (DebPackage.extra_tree(&package), wanted) {
                (Ok(extra), Ok(())) => {
                    let contents = DebContents::new(&package.tree, &extra);
                    let line = |(path, entry): (&InstallPath, &TreeEntry)| {
                        pkgapp_release::tree::dump_line(path.as_str(), entry)
                    };
                    let lines: Vec<String> = contents
                        .entries
                        .iter()
                        .map(|(path, entry)| line((path, entry)))
                        .collect();
                    similar_asserts::assert_eq!(lines, whole.iter().map(line).collect::<Vec<_>>());
                    judged += 1;
                }
                (made, wanted) => assert_eq!(
                    made.unwrap_err().to_string(),
                    wanted.unwrap_err().to_string()
                ),
            }
        }
        assert_eq!(judged, 3);
    }

    #[test]
    fn a_member_header_is_60_bytes() {
        let meta = crate::judge::meta();
        let header = member_header(&meta, "data.tar.zst", MEMBER_LIMIT);
        assert_eq!(
            std::str::from_utf8(&header[..16]).unwrap(),
            "data.tar.zst    "
        );
        assert_eq!(&header[48..], b"9999999999`\n");
    }
}

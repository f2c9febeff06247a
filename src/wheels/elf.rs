//! The requirements of a shared object or executable, read as the dynamic linker reads them.
//!
//! They come from the program headers and the dynamic segment, not from the section headers, which
//! stripping tools damage or drop without any effect on the loader. Sources: System V ABI, "Dynamic
//! Linking"; LSB Core, "Symbol Versioning".

pub mod binary;
pub mod edit;

use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::path::Path;

use object::elf;
use object::endian::Endianness;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};

use pkgapp_core::content::Bytes;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::path::ReleasePath;
use serde::{Deserialize, Serialize};

/// The requirements of a shared object or executable (System V ABI, "Dynamic Section"; LSB "Symbol
/// Versioning").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElfFile {
    /// Below the prefix.
    pub path: ReleasePath,
    /// `x86_64`, `aarch64`, or the name of a machine for which pkgapp does not build.
    pub machine: String,
    /// Whether it is a 64-bit file.
    pub is_64: bool,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_RUNPATH` or `DT_RPATH`, split at colons.
    pub runpath: Vec<String>,
    /// Required symbol versions: library and version, e.g. (`libc.so.6`, `GLIBC_2.28`), sorted.
    pub versions: Vec<(String, String)>,
}

/// The first bytes of every ELF file.
const MAGIC: &[u8; 4] = b"\x7fELF";

/// The maximum length of a string: longer than any soname, symbol version, or run path of a working
/// file.
const STRING_LIMIT: u64 = 64 << 10;

/// More entries than this mean a loop in a damaged file.
const CHAIN_LIMIT: usize = 10_000;

/// Reads a file; `None` if the dynamic linker does not load it: not an ELF file, or an object file.
/// A static executable without a dynamic segment requires only its machine. Only the relevant parts
/// are read.
///
/// # Errors
/// Fails if the file cannot be read, or if it is an ELF file with damaged headers; the message
/// names `release_path`.
pub fn read(path: &Path, release_path: &ReleasePath) -> Result<Option<ElfFile>> {
    let file = pkgapp_core::fs::open(path)?;
    let size = file
        .metadata()
        .context(|| format!("cannot read `{}`", shown(path)))?
        .len();
    read_from(file.into_file(), 0, size, release_path)
}

/// Like [`read`], for bytes from any source; `size` is their number.
///
/// # Errors
/// Like [`read`].
pub fn read_bytes(bytes: &Bytes, size: u64, release_path: &ReleasePath) -> Result<Option<ElfFile>> {
    match bytes {
        Bytes::Memory(bytes) => read_from(std::io::Cursor::new(bytes), 0, size, release_path),
        Bytes::Disk { file, start } => read_from(
            pkgapp_core::fs::open(file)?.into_file(),
            *start,
            size,
            release_path,
        ),
    }
}

fn read_from(
    source: impl Read + Seek,
    start: u64,
    size: u64,
    release_path: &ReleasePath,
) -> Result<Option<ElfFile>> {
    let cache = ReadCache::new(source);
    let part = cache.range(start, size);
    // The class is in the first bytes.
    let class = match part.read_bytes_at(0, size.min(5)) {
        Ok([magic @ .., class]) if magic == MAGIC => *class,
        Ok(head) if head.starts_with(MAGIC) => 0,
        Ok(_) => return Ok(None),
        Err(()) => return Err(Error::new(format!("cannot read `{release_path}`"))),
    };
    let damaged =
        |what: &str| Error::new(format!("`{release_path}` is a damaged ELF file")).cause_text(what);
    let read = match class {
        2 => read_class::<elf::FileHeader64<Endianness>, _>(part),
        1 => read_class::<elf::FileHeader32<Endianness>, _>(part),
        _ => return Err(damaged("its class is neither 32-bit nor 64-bit")),
    };
    Ok(read
        .map_err(|error| damaged(&error))?
        .map(|found| found.named(release_path)))
}

/// The content of a file, before it has a path.
struct ElfFacts {
    machine: String,
    is_64: bool,
    soname: Option<String>,
    needed: Vec<String>,
    runpath: Vec<String>,
    versions: BTreeSet<(String, String)>,
}

impl ElfFacts {
    fn named(self, path: &ReleasePath) -> ElfFile {
        let Self {
            machine,
            is_64,
            soname,
            needed,
            runpath,
            versions,
        } = self;
        ElfFile {
            path: path.clone(),
            machine,
            is_64,
            soname,
            needed,
            runpath,
            versions: versions.into_iter().collect(),
        }
    }
}

fn read_class<'a, E: FileHeader<Endian = Endianness>, R: ReadRef<'a>>(
    cache: R,
) -> Result<Option<ElfFacts>, String> {
    let text = |error: object::Error| error.to_string();
    let header = E::parse(cache).map_err(text)?;
    let endian = header.endian().map_err(text)?;
    if !matches!(header.e_type(endian), elf::ET_DYN | elf::ET_EXEC) {
        return Ok(None);
    }
    let mut found = ElfFacts {
        machine: machine(header.e_machine(endian)),
        is_64: header.is_class_64(),
        soname: None,
        needed: Vec::new(),
        runpath: Vec::new(),
        versions: BTreeSet::new(),
    };
    let segments = header.program_headers(endian, cache).map_err(text)?;
    for segment in segments {
        if let Some(entries) = segment.dynamic(endian, cache).map_err(text)? {
            let dynamic = DynamicSegment::<E, R>::new(cache, endian, segments, entries)?;
            dynamic.read(&mut found)?;
        }
    }
    Ok(Some(found))
}

/// Returns the kernel's name for a machine.
fn machine(machine: elf::Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_386 => "i386".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_PPC64 => "ppc64".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        elf::EM_RISCV => "riscv".to_owned(),
        elf::EM_LOONGARCH => "loongarch".to_owned(),
        other => format!("machine {}", other.0),
    }
}

/// The dynamic segment, with the means to resolve its addresses.
struct DynamicSegment<'a, E: FileHeader<Endian = Endianness>, R: ReadRef<'a>> {
    cache: R,
    endian: Endianness,
    segments: &'a [E::ProgramHeader],
    /// Tag and value.
    entries: Vec<(i64, u64)>,
    /// File offset and size of the string table.
    strings: (u64, u64),
}

impl<'a, E: FileHeader<Endian = Endianness>, R: ReadRef<'a>> DynamicSegment<'a, E, R> {
    fn new(
        cache: R,
        endian: Endianness,
        segments: &'a [E::ProgramHeader],
        entries: &[E::Dyn],
    ) -> Result<Self, String> {
        let entries: Vec<(i64, u64)> = entries
            .iter()
            .map(|entry| (entry.d_tag(endian).0, entry.d_val(endian).into()))
            .take_while(|(tag, _)| *tag != elf::DT_NULL.0)
            .collect();
        let mut dynamic = Self {
            cache,
            endian,
            segments,
            entries,
            strings: (0, 0),
        };
        if let (Some(address), Some(size)) =
            (dynamic.value(elf::DT_STRTAB), dynamic.value(elf::DT_STRSZ))
        {
            dynamic.strings = (dynamic.offset(address)?, size);
        }
        Ok(dynamic)
    }

    fn read(&self, found: &mut ElfFacts) -> Result<(), String> {
        for &(tag, value) in &self.entries {
            if tag == elf::DT_NEEDED.0 {
                found.needed.push(self.string(value)?);
            } else if tag == elf::DT_SONAME.0 {
                found.soname = Some(self.string(value)?);
            }
        }
        // The linker ignores DT_RPATH if there is a DT_RUNPATH.
        if let Some(value) = self
            .value(elf::DT_RUNPATH)
            .or_else(|| self.value(elf::DT_RPATH))
        {
            found.runpath = self.string(value)?.split(':').map(str::to_owned).collect();
        }
        if let Some(address) = self.value(elf::DT_VERNEED) {
            self.read_versions(self.offset(address)?, &mut found.versions)?;
        }
        Ok(())
    }

    /// Follows the chain of needed libraries and, for each, the chain of required versions.
    fn read_versions(
        &self,
        start: u64,
        versions: &mut BTreeSet<(String, String)>,
    ) -> Result<(), String> {
        let damaged = || "its symbol versions lie outside the file".to_owned();
        let mut offset = start;
        for _ in 0..CHAIN_LIMIT {
            let library: &elf::Verneed<Endianness> =
                self.cache.read_at(offset).map_err(|()| damaged())?;
            let name = self.string(library.vn_file.get(self.endian).into())?;
            let mut below = offset
                .checked_add(library.vn_aux.get(self.endian).into())
                .ok_or_else(damaged)?;
            for _ in 0..library.vn_cnt.get(self.endian) {
                let version: &elf::Vernaux<Endianness> =
                    self.cache.read_at(below).map_err(|()| damaged())?;
                versions.insert((
                    name.clone(),
                    self.string(version.vna_name.get(self.endian).into())?,
                ));
                below = below
                    .checked_add(version.vna_next.get(self.endian).into())
                    .ok_or_else(damaged)?;
            }
            match library.vn_next.get(self.endian) {
                0 => return Ok(()),
                next => offset = offset.checked_add(next.into()).ok_or_else(damaged)?,
            }
        }
        Err("its symbol versions never end".to_owned())
    }

    fn value(&self, wanted: elf::DynamicTag) -> Option<u64> {
        self.entries
            .iter()
            .find(|(tag, _)| *tag == wanted.0)
            .map(|(_, value)| *value)
    }

    /// Returns the offset in the file of an address in the loaded image.
    fn offset(&self, address: u64) -> Result<u64, String> {
        let inside = self
            .segments
            .iter()
            .filter(|segment| segment.p_type(self.endian) == elf::PT_LOAD);
        inside
            .filter_map(|segment| {
                let begin: u64 = segment.p_vaddr(self.endian).into();
                let size: u64 = segment.p_filesz(self.endian).into();
                let below = address.checked_sub(begin).filter(|below| *below < size)?;
                below.checked_add(segment.p_offset(self.endian).into())
            })
            .next()
            .ok_or_else(|| format!("its address {address:#x} is in no segment of the file"))
    }

    fn string(&self, index: u64) -> Result<String, String> {
        let damaged = || "a name is outside its string table".to_owned();
        let (start, size) = self.strings;
        let end = start.checked_add(size).ok_or_else(damaged)?;
        let begin = start
            .checked_add(index)
            .filter(|begin| *begin < end)
            .ok_or_else(damaged)?;
        let end = end.min(begin.saturating_add(STRING_LIMIT));
        let bytes = self
            .cache
            .read_bytes_at_until(begin..end, 0)
            .map_err(|()| damaged())?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use pkgapp_testing::run;
    use pkgapp_testing::tool;

    fn read(path: &std::path::Path, release_path: &ReleasePath) -> Result<Option<ElfFile>> {
        let size = path.metadata().unwrap().len();
        // As it lies in a layer: behind others.
        let mut pack = vec![0x7f; 3];
        pack.extend(std::fs::read(path).unwrap());
        pack.extend(b"\x7fELF");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pack");
        std::fs::write(&file, pack).unwrap();
        let read = super::read(path, release_path);
        let packed = super::read_bytes(
            &Bytes::Disk {
                file: file.into(),
                start: 3,
            },
            size,
            release_path,
        );
        assert_eq!(
            read.as_ref().map_err(ToString::to_string),
            packed.as_ref().map_err(ToString::to_string)
        );
        packed
    }

    fn release_path() -> ReleasePath {
        ReleasePath::parse("lib/x.so").unwrap()
    }

    fn scratch(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    #[test]
    fn other_files_are_none() {
        for bytes in [&b""[..], b"\x7fEL", b"#!/bin/sh\n", b"PK\x03\x04"] {
            let (_directory, path) = scratch(bytes);
            assert_eq!(read(&path, &release_path()).unwrap(), None);
        }
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let this = std::env::current_exe().unwrap();
        let whole = std::fs::read(this).unwrap();
        for cut in [5, 20, 63, 64, 200, 4096] {
            let (_directory, path) = scratch(&whole[..cut]);
            let error = read(&path, &release_path()).unwrap_err().to_string();
            assert!(
                error.starts_with("error: `lib/x.so` is a damaged ELF file\n  cause: "),
                "{cut}: {error}"
            );
        }
    }

    /// Compares with binutils: `readelf --dynamic` and `--version-info`.
    #[test]
    fn this_test_reads_as_readelf_reads_it() {
        let Some(readelf) = tool("readelf") else {
            return;
        };
        let path = std::env::current_exe().unwrap();
        let found = read(&path, &release_path()).unwrap().unwrap();
        let said = run(Command::new(&readelf)
            .args(["--wide", "--dynamic", "--version-info"])
            .arg(&path));
        let bracketed = |mark: &str| -> Vec<String> {
            let lines = said.lines().filter(|line| line.contains(mark));
            lines
                .map(|line| line.split(['[', ']']).nth(1).unwrap().to_owned())
                .collect()
        };
        assert_eq!(found.needed, bracketed("(NEEDED)"));
        assert!(found.needed.contains(&"libc.so.6".to_owned()));
        let mut versions = BTreeSet::new();
        let mut library = "";
        let needs = said.split("Version needs section").nth(1).unwrap();
        for line in needs.lines() {
            if let Some((_, rest)) = line.split_once("File: ") {
                library = rest.split_whitespace().next().unwrap();
            } else if let Some((_, rest)) = line.split_once("Name: ") {
                versions.insert((
                    library.to_owned(),
                    rest.split_whitespace().next().unwrap().to_owned(),
                ));
            }
        }
        assert!(!versions.is_empty());
        assert_eq!(found.versions, versions.into_iter().collect::<Vec<_>>());
        assert_eq!(
            (found.machine.as_str(), found.is_64),
            (std::env::consts::ARCH, true)
        );
    }

    #[test]
    fn soname_and_run_path_are_those_the_linker_was_given() {
        let Some(gcc) = tool("gcc") else { return };
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("libmade.so");
        std::fs::write(
            directory.path().join("made.c"),
            "int made(void) { return 1; }\n",
        )
        .unwrap();
        run(Command::new(&gcc)
            .current_dir(directory.path())
            .args([
                "-shared",
                "-fPIC",
                "-o",
                "libmade.so",
                "made.c",
                "-Wl,-soname,libmade.so.3",
            ])
            .args([
                "-Wl,--enable-new-dtags",
                "-Wl,-rpath,$ORIGIN/../libs:/opt/x",
            ]));
        let found = read(&library, &release_path()).unwrap().unwrap();
        assert_eq!(found.soname.as_deref(), Some("libmade.so.3"));
        assert_eq!(found.runpath, ["$ORIGIN/../libs", "/opt/x"]);
        // Without section headers, as some tools leave it, the loader and this read the same.
        if tool("strip").is_some()
            && run_quietly(
                Command::new("strip")
                    .args(["--strip-section-headers"])
                    .arg(&library),
            )
        {
            assert_eq!(read(&library, &release_path()).unwrap().unwrap(), found);
        }
        run(Command::new(&gcc)
            .current_dir(directory.path())
            .args(["-c", "made.c", "-o", "made.o"]));
        assert_eq!(
            read(&directory.path().join("made.o"), &release_path()).unwrap(),
            None
        );
    }

    fn run_quietly(command: &mut Command) -> bool {
        command.output().unwrap().status.success()
    }
}

//! Changes the instructions of a shared object for the dynamic linker: the places where it looks
//! for libraries, and their names.
//!
//! A run path that shrinks is overwritten in place, so that nothing of it remains in the file. New
//! names need room: they go to the end of the file together with a copy of the string table, and
//! the segment of notes, which only debuggers read, becomes the segment that loads them. Sources:
//! System V ABI, "Program Header" and "Dynamic Section"; LSB Core, "Symbol Versioning". Only
//! 64-bit, little-endian files are supported, as on all machines for which pkgapp builds.

use std::collections::BTreeMap;
use std::ops::Range;

use object::elf;

/// The changes to a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElfEdit {
    /// The complete run path; empty for none.
    pub run_path: Vec<String>,
    /// The library's own name.
    pub soname: Option<String>,
    /// Needed libraries: old name to new name.
    pub needed: BTreeMap<String, String>,
}

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;
const DYNAMIC_ENTRY: usize = 16;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
/// The segment with the instruction-set properties of the code; without it, the processor's extra
/// checks are off.
const PT_GNU_PROPERTY: u32 = 0x6474_e553;
const PF_R: u32 = 4;

/// Changes a file in memory; returns `Ok(false)` if nothing had to change.
///
/// # Errors
/// Returns the reason: the file is damaged or of another kind, or has no room for the additions.
pub fn apply(file: &mut Vec<u8>, change: &ElfEdit) -> Result<bool, String> {
    let before = file.clone();
    let mut object = ElfObject::read(file)?;
    let mut renames = Vec::new();
    for entry in object.dynamic.clone() {
        let name = match entry.tag {
            tag if tag == elf::DT_NEEDED.0 => change.needed.get(&object.string(entry.value)?),
            tag if tag == elf::DT_SONAME.0 => change.soname.as_ref(),
            _ => None,
        };
        if let Some(name) = name.filter(|name| object.string(entry.value).as_ref() != Ok(*name)) {
            renames.push((entry.value, name.clone()));
        }
    }
    let run_path = change.run_path.join(":");
    let added = object.set_run_path(&run_path)?;
    if !renames.is_empty() || added {
        object.append(&renames, added.then_some(run_path.as_str()))?;
    }
    Ok(*file != before)
}

/// An entry of the dynamic segment.
#[derive(Debug, Clone, Copy)]
struct DynamicEntry {
    tag: i64,
    value: u64,
}

struct ElfObject<'f> {
    file: &'f mut Vec<u8>,
    /// The range of the program headers.
    segments: Range<usize>,
    /// The entries up to the first DT_NULL.
    dynamic: Vec<DynamicEntry>,
    /// The number of entries that fit into the dynamic segment.
    room: usize,
    /// The range of the string table.
    strings: Range<usize>,
}

impl<'f> ElfObject<'f> {
    fn read(file: &'f mut Vec<u8>) -> Result<Self, String> {
        let segments = program_headers(file)?;
        let mut object = Self {
            file,
            segments,
            dynamic: Vec::new(),
            room: 0,
            strings: 0..0,
        };
        object.read_dynamic()?;

        let missing = "it has no string table";
        let table = object.value(elf::DT_STRTAB.0).ok_or(missing)?;
        let size = object.value(elf::DT_STRSZ.0).ok_or(missing)?;
        let start = object.offset(table)?;
        let end = start
            .checked_add(usize::try_from(size).unwrap_or(usize::MAX))
            .filter(|end| *end <= object.file.len());
        object.strings = start..end.ok_or("its string table is outside the file")?;
        Ok(object)
    }

    fn read_dynamic(&mut self) -> Result<(), String> {
        let dynamic = self
            .headers()
            .find(|place| self.u32(*place) == Ok(PT_DYNAMIC))
            .ok_or("it has no dynamic segment")?;
        let (at, size) = (self.usize(dynamic + 8)?, self.usize(dynamic + 32)?);
        self.room = size / DYNAMIC_ENTRY;
        for index in 0..self.room {
            let place = at + index * DYNAMIC_ENTRY;
            let tag = self.u64(place)?.cast_signed();
            if tag == elf::DT_NULL.0 {
                break;
            }
            let value = self.u64(place + 8)?;
            self.dynamic.push(DynamicEntry { tag, value });
        }
        Ok(())
    }

    /// Returns the offset of each program header.
    fn headers(&self) -> impl Iterator<Item = usize> + use<> {
        self.segments.clone().step_by(PROGRAM_HEADER)
    }

    fn value(&self, tag: i64) -> Option<u64> {
        self.dynamic
            .iter()
            .find(|entry| entry.tag == tag)
            .map(|entry| entry.value)
    }

    /// Returns the offset in the file of an address in the loaded image.
    fn offset(&self, address: u64) -> Result<usize, String> {
        for header in self.headers() {
            let (begin, size) = (self.u64(header + 16)?, self.u64(header + 32)?);
            if self.u32(header)? == PT_LOAD && address >= begin && address - begin < size {
                return usize::try_from(address - begin + self.u64(header + 8)?)
                    .map_err(|error| error.to_string());
            }
        }
        Err(format!(
            "its address {address:#x} is in no segment of the file"
        ))
    }

    /// Returns the range of a string in the file, without its NUL.
    fn place(&self, index: u64) -> Result<Range<usize>, String> {
        let start = usize::try_from(index)
            .ok()
            .and_then(|index| self.strings.start.checked_add(index));
        let start = start
            .filter(|start| *start < self.strings.end)
            .ok_or("a name is outside its string table")?;
        let length = self.file[start..self.strings.end]
            .iter()
            .position(|byte| *byte == 0);
        Ok(start..start + length.ok_or("a name is outside its string table")?)
    }

    fn string(&self, index: u64) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.file[self.place(index)?]).into_owned())
    }

    /// Sets DT_RUNPATH or DT_RPATH in place if it exists and has room, and wipes the old one.
    /// Returns whether the run path must be added instead.
    fn set_run_path(&mut self, run_path: &str) -> Result<bool, String> {
        let is_path =
            |entry: &&DynamicEntry| entry.tag == elf::DT_RUNPATH.0 || entry.tag == elf::DT_RPATH.0;
        let old: Vec<DynamicEntry> = self.dynamic.iter().filter(is_path).copied().collect();
        if let [only] = old[..]
            && self.string(only.value).as_deref() == Ok(run_path)
        {
            return Ok(false);
        }

        let mut kept: Option<u64> = None;
        for entry in &old {
            let Some(free) = self.wipe_path(entry.value)? else {
                continue;
            };
            if !run_path.is_empty() && kept.is_none() && run_path.len() < free.len() {
                self.file[free.start..free.start + run_path.len()]
                    .copy_from_slice(run_path.as_bytes());
                kept = Some(entry.value);
            }
        }

        // The following entries move up; DT_NULL ends the list.
        self.dynamic.retain(|entry| !is_path(&entry));
        if let Some(value) = kept {
            self.dynamic.push(DynamicEntry {
                tag: elf::DT_RUNPATH.0,
                value,
            });
        }
        if !old.is_empty() {
            self.write_dynamic()?;
        }
        Ok(!run_path.is_empty() && kept.is_none())
    }

    /// Clears a run path up to its last slash; returns the range that is free now.
    ///
    /// Linkers may store a string as the tail of another one. Symbol names contain no slash, so the
    /// bytes up to the last slash belong only to paths.
    fn wipe_path(&mut self, value: u64) -> Result<Option<Range<usize>>, String> {
        let place = self.place(value)?;
        let slash = self.file[place.clone()]
            .iter()
            .rposition(|byte| *byte == b'/');
        let Some(slash) = slash else {
            return Ok(None);
        };
        let end = place.start + slash;
        self.check_unshared(&(place.start..=end))?;
        self.file[place.start..=end].fill(0);
        Ok(Some(place.start..end + 1))
    }

    /// Checks that no needed library's name is in a part of the string table.
    fn check_unshared(&self, free: &std::ops::RangeInclusive<usize>) -> Result<(), String> {
        for entry in &self.dynamic {
            if entry.tag == elf::DT_NEEDED.0 || entry.tag == elf::DT_SONAME.0 {
                let place = self.place(entry.value)?;
                if place.start <= *free.end() && *free.start() < place.end {
                    return Err("its run path is part of a library's name".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Writes the entries back, in order, and DT_NULL after them.
    fn write_dynamic(&mut self) -> Result<(), String> {
        if self.dynamic.len() >= self.room {
            return Err("its dynamic segment has no room for another entry".to_owned());
        }
        let header = self
            .headers()
            .find(|place| self.u32(*place) == Ok(PT_DYNAMIC))
            .unwrap_or_default();
        let at = self.usize(header + 8)?;
        for index in 0..self.room {
            let place = at + index * DYNAMIC_ENTRY;
            let (tag, value) = self
                .dynamic
                .get(index)
                .map_or((elf::DT_NULL.0, 0), |entry| (entry.tag, entry.value));
            self.put(place, &tag.to_le_bytes())?;
            self.put(place + 8, &value.to_le_bytes())?;
        }
        Ok(())
    }

    /// Appends a longer string table to the file. `renames` maps old names, by their offset in the
    /// table, to new ones.
    fn append(&mut self, renames: &[(u64, String)], run_path: Option<&str>) -> Result<(), String> {
        let mut table = self.file[self.strings.clone()].to_vec();
        let mut add = |text: &str| {
            let index = table.len() as u64;
            table.extend_from_slice(text.as_bytes());
            table.push(0);
            index
        };
        let mut moved = BTreeMap::new();
        for (old, new) in renames {
            moved.entry(*old).or_insert_with(|| add(new));
        }
        for entry in &mut self.dynamic {
            let is_name = entry.tag == elf::DT_NEEDED.0 || entry.tag == elf::DT_SONAME.0;
            if let Some(new) = moved.get(&entry.value).filter(|_| is_name) {
                entry.value = *new;
            }
        }
        if let Some(run_path) = run_path {
            self.dynamic.push(DynamicEntry {
                tag: elf::DT_RUNPATH.0,
                value: add(run_path),
            });
        }
        self.rename_versions(&moved)?;
        self.replace_strings(&table)
    }

    /// Appends another string table and makes the dynamic segment refer to it.
    fn replace_strings(&mut self, table: &[u8]) -> Result<(), String> {
        let old = self.value(elf::DT_STRTAB.0).unwrap_or_default();
        let address = self.load(table)?;
        for entry in &mut self.dynamic {
            if entry.tag == elf::DT_STRTAB.0 {
                entry.value = address;
            } else if entry.tag == elf::DT_STRSZ.0 {
                entry.value = table.len() as u64;
            }
        }
        self.write_dynamic()?;
        self.move_section(old, address, table.len() as u64)
    }

    /// Renames libraries in the symbol versions, which name them too.
    fn rename_versions(&mut self, moved: &BTreeMap<u64, u64>) -> Result<(), String> {
        let Some(address) = self.value(elf::DT_VERNEED.0) else {
            return Ok(());
        };
        let mut at = self.offset(address)?;
        for _ in 0..self.value(elf::DT_VERNEEDNUM.0).unwrap_or_default() {
            let name = self.u32(at + 4)?;
            if let Some(new) = moved.get(&u64::from(name)) {
                let new = u32::try_from(*new).map_err(|error| error.to_string())?;
                self.put(at + 4, &new.to_le_bytes())?;
            }
            at += self.u32(at + 12)? as usize;
        }
        Ok(())
    }

    /// Appends bytes that are loaded with the file, and returns their address.
    fn load(&mut self, bytes: &[u8]) -> Result<u64, String> {
        let (end, align) = self.end_of_loaded()?;
        let spare = self
            .header_of(PT_NOTE)
            .or_else(|| self.header_of(PT_GNU_PROPERTY))
            .ok_or("it has no program header to spare")?;

        let address = end.next_multiple_of(align);
        let offset = (self.file.len() as u64).next_multiple_of(align);
        self.file.resize(
            usize::try_from(offset).map_err(|error| error.to_string())?,
            0,
        );
        self.file.extend_from_slice(bytes);

        let length = bytes.len() as u64;
        let mut header = Vec::with_capacity(PROGRAM_HEADER);
        header.extend_from_slice(&PT_LOAD.to_le_bytes());
        header.extend_from_slice(&PF_R.to_le_bytes());
        for value in [offset, address, address, length, length, align] {
            header.extend_from_slice(&value.to_le_bytes());
        }
        // Loaded segments are sorted by address: the new one is the last.
        self.file
            .copy_within(spare + PROGRAM_HEADER..self.segments.end, spare);
        self.put(self.segments.end - PROGRAM_HEADER, &header)?;
        Ok(address)
    }

    /// Returns the end of the loaded segments in memory, and their largest alignment.
    fn end_of_loaded(&self) -> Result<(u64, u64), String> {
        let (mut end, mut align) = (0_u64, 0x1000_u64);
        for header in self
            .headers()
            .filter(|header| self.u32(*header) == Ok(PT_LOAD))
        {
            let size = self.u64(header + 40)?;
            end = end.max(self.u64(header + 16)?.saturating_add(size));
            align = align.max(self.u64(header + 48)?);
        }
        if align.is_power_of_two() && align <= 1 << 24 {
            Ok((end, align))
        } else {
            Err("its segments have an unsupported alignment".to_owned())
        }
    }

    fn header_of(&self, kind: u32) -> Option<usize> {
        self.headers().find(|header| self.u32(*header) == Ok(kind))
    }

    /// Updates the section header of the string table, which the linker does not read, but other
    /// tools do.
    fn move_section(&mut self, old: u64, address: u64, length: u64) -> Result<(), String> {
        let start = self.usize(40)?;
        let (size, count) = (
            usize::from(u16_at(self.file, 58)?),
            usize::from(u16_at(self.file, 60)?),
        );
        if start == 0 || size != SECTION_HEADER || start + size * count > self.file.len() {
            return Ok(());
        }
        let offset = self.offset(address)? as u64;
        for place in (start..start + size * count).step_by(size) {
            // SHT_STRTAB.
            if self.u32(place + 4)? == 3 && self.u64(place + 16)? == old {
                self.put(place + 16, &address.to_le_bytes())?;
                self.put(place + 24, &offset.to_le_bytes())?;
                self.put(place + 32, &length.to_le_bytes())?;
            }
        }
        Ok(())
    }

    fn u32(&self, place: usize) -> Result<u32, String> {
        Ok(u32::from_le_bytes(array(self.file, place)?))
    }

    fn u64(&self, place: usize) -> Result<u64, String> {
        Ok(u64::from_le_bytes(array(self.file, place)?))
    }

    fn usize(&self, place: usize) -> Result<usize, String> {
        usize_at(self.file, place)
    }

    fn put(&mut self, place: usize, bytes: &[u8]) -> Result<(), String> {
        let end = place.checked_add(bytes.len());
        let target = end
            .and_then(|end| self.file.get_mut(place..end))
            .ok_or("a header points outside the file")?;
        target.copy_from_slice(bytes);
        Ok(())
    }
}

fn array<const N: usize>(file: &[u8], place: usize) -> Result<[u8; N], String> {
    let bytes = place
        .checked_add(N)
        .and_then(|end| file.get(place..end))
        .and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| "a header points outside the file".to_owned())
}

fn u16_at(file: &[u8], place: usize) -> Result<u16, String> {
    Ok(u16::from_le_bytes(array(file, place)?))
}

fn usize_at(file: &[u8], place: usize) -> Result<usize, String> {
    usize::try_from(u64::from_le_bytes(array(file, place)?)).map_err(|error| error.to_string())
}

/// Returns the range of the program headers of a 64-bit little-endian ELF file.
fn program_headers(file: &[u8]) -> Result<Range<usize>, String> {
    // EI_CLASS 2 is 64-bit, EI_DATA 1 little-endian.
    if !file.starts_with(b"\x7fELF\x02\x01") || file.len() < HEADER {
        return Err("it is not a 64-bit little-endian ELF file".to_owned());
    }
    let start = usize_at(file, 32)?;
    let count = usize::from(u16_at(file, 56)?);
    if usize::from(u16_at(file, 54)?) != PROGRAM_HEADER {
        return Err("its program headers do not have the size of the ABI".to_owned());
    }
    let headers = start..start.saturating_add(count * PROGRAM_HEADER);
    if headers.end > file.len() {
        return Err("its program headers are outside the file".to_owned());
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use pkgapp_core::path::ReleasePath;
    use pkgapp_testing::run;
    use pkgapp_testing::tool;

    /// A library that calls another one; linked with versions of symbols, as glibc's are.
    fn library(directory: &Path, options: &[&str]) -> bool {
        let Some(gcc) = tool("gcc") else { return false };
        std::fs::write(directory.join("made.c"), "int made(void) { return 41; }\n").unwrap();
        std::fs::write(
            directory.join("map"),
            "MADE_1 { global: made; local: *; };\n",
        )
        .unwrap();
        std::fs::write(
            directory.join("user.c"),
            "int made(void); int lib(void) { return made() + 1; }\n",
        )
        .unwrap();
        let gcc = || {
            let mut command = Command::new(&gcc);
            command.current_dir(directory).args(["-shared", "-fPIC"]);
            command
        };
        run(gcc().args([
            "-o",
            "libmade.so.1",
            "made.c",
            "-Wl,-soname,libmade.so.1",
            "-Wl,--version-script=map",
        ]));
        run(gcc()
            .args(["-o", "user.so", "user.c", "libmade.so.1"])
            .args(options));
        true
    }

    fn read(path: &Path) -> crate::elf::ElfFile {
        super::super::read(path, &ReleasePath::parse("x.so").unwrap())
            .unwrap()
            .unwrap()
    }

    fn change(path: &Path, change: &ElfEdit) -> bool {
        let mut bytes = std::fs::read(path).unwrap();
        let changed = apply(&mut bytes, change).unwrap();
        std::fs::write(path, bytes).unwrap();
        changed
    }

    /// The real dynamic linker loads it and calls `lib`, which calls `made` of the other library.
    fn answer(directory: &Path) -> Option<String> {
        let python = tool("python3")?;
        let script = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).lib())";
        let mut command = Command::new(python);
        command.args(["-c", script]).arg(directory.join("user.so"));
        Some(run(&mut command).trim().to_owned())
    }

    #[test]
    fn a_run_path_of_the_build_host_goes_without_a_trace() {
        let directory = tempfile::tempdir().unwrap();
        // `lib` is also the name of a symbol, and linkers share the tails of strings.
        if !library(directory.path(), &["-Wl,-rpath,/build/host/lib"]) {
            return;
        }
        let user = directory.path().join("user.so");
        assert_eq!(read(&user).runpath, ["/build/host/lib"]);
        let length = user.metadata().unwrap().len();
        assert!(change(&user, &ElfEdit::default()));
        let found = read(&user);
        assert_eq!(
            (found.runpath, found.needed),
            (Vec::<String>::new(), vec!["libmade.so.1".to_owned()])
        );
        assert_eq!(user.metadata().unwrap().len(), length);
        assert!(memchr::memmem::find(&std::fs::read(&user).unwrap(), b"/build").is_none());
        assert!(!change(&user, &ElfEdit::default()), "it is as wanted");
        if let Some(nm) = tool("nm") {
            assert!(run(Command::new(nm).arg("-D").arg(&user)).contains(" T lib\n"));
        }
    }

    #[test]
    fn origin_stays_in_a_run_path() {
        let directory = tempfile::tempdir().unwrap();
        for options in ["/build/host/lib:$ORIGIN", "$ORIGIN:/build/host/lib"] {
            if !library(directory.path(), &[&format!("-Wl,-rpath,{options}")]) {
                return;
            }
            let user = directory.path().join("user.so");
            assert!(change(
                &user,
                &ElfEdit {
                    run_path: vec!["$ORIGIN".into()],
                    ..ElfEdit::default()
                }
            ));
            assert_eq!(read(&user).runpath, ["$ORIGIN"], "{options}");
            let bytes = std::fs::read(&user).unwrap();
            assert!(memchr::memmem::find(&bytes, b"/build").is_none());
            assert_eq!(answer(directory.path()).unwrap_or("42".into()), "42");
        }
    }

    #[test]
    fn a_library_is_found_under_its_new_name() {
        for options in [
            &["-Wl,-rpath,/b"][..],
            &[],
            &[
                "-Wl,-rpath,/b",
                "-Wl,-z,separate-code",
                "-Wl,--hash-style=both",
            ],
        ] {
            let directory = tempfile::tempdir().unwrap();
            if !library(directory.path(), options) {
                return;
            }
            let (user, made) = (
                directory.path().join("user.so"),
                directory.path().join("libmade.so.1"),
            );
            let name = "libmade-0123abcd.so.1".to_owned();
            let below = directory.path().join("demo.libs");
            std::fs::create_dir(&below).unwrap();
            change(
                &made,
                &ElfEdit {
                    soname: Some(name.clone()),
                    ..ElfEdit::default()
                },
            );
            assert_eq!(read(&made).soname.as_deref(), Some(name.as_str()));
            std::fs::rename(&made, below.join(&name)).unwrap();
            let needed = BTreeMap::from([("libmade.so.1".to_owned(), name.clone())]);
            let run_path = vec!["$ORIGIN/demo.libs".to_owned()];
            change(
                &user,
                &ElfEdit {
                    run_path,
                    needed,
                    soname: None,
                },
            );
            let found = read(&user);
            assert_eq!(found.needed, [name.as_str()]);
            assert!(
                found.versions.contains(&(name, "MADE_1".into())),
                "{:?}",
                found.versions
            );
            assert_eq!(answer(directory.path()).unwrap_or("42".into()), "42");
            // Other tools read the sections.
            if let Some(readelf) = tool("readelf") {
                let said = run(Command::new(readelf)
                    .args(["--wide", "--dynamic", "--sections"])
                    .arg(&user));
                assert!(
                    said.contains("Library runpath: [$ORIGIN/demo.libs]"),
                    "{said}"
                );
            }
            if let Some(strip) = tool("strip") {
                run(Command::new(strip).arg(&user));
                assert_eq!(answer(directory.path()).unwrap_or("42".into()), "42");
            }
        }
    }

    #[test]
    fn damage_is_an_error() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for cut in [5, 20, 63, 64, 200, 4096] {
            assert!(
                apply(&mut this[..cut].to_vec(), &ElfEdit::default()).is_err(),
                "{cut}"
            );
        }
    }
}

//! Makes an interpreter's compiled code independent of the place of its build: without debug
//! information, and with a run path relative to itself.
//!
//! Nothing that is loaded moves: a string is replaced by one of the same length or shorter, and
//! parts that the dynamic linker never reads are cut off. So no tool is needed, and the same file
//! gives the same bytes everywhere. Sources: System V ABI, "Object Files", "Program Loading and
//! Dynamic Linking"; ld.so(8) for the order of run paths.

/// A directory that exists nowhere (Debian Policy §9.1.1: a home directory that must not exist).
pub const NOWHERE: &str = "/nonexistent";

/// Sizes in a 64-bit ELF file, bytes.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;
const DYNAMIC_ENTRY: usize = 16;
const SYMBOL: u64 = 24;

/// Types of segments.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

/// Types and flags of sections.
const SHT_NOBITS: u32 = 8;
const SHT_DYNSYM: u32 = 11;
const SHF_ALLOC: u64 = 2;

/// Tags of the dynamic segment.
const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;

/// More entries than this mean a loop in a damaged file.
const CHAIN_LIMIT: usize = 10_000;

/// The smallest page of the machines that pkgapp builds for, bytes.
const PAGE: u64 = 4096;

/// A result whose error describes the damage of a file.
type BinaryResult<T> = std::result::Result<T, &'static str>;

/// A shared object or an executable: 64-bit, little-endian.
#[derive(Debug)]
pub struct ElfBinary {
    bytes: Vec<u8>,
    segments: Vec<ElfSegment>,
    /// The offset of the dynamic segment and the number of entries that fit; `None` for a static
    /// executable.
    dynamic: Option<(usize, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct ElfSegment {
    /// The offset of its header.
    header: usize,
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
}

impl ElfBinary {
    /// Returns the file's machine if pkgapp can ship it (`EM_X86_64` or `EM_AARCH64`); otherwise
    /// `None`.
    pub fn machine(bytes: &[u8]) -> Option<&'static str> {
        let identity = bytes.get(..6)?;
        if identity[..4] != *b"\x7fELF" || identity[4] != 2 || identity[5] != 1 {
            return None;
        }
        match u16_at(bytes, 18).ok()? {
            62 => Some("x86_64"),
            183 => Some("aarch64"),
            _ => None,
        }
    }

    /// Reads a file; `None` for anything except executables and shared objects for 64-bit
    /// little-endian machines.
    ///
    /// # Errors
    /// Fails if the headers are damaged.
    pub fn parse(bytes: &[u8]) -> BinaryResult<Option<Self>> {
        if bytes.len() < HEADER
            || Self::machine(bytes).is_none()
            || !matches!(u16_at(bytes, 16)?, 2 | 3)
        {
            return Ok(None);
        }
        if usize::from(u16_at(bytes, 54)?) != PROGRAM_HEADER {
            return Err("its program headers have an unknown size");
        }
        let (start, count) = (place(u64_at(bytes, 32)?)?, usize::from(u16_at(bytes, 56)?));
        let segments = (0..count)
            .map(|index| {
                let header = start.checked_add(index * PROGRAM_HEADER).ok_or(OUTSIDE)?;
                ElfSegment::read(bytes, header)
            })
            .collect::<BinaryResult<Vec<_>>>()?;

        let dynamic = match segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
            Some(segment) => Some((
                place(segment.offset)?,
                place(segment.file_size)? / DYNAMIC_ENTRY,
            )),
            None => None,
        };
        Ok(Some(Self {
            bytes: bytes.to_vec(),
            segments,
            dynamic,
        }))
    }

    /// Returns the file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns the dynamic linker that starts the file, e.g. `/lib64/ld-linux-x86-64.so.2`; `None`
    /// if it is statically linked, or a library.
    pub fn linker(&self) -> BinaryResult<Option<String>> {
        let Some(segment) = self
            .segments
            .iter()
            .find(|segment| segment.kind == PT_INTERP)
        else {
            return Ok(None);
        };
        let (start, length) = (place(segment.offset)?, place(segment.file_size)?);
        let text = self
            .bytes
            .get(start..)
            .and_then(|rest| rest.get(..length))
            .ok_or(OUTSIDE)?;
        Ok(Some(
            String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or(text))
                .into_owned(),
        ))
    }

    /// Returns the names of the libraries that it needs.
    pub fn needed(&self) -> BinaryResult<Vec<String>> {
        let entries = self.entries()?;
        let names = entries
            .iter()
            .filter(|(tag, _)| *tag == DT_NEEDED)
            .map(|(_, value)| self.string(*value));
        names
            .map(|name| Ok(String::from_utf8_lossy(name?).into_owned()))
            .collect()
    }

    /// Returns its run path as written, `DT_RUNPATH` before `DT_RPATH`.
    pub fn run_path(&self) -> BinaryResult<Option<String>> {
        let entries = self.entries()?;
        let find = |wanted: u64| entries.iter().find(|(tag, _)| *tag == wanted);
        match find(DT_RUNPATH).or_else(|| find(DT_RPATH)) {
            Some((_, value)) => Ok(Some(
                String::from_utf8_lossy(self.string(*value)?).into_owned(),
            )),
            None => Ok(None),
        }
    }

    /// Removes the run path, including its bytes, and sets another one.
    ///
    /// The new run path is a `DT_RPATH`: `LD_LIBRARY_PATH` cannot override it, and it also applies
    /// to libraries that the file loads later, if they have no run path of their own (ld.so(8)).
    ///
    /// # Errors
    /// Fails without changes if there is no room for the new run path.
    pub fn set_run_path(&mut self, path: Option<&str>) -> BinaryResult<()> {
        let Some((start, room)) = self.dynamic else {
            return if path.is_some() {
                Err("it is statically linked")
            } else {
                Ok(())
            };
        };
        let mut entries = self.entries()?;
        let is_path = |(tag, _): &(u64, u64)| *tag == DT_RPATH || *tag == DT_RUNPATH;
        let old: Vec<u64> = entries
            .iter()
            .filter(|entry| is_path(entry))
            .map(|(_, value)| *value)
            .collect();
        entries.retain(|entry| !is_path(entry));
        // The last entry is DT_NULL.
        if path.is_some() && entries.len() + 2 > room {
            return Err("its dynamic section is full");
        }

        let free = self.free_strings(&entries, &old)?;
        if let Some(path) = path {
            let value = match free.iter().find(|(_, length)| *length >= path.len()) {
                Some((value, _)) => *value,
                None => self.extend_strings(&mut entries, path.len() + 1)?,
            };
            self.wipe(&free)?;
            let place = self.string_place(value)?;
            self.bytes[place..place + path.len()].copy_from_slice(path.as_bytes());
            entries.push((DT_RPATH, value));
        } else {
            self.wipe(&free)?;
        }
        entries.resize(room, (0, 0));
        self.write_entries(start, entries);
        Ok(())
    }

    fn write_entries(&mut self, start: usize, entries: Vec<(u64, u64)>) {
        for (index, (tag, value)) in entries.into_iter().enumerate() {
            let place = start + index * DYNAMIC_ENTRY;
            self.bytes[place..place + 8].copy_from_slice(&tag.to_le_bytes());
            self.bytes[place + 8..place + 16].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Replaces all occurrences of a text by another of the same length; returns whether there were
    /// any.
    pub fn replace(&mut self, from: &[u8], to: &[u8]) -> bool {
        debug_assert_eq!(from.len(), to.len());
        let found: Vec<usize> = memchr::memmem::find_iter(&self.bytes, from).collect();
        for place in &found {
            self.bytes[*place..*place + to.len()].copy_from_slice(to);
        }
        !found.is_empty()
    }

    /// Removes everything that is never loaded: debug information, and symbols for debuggers. The
    /// section headers of the remaining parts stay, for tools that read them.
    ///
    /// # Errors
    /// Fails if the headers are damaged.
    pub fn strip(&mut self) -> BinaryResult<()> {
        let sections = self.sections()?;
        let loaded = |section: &ElfSection| section.flags & SHF_ALLOC != 0;
        let kept = sections
            .iter()
            .skip(1)
            .take_while(|section| loaded(section))
            .count()
            + 1;
        // Loaded sections refer to other sections by their numbers, which must stay the same.
        if sections.len() < 2 || sections[kept..].iter().any(loaded) {
            return Ok(());
        }

        let end = self.end_of_content(&sections[1..kept])?;
        let mut table =
            self.bytes[place(u64_at(&self.bytes, 40)?)?..][..kept * SECTION_HEADER].to_vec();
        let names = self.section_names(&sections, &mut table, kept)?;
        let end_of_names = (end + names.len()).next_multiple_of(8);
        table.extend(header_of_names(end, names.len())?);

        self.bytes.truncate(end);
        self.bytes.extend(names);
        self.bytes.resize(end_of_names, 0);
        self.bytes.extend(table);
        let count = u16::try_from(kept).map_err(|_| OUTSIDE)?;
        self.bytes[40..48].copy_from_slice(&(end_of_names as u64).to_le_bytes());
        self.bytes[60..62].copy_from_slice(&(count + 1).to_le_bytes());
        self.bytes[62..64].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }

    /// Returns the end of the segments and of the sections that stay.
    fn end_of_content(&self, sections: &[ElfSection]) -> BinaryResult<usize> {
        let segments = self
            .segments
            .iter()
            .map(|segment| segment.offset + segment.file_size);
        let bodies = sections
            .iter()
            .filter(|section| section.kind != SHT_NOBITS)
            .map(|section| section.offset.saturating_add(section.size));
        let end = place(segments.chain(bodies).max().unwrap_or(0))?;
        let headers = place(u64_at(&self.bytes, 32)?)? + self.segments.len() * PROGRAM_HEADER;
        if end > self.bytes.len() || headers > end {
            return Err(OUTSIDE);
        }
        Ok(end)
    }

    /// Returns the names of the first `kept` sections as a string table, and updates their headers,
    /// where references to removed sections are cleared.
    fn section_names(
        &self,
        sections: &[ElfSection],
        table: &mut [u8],
        kept: usize,
    ) -> BinaryResult<Vec<u8>> {
        let old = sections
            .get(usize::from(u16_at(&self.bytes, 62)?))
            .ok_or(OUTSIDE)?;
        let old = self.bytes.get(place(old.offset)?..).ok_or(OUTSIDE)?;
        let mut names = vec![0];
        for (section, header) in sections[..kept]
            .iter()
            .zip(table.chunks_exact_mut(SECTION_HEADER))
            .skip(1)
        {
            let name = old.get(place(section.name.into())?..).ok_or(OUTSIDE)?;
            let name = &name[..memchr::memchr(0, name).ok_or(OUTSIDE)?];
            header[..4].copy_from_slice(
                &u32::try_from(names.len())
                    .map_err(|_| OUTSIDE)?
                    .to_le_bytes(),
            );
            names.extend(name);
            names.push(0);
            for reference in [40, 44] {
                // sh_info is the number of a section only if SHF_INFO_LINK is set.
                let is_number = reference == 40 || section.flags & 0x40 != 0;
                if is_number && u32_at(header, reference)? as usize >= kept {
                    header[reference..reference + 4].fill(0);
                }
            }
        }
        names.extend(NAME_OF_NAMES);
        names.push(0);
        Ok(names)
    }

    /// Returns the tag and value of each entry of the dynamic segment, up to `DT_NULL`.
    fn entries(&self) -> BinaryResult<Vec<(u64, u64)>> {
        let Some((start, room)) = self.dynamic else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::new();
        for index in 0..room {
            let place = start + index * DYNAMIC_ENTRY;
            let entry = (u64_at(&self.bytes, place)?, u64_at(&self.bytes, place + 8)?);
            if entry.0 == 0 {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Returns the pieces of the strings at `old` that nothing else refers to, as value and length.
    /// Linkers may store a string as the end of another one.
    fn free_strings(&self, entries: &[(u64, u64)], old: &[u64]) -> BinaryResult<Vec<(u64, usize)>> {
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let used = self.used_strings(entries)?;
        let mut free: Vec<(u64, usize)> = Vec::new();
        for &start in old {
            let length = self.string(start)?.len();
            let end = start + length as u64;
            // A longer string that ends with this one.
            let mut inside = false;
            for used in used.iter().filter(|used| **used < start) {
                inside |= *used + self.string(*used)?.len() as u64 >= end;
            }
            let first = used
                .iter()
                .filter(|used| (start..=end).contains(used))
                .min();
            let length = first.map_or(length, |first| usize::try_from(first - start).unwrap_or(0));
            if !inside && length > 0 && !free.iter().any(|(known, _)| *known == start) {
                free.push((start, length));
            }
        }
        Ok(free)
    }

    /// Returns the values of all strings except run paths: of dynamic entries, symbol versions, and
    /// symbols.
    fn used_strings(&self, entries: &[(u64, u64)]) -> BinaryResult<Vec<u64>> {
        let mut used: Vec<u64> = entries
            .iter()
            .filter(|(tag, _)| matches!(*tag, DT_NEEDED | DT_SONAME | DT_AUXILIARY | DT_FILTER))
            .map(|(_, value)| *value)
            .collect();
        let value = |wanted: u64| {
            entries
                .iter()
                .find(|(tag, _)| *tag == wanted)
                .map(|(_, value)| *value)
        };
        if let Some(address) = value(DT_VERNEED) {
            self.version_names(address, VersionTable::Needed, &mut used)?;
        }
        if let Some(address) = value(DT_VERDEF) {
            self.version_names(address, VersionTable::Defined, &mut used)?;
        }
        if let Some(symbols) = value(DT_SYMTAB) {
            let count = self.symbols(entries, symbols)?;
            for index in 0..count {
                used.push(u32_at(&self.bytes, self.offset(symbols + index * SYMBOL)?)?.into());
            }
        }
        Ok(used)
    }

    /// Returns the number of dynamic symbols, from the section headers, the hash table, or the
    /// start of the strings.
    fn symbols(&self, entries: &[(u64, u64)], symbols: u64) -> BinaryResult<u64> {
        if let Some(section) = self
            .sections()?
            .iter()
            .find(|section| section.kind == SHT_DYNSYM)
        {
            return Ok(section.size / SYMBOL);
        }
        let value = |wanted: u64| {
            entries
                .iter()
                .find(|(tag, _)| *tag == wanted)
                .map(|(_, value)| *value)
        };
        if let Some(address) = value(DT_HASH) {
            return Ok(u32_at(&self.bytes, self.offset(address)? + 4)?.into());
        }
        let strings = value(DT_STRTAB).ok_or("it has no string table")?;
        strings
            .checked_sub(symbols)
            .map(|size| size / SYMBOL)
            .ok_or("the number of its symbols is unknown")
    }

    fn version_names(
        &self,
        address: u64,
        table: VersionTable,
        used: &mut Vec<u64>,
    ) -> BinaryResult<()> {
        let mut entry = self.offset(address)?;
        for _ in 0..CHAIN_LIMIT {
            // Verneed: version, count, file, auxiliary, next. Verdef: version, flags, index, count,
            // hash, auxiliary, next.
            let (count, auxiliary, next) = match table {
                VersionTable::Needed => {
                    used.push(u32_at(&self.bytes, entry + 4)?.into());
                    (
                        u16_at(&self.bytes, entry + 2)?,
                        u32_at(&self.bytes, entry + 8)?,
                        u32_at(&self.bytes, entry + 12)?,
                    )
                }
                VersionTable::Defined => (
                    u16_at(&self.bytes, entry + 6)?,
                    u32_at(&self.bytes, entry + 12)?,
                    u32_at(&self.bytes, entry + 16)?,
                ),
            };
            let mut below = entry + auxiliary as usize;
            for _ in 0..count {
                // Vernaux: hash, flags, other, name, next. Verdaux: name, next.
                let (name, next) = match table {
                    VersionTable::Needed => (
                        u32_at(&self.bytes, below + 8)?,
                        u32_at(&self.bytes, below + 12)?,
                    ),
                    VersionTable::Defined => {
                        (u32_at(&self.bytes, below)?, u32_at(&self.bytes, below + 4)?)
                    }
                };
                used.push(name.into());
                below += next as usize;
            }
            if next == 0 {
                return Ok(());
            }
            entry += next as usize;
        }
        Err("its symbol versions never end")
    }

    /// Makes room for a string after the end of the segment with the string table, where the file
    /// is padded up to the next page and the memory is mapped anyway. Returns the string's value.
    fn extend_strings(&mut self, entries: &mut [(u64, u64)], length: usize) -> BinaryResult<u64> {
        let strings = entries
            .iter()
            .find(|(tag, _)| *tag == DT_STRTAB)
            .map(|(_, value)| *value)
            .ok_or("it has no string table")?;
        let is_around = |s: &ElfSegment| {
            s.kind == PT_LOAD && (s.address..s.address + s.file_size).contains(&strings)
        };
        let index = self.segments.iter().position(is_around).ok_or(OUTSIDE)?;
        let segment = self.segments[index];
        if !self.has_room_after(&segment, length)? {
            return Err("it has no room for a run path");
        }

        let size = segment.file_size + length as u64;
        self.segments[index].file_size = size;
        self.segments[index].memory_size = size;
        for field in [32, 40] {
            let place = segment.header + field;
            self.bytes[place..place + 8].copy_from_slice(&size.to_le_bytes());
        }
        let value = segment.address + segment.file_size - strings;
        for (tag, size) in entries {
            if *tag == DT_STRSZ {
                *size = (*size).max(value + length as u64);
            }
        }
        Ok(value)
    }

    /// Returns whether a loaded segment can grow by some bytes: within its last page, over zeros in
    /// the file, and not into the next segment.
    fn has_room_after(&self, segment: &ElfSegment, length: usize) -> BinaryResult<bool> {
        let end = segment.offset + segment.file_size;
        let room = PAGE - (segment.address + segment.file_size) % PAGE;
        let next = self
            .segments
            .iter()
            .filter(|other| other.kind == PT_LOAD && other.offset >= end)
            .map(|other| other.offset)
            .min()
            .unwrap_or(self.bytes.len() as u64);
        let fits = segment.file_size == segment.memory_size
            && room % PAGE >= length as u64
            && next - end >= length as u64;
        Ok(fits
            && self.bytes[place(end)?..][..length]
                .iter()
                .all(|byte| *byte == 0))
    }

    fn wipe(&mut self, free: &[(u64, usize)]) -> BinaryResult<()> {
        for (value, length) in free {
            let place = self.string_place(*value)?;
            self.bytes[place..place + length].fill(0);
        }
        Ok(())
    }

    fn string(&self, value: u64) -> BinaryResult<&[u8]> {
        let rest = self.bytes.get(self.string_place(value)?..).ok_or(OUTSIDE)?;
        Ok(&rest[..memchr::memchr(0, rest).ok_or(OUTSIDE)?])
    }

    fn string_place(&self, value: u64) -> BinaryResult<usize> {
        let strings = self
            .entries()?
            .into_iter()
            .find(|(tag, _)| *tag == DT_STRTAB)
            .ok_or("it has no string table")?
            .1;
        self.offset(strings.checked_add(value).ok_or(OUTSIDE)?)
    }

    /// Returns the offset in the file of an address in the loaded image.
    fn offset(&self, address: u64) -> BinaryResult<usize> {
        let inside = self
            .segments
            .iter()
            .filter(|segment| segment.kind == PT_LOAD)
            .find_map(|segment| {
                let below = address
                    .checked_sub(segment.address)
                    .filter(|below| *below < segment.file_size)?;
                Some(segment.offset + below)
            });
        place(inside.ok_or(OUTSIDE)?)
    }

    fn sections(&self) -> BinaryResult<Vec<ElfSection>> {
        let (start, count) = (
            place(u64_at(&self.bytes, 40)?)?,
            usize::from(u16_at(&self.bytes, 60)?),
        );
        if start == 0 || usize::from(u16_at(&self.bytes, 58)?) != SECTION_HEADER {
            return Ok(Vec::new());
        }
        let section = |index: usize| {
            let header = start.checked_add(index * SECTION_HEADER).ok_or(OUTSIDE)?;
            Ok(ElfSection {
                name: u32_at(&self.bytes, header)?,
                kind: u32_at(&self.bytes, header + 4)?,
                flags: u64_at(&self.bytes, header + 8)?,
                offset: u64_at(&self.bytes, header + 24)?,
                size: u64_at(&self.bytes, header + 32)?,
            })
        };
        (0..count).map(section).collect()
    }
}

/// Returns the section with the names of the sections.
const NAME_OF_NAMES: &[u8] = b".shstrtab";

#[derive(Debug, Clone, Copy)]
enum VersionTable {
    Needed,
    Defined,
}

#[derive(Debug, Clone, Copy)]
struct ElfSection {
    name: u32,
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
}

/// The description of most damage.
const OUTSIDE: &str = "its headers point outside the file";

fn place(offset: u64) -> BinaryResult<usize> {
    usize::try_from(offset).map_err(|_| OUTSIDE)
}

fn u16_at(bytes: &[u8], place: usize) -> BinaryResult<u16> {
    bytes
        .get(place..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| u16::from_le_bytes(*bytes))
        .ok_or(OUTSIDE)
}

fn u32_at(bytes: &[u8], place: usize) -> BinaryResult<u32> {
    bytes
        .get(place..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or(OUTSIDE)
}

fn u64_at(bytes: &[u8], place: usize) -> BinaryResult<u64> {
    bytes
        .get(place..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| u64::from_le_bytes(*bytes))
        .ok_or(OUTSIDE)
}

impl ElfSegment {
    /// Reads the segment of a program header, and checks that it is in the file.
    fn read(bytes: &[u8], header: usize) -> BinaryResult<Self> {
        let segment = Self {
            header,
            kind: u32_at(bytes, header)?,
            offset: u64_at(bytes, header + 8)?,
            address: u64_at(bytes, header + 16)?,
            file_size: u64_at(bytes, header + 32)?,
            memory_size: u64_at(bytes, header + 40)?,
        };
        let end = segment
            .offset
            .checked_add(segment.file_size)
            .ok_or(OUTSIDE)?;
        if place(end)? > bytes.len() {
            return Err(OUTSIDE);
        }
        Ok(segment)
    }
}

/// Returns the header of the section with the sections' names, which ends a section table.
fn header_of_names(start: usize, length: usize) -> BinaryResult<[u8; SECTION_HEADER]> {
    let mut header = [0; SECTION_HEADER];
    let own_name = length - NAME_OF_NAMES.len() - 1;
    header[..4].copy_from_slice(&u32::try_from(own_name).map_err(|_| OUTSIDE)?.to_le_bytes());
    // SHT_STRTAB, at `start`, of this length, aligned to one byte.
    header[4] = 3;
    header[24..32].copy_from_slice(&(start as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
    header[48] = 1;
    Ok(header)
}

/// Returns a path of the same length that leads nowhere.
pub fn nowhere(path: &str) -> String {
    let (parent, last) = path.split_at(path.rfind('/').unwrap_or(0));
    let start = &NOWHERE[..NOWHERE.len().min(parent.len())];
    format!("{start}{}{last}", "/".repeat(parent.len() - start.len()))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;
    use pkgapp_testing::run;
    use pkgapp_testing::tool;

    /// A library in a directory of its own and a program that needs it, linked with these options.
    fn program(directory: &Path, options: &[&str]) -> Option<PathBuf> {
        let cc = tool("cc")?;
        let library = directory.join("lib/libanswer.so");
        std::fs::create_dir_all(directory.join("lib")).unwrap();
        std::fs::create_dir_all(directory.join("bin")).unwrap();
        std::fs::write(directory.join("a.c"), "int answer(void) { return 42; }").unwrap();
        let main = "#include <stdio.h>\nint answer(void);\nint main(void) { printf(\"%d\\n\", answer()); return 0; }";
        std::fs::write(directory.join("m.c"), main).unwrap();
        let compile = |arguments: &[&str]| {
            let mut command = Command::new(&cc);
            run(command
                .current_dir(directory)
                .args(["-g", "-O1"])
                .args(arguments));
        };
        compile(&[
            "-shared",
            "-fPIC",
            "-Wl,-soname,libanswer.so",
            "-o",
            "lib/libanswer.so",
            "a.c",
        ]);
        let mut arguments = vec!["-o", "bin/program", "m.c", library.to_str().unwrap()];
        arguments.extend(options);
        compile(&arguments);
        Some(directory.join("bin/program"))
    }

    fn changed(file: &Path, change: impl FnOnce(&mut ElfBinary)) -> Vec<u8> {
        let mut binary = ElfBinary::parse(&std::fs::read(file).unwrap())
            .unwrap()
            .unwrap();
        change(&mut binary);
        let bytes = binary.into_bytes();
        std::fs::write(file, &bytes).unwrap();
        bytes
    }

    fn dynamic(file: &Path) -> Option<String> {
        Some(run(Command::new(tool("readelf")?)
            .arg("--wide")
            .arg("--dynamic")
            .arg(file)))
    }

    #[test]
    fn a_program_finds_its_library_by_a_relative_run_path_in_place_of_any() {
        let long = "-Wl,-rpath,/a/directory/of/the/machine/that/builds";
        for (options, old) in [
            (
                &[long, "-Wl,--enable-new-dtags"][..],
                Some("/a/directory/of/the/machine/that/builds"),
            ),
            (
                &[long, "-Wl,--disable-new-dtags"],
                Some("/a/directory/of/the/machine/that/builds"),
            ),
            (&["-Wl,-rpath,/b"], Some("/b")),
            (&[], None),
        ] {
            let made = tempfile::tempdir().unwrap();
            let Some(program) = program(made.path(), options) else {
                return;
            };
            let bytes = changed(&program, |binary| {
                assert_eq!(binary.run_path().unwrap().as_deref(), old, "{options:?}");
                assert_eq!(binary.needed().unwrap()[1..], ["libc.so.6"], "{options:?}");
                binary.set_run_path(Some("$ORIGIN/../lib")).unwrap();
                binary.strip().unwrap();
            });
            let text = dynamic(&program).unwrap_or_default();
            assert!(text.contains("(RPATH)"), "{text}");
            // readelf looks no farther than the section of strings; the dynamic linker does.
            if old.is_some_and(|old| old.len() > 14) {
                assert!(text.contains("Library rpath: [$ORIGIN/../lib]"), "{text}");
            }
            assert!(!text.contains("(RUNPATH)"), "{text}");
            if let Some(old) = old.filter(|old| old.len() > 2) {
                assert!(
                    memchr::memmem::find(&bytes, old.as_bytes()).is_none(),
                    "{options:?}"
                );
            }
            // The library is named by its path, so the program asks for that name below its run
            // path.
            let moved = tempfile::tempdir().unwrap();
            for name in ["bin/program", "lib/libanswer.so"] {
                std::fs::create_dir_all(moved.path().join(name).parent().unwrap()).unwrap();
                std::fs::rename(made.path().join(name), moved.path().join(name)).unwrap();
            }
            let program = moved.path().join("bin/program");
            assert_eq!(
                run(Command::new(program)
                    .env_clear()
                    .env("LD_LIBRARY_PATH", "/nowhere")),
                "42\n"
            );
        }
    }

    #[test]
    fn a_run_path_that_goes_leaves_the_rest_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let Some(program) = program(directory.path(), &["-Wl,-rpath,/gone/from/here"]) else {
            return;
        };
        let Some(before) = dynamic(&program) else {
            return;
        };
        let bytes = changed(&program, |binary| binary.set_run_path(None).unwrap());
        let kept: Vec<&str> = before
            .lines()
            .filter(|line| line.starts_with(" 0x") && !line.contains("RUNPATH"))
            .collect();
        let after = dynamic(&program).unwrap();
        assert_eq!(
            after
                .lines()
                .filter(|line| line.starts_with(" 0x"))
                .collect::<Vec<_>>(),
            kept
        );
        assert!(memchr::memmem::find(&bytes, b"/gone/from").is_none());
    }

    #[test]
    fn a_string_that_others_use_stays() {
        // GNU ld keeps a string that is the end of another inside of it: the name of the symbol is
        // the end of the path.
        let directory = tempfile::tempdir().unwrap();
        let Some(cc) = tool("cc") else { return };
        let object = directory.path().join("x.so");
        std::fs::write(
            directory.path().join("x.c"),
            "int answer(void) { return 42; }",
        )
        .unwrap();
        let mut command = Command::new(cc);
        command.current_dir(directory.path()).args([
            "-shared",
            "-fPIC",
            "-Wl,-rpath,/some/where/answer",
            "-o",
            "x.so",
        ]);
        run(command.arg("x.c"));
        changed(&object, |binary| binary.set_run_path(None).unwrap());
        let Some(nm) = tool("nm") else { return };
        assert!(run(Command::new(nm).arg("--dynamic").arg(&object)).contains(" T answer\n"));
    }

    #[test]
    fn what_is_loaded_survives_stripping_and_tools_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let Some(program) = program(directory.path(), &["-Wl,-rpath,$ORIGIN/../lib"]) else {
            return;
        };
        let Some(readelf) = tool("readelf") else {
            return;
        };
        let sections = |file: &Path| {
            run(Command::new(&readelf)
                .args(["--wide", "--sections"])
                .arg(file))
        };
        let named = directory.path().to_str().unwrap().as_bytes();
        let full = std::fs::read(&program).unwrap();
        assert!(memchr::memmem::find(&full, b".debug_info").is_some());
        let small = changed(&program, |binary| binary.strip().unwrap());
        assert!(small.len() < full.len());
        let text = sections(&program);
        assert!(
            text.contains(" .dynsym ") && text.contains(" .shstrtab ") && !text.contains(".debug"),
            "{text}"
        );
        assert!(memchr::memmem::find(&small, b"answer").is_some());
        assert!(memchr::memmem::find(&small[..], b"GNU C").is_none());
        // DW_AT_comp_dir.
        let library = directory.path().join("lib/libanswer.so");
        let bytes = changed(&library, |binary| binary.strip().unwrap());
        assert!(memchr::memmem::find(&bytes, named).is_none());
        assert_eq!(run(Command::new(&program).env_clear()), "42\n");
        // A second time there is nothing to do.
        assert!(changed(&program, |binary| binary.strip().unwrap()) == small);
    }

    #[test]
    fn damaged_files_are_errors_and_never_panics() {
        let directory = tempfile::tempdir().unwrap();
        let Some(program) = program(directory.path(), &["-Wl,-rpath,/gone/from/here"]) else {
            return;
        };
        let whole = std::fs::read(program).unwrap();
        let attempt = |bytes: &[u8]| {
            let Ok(Some(mut binary)) = ElfBinary::parse(bytes) else {
                return;
            };
            // Whatever they say.
            _ = (binary.needed(), binary.run_path());
            _ = binary.set_run_path(Some("$ORIGIN/../lib"));
            _ = binary.strip();
        };
        for length in (0..whole.len()).step_by(97) {
            attempt(&whole[..length]);
        }
        for place in 0..1200 {
            for value in [0, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] = value;
                attempt(&bytes);
            }
        }
        assert!(
            ElfBinary::parse(b"\x7fELF").unwrap().is_none()
                && ElfBinary::parse(b"#!/bin/sh\n").unwrap().is_none()
        );
    }
}

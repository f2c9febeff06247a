"""Reads a tar archive on stdin and prints a line for each member: mode, owner, size, SHA-256, path, a link's target.

A pax header, a device, a hard link, a member that comes twice or before its directory ends it with an error.
"""

import hashlib
import stat
import sys
import tarfile

seen = set()
lines = []
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    for member in archive:
        assert not member.pax_headers, f"pax header for {member.name}"
        path = "/" + member.name.removeprefix("./").strip("/")
        if path in ("/", "/."):
            continue
        assert path not in seen, f"{path} comes twice"
        seen.add(path)
        owner = f"{member.uname}:{member.gname}"
        if member.isdir():
            kind, rest = stat.S_IFDIR, f"{owner} - - {path}"
        elif member.issym():
            kind, rest = stat.S_IFLNK, f"{owner} - - {path} -> {member.linkname}"
        else:
            assert member.isreg(), f"{path} is of type {member.type}"
            digest = hashlib.sha256(archive.extractfile(member).read()).hexdigest()
            kind, rest = stat.S_IFREG, f"{owner} {member.size} sha256:{digest} {path}"
        lines.append((path, f"{stat.filemode(kind | member.mode)} {rest}"))
for _, line in sorted(lines, key=lambda pair: pair[0].encode()):
    print(line)

"""Made-up files that compress as real ones do, the same from the same seed."""

import random

WORDS = [bytes(random.Random(7).choices(b"etaoinshrdlucmfwypvbgkjqxz", k=n % 9 + 2)) for n in range(4000)]


def text(rng, size):
    """Words in lines: zlib makes about a third of it."""
    out, length = [], 0
    while length < size:
        line = b" ".join(rng.choices(WORDS, k=12)) + b"\n"
        out.append(line)
        length += len(line)
    return b"".join(out)[:size]


def source(rng, size):
    """A Python module of small functions."""
    out, length = [b'"""Made."""\n'], 0
    while length < size:
        name, number = rng.choice(WORDS).decode(), rng.randrange(1 << 30)
        lines = (
            f"\n\ndef {name}_{number}(a, b={number}):\n    if a in (b, '{name}', {number % 97}):\n"
            f"        return [a, b, '{name}']\n    return {{'{name}': a * {number % 1013}}}\n"
        )
        out.append(lines.encode())
        length += len(lines)
    return b"".join(out)


def application(package):
    """An application of 240 modules and 80 other files, 2.4 MB: path and content, without the file that is edited."""
    rng, files = random.Random(11), {f"{package}/__init__.py": b""}
    for part in range(8):
        files[f"{package}/part{part}/__init__.py"] = b""
        for number in range(30):
            files[f"{package}/part{part}/module{number}.py"] = source(rng, rng.randrange(2000, 12000))
        for number in range(8):
            files[f"{package}/part{part}/templates/page{number}.html"] = text(rng, rng.randrange(2000, 12000))
        for number in range(2):
            files[f"{package}/part{part}/static/image{number}.bin"] = rng.randbytes(8000)
    return files


def edited(number):
    """The module that is edited: only its version says that it was."""
    return f'VERSION = "edit {number}"\n'.encode() + source(random.Random(12), 6000)

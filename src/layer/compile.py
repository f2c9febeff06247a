# Compiles the sources named on standard input to byte code on standard output, one after another.
# argv: the directory they lie in; `source` if what is made of one must not depend on the others, which costs a fork.
# Input: their paths below it, each with a line end. Output for each: a line
# `compiled LENGTH` and LENGTH bytes of a .pyc file, or a line `failed 0`.
import sys

# For `-c` the first place of imports is the working directory.
sys.path[:] = [place for place in sys.path if place]

import gc
import importlib.util
import marshal
import os

# What marshal writes depends on reference counts, so nothing may be freed at a moment that chance decides.
gc.disable()
# PEP 552: hash-based, not checked against the source when imported.
UNCHECKED_HASH = (0b01).to_bytes(4, "little")


def marshalled(code):
    """As marshal.dumps, but equal for equal code.

    Until 3.11 a set constant (`x in {None, "a"}`) is written in the order of its hashes, and None's is its address.
    """
    if sys.version_info >= (3, 11):
        return marshal.dumps(code)
    sets = {}
    data = marshal.dumps(with_stand_ins(code, sets))
    for stand_in, items in sets.items():
        # TYPE_STRING or TYPE_FROZENSET, its top bit said whether the object is referred to later; a length; content.
        start = data.index(stand_in) - 5
        flag = data[start] & 0x80
        content = b"".join(sorted(marshal.dumps(item, 2) for item in items))
        written = bytes([ord(">") | flag]) + len(items).to_bytes(4, "little") + content
        data = data[:start] + written + data[start + 5 + len(stand_in) :]
    return data


def with_stand_ins(constant, sets):
    if isinstance(constant, frozenset):
        stand_in = b"frozenset %d of pkgapp's compile.py" % len(sets)
        sets[stand_in] = constant
        return stand_in
    if isinstance(constant, type(marshalled.__code__)):
        constants = tuple(with_stand_ins(inner, sets) for inner in constant.co_consts)
        return constant.replace(co_consts=constants) if sets else constant
    return constant


def compiled(root, name):
    with open(root + "/" + name, "rb") as file:
        source = file.read()
    # As importlib.machinery.SourceFileLoader does it; the file name in the code object is the path below the prefix.
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    source_hash = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + source_hash + marshalled(code)


def answer(out, root, name):
    try:
        pyc = compiled(root, name)
    except Exception:
        # Templates, code for another Python, or files that only look like Python: not this program's to judge.
        out.write(b"failed 0\n")
    else:
        out.write(b"compiled %d\n" % len(pyc))
        out.write(pyc)
    out.flush()


def answer_aside(out, root, name):
    child = os.fork()
    if not child:
        answer(out, root, name)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        sys.exit("the process for %s ended with status %d" % (name, status))


def main():
    out = sys.stdout.buffer
    work = answer_aside if sys.argv[2] == "source" else answer
    for name in sys.stdin.buffer.read().decode("utf-8").split("\n"):
        if name:
            work(out, sys.argv[1], name)


main()

# Compiles sources to byte code. Each request is served by a fork of this process, which has seen nothing but the lengths
# of the others: what is made depends on the sources of one request alone, and starting Python is paid once.
# Standard input, for each request: a line `COUNT`, and for each source a line of four numbers, where it starts in a file, its
# length, the length of the file's path and that of the name that it is compiled under, and then both. An empty path is the one
# before. Standard output, for each source: a line `compiled LENGTH` and LENGTH bytes of a .pyc file, or a line `failed 0`. It
# ends with its input, or with the first of its forks that ends badly.
import sys

# For `-c` the first place of imports is the working directory.
sys.path[:] = [place for place in sys.path if place]

# What is built in, and no module of the library: those take longer to be found than everything else here.
import _imp
import gc
import marshal
import posix
from _frozen_importlib_external import MAGIC_NUMBER

# What marshal writes depends on reference counts, so nothing may be freed at a moment that chance decides.
gc.disable()
# PEP 552: hash-based, not checked against the source when imported.
HEAD = MAGIC_NUMBER + (0b01).to_bytes(4, "little")
# As importlib.util.source_hash has it, which 3.14 has under another name.
HASH_KEY = getattr(_imp, "pyc_magic_number_token", int.from_bytes(MAGIC_NUMBER, "little"))


# Bytes of answers that are written at a time.
PORTION = 1 << 18


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


def compiled(name, source):
    # As importlib.machinery.SourceFileLoader does it; the file name in the code object is the path below the prefix.
    code = compile(source, name.decode("utf-8"), "exec", dont_inherit=True, optimize=0)
    return HEAD + _imp.source_hash(HASH_KEY, source) + marshalled(code)


def answer(sources):
    opened, last = None, None
    answers, waiting = [], 0
    for start, size, file, name in sources:
        if file != last:
            if last:
                posix.close(opened)
            opened = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC)
            last = file
        source = posix.pread(opened, size, start)
        if len(source) != size:
            raise EOFError("the source was cut")
        try:
            pyc = compiled(name, source)
        except Exception:
            # Templates, code for another Python, or files that only look like Python: not this program's to judge.
            said = b"failed 0\n"
        else:
            said = b"compiled %d\n" % len(pyc) + pyc
        answers.append(said)
        waiting += len(said)
        # Whoever reads is not woken for each of them.
        if waiting >= PORTION:
            say(answers)
            waiting = 0
    say(answers)


def say(answers):
    sys.stdout.buffer.write(b"".join(answers))
    sys.stdout.buffer.flush()
    answers.clear()


def answer_aside(sources):
    child = posix.fork()
    if not child:
        try:
            answer(sources)
        except BaseException as error:
            sys.stderr.write("%r\n" % error)
            sys.stderr.flush()
            posix._exit(1)
        posix._exit(0)
    status = posix.waitpid(child, 0)[1]
    if status:
        sys.exit("the process that compiles ended with status %d" % status)


def read_sources(requests, count):
    sources, last = [], b""
    for _ in range(count):
        start, size, file, name = map(int, requests.readline().split())
        last = requests.read(file) or last
        sources.append((start, size, last, requests.read(name)))
    return sources


def main():
    requests = sys.stdin.buffer
    while True:
        head = requests.readline()
        if not head:
            return
        answer_aside(read_sources(requests, int(head)))


main()

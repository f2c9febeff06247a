#!/bin/sh
''':' # with-environment FILE... -- COMMAND [ARG...]: runs a command with the variables of environment files.
exec "${0%/*}/../bin/python" -I -S "$0" "$@"
: <<'# end'
'''
# Made by pkgapp. Reads files as systemd does for services (EnvironmentFile= in systemd.exec(5)), so that cron jobs and
# migrations get the same variables: this is the state machine of systemd's src/basic/env-file.c, on bytes.
import os
import signal
import sys

BLANK = b" \t\n\r"
LINE_END = b"\n\r"


def assignments(text):
    """Yields keys and values, valid or not."""
    state, key, value = "before key", bytearray(), bytearray()
    # Where blanks begin that go if nothing but blanks follows.
    key_end = value_end = None

    def pair():
        return bytes(key[:key_end]), bytes(value[: value_end if state == "value" else None])

    for number in text:
        c = bytes((number,))
        if state == "before key":
            if c in b"#;":
                state = "comment"
            elif c not in BLANK:
                state, key, key_end = "key", bytearray(c), None
        elif state == "key":
            if c in LINE_END:
                state = "before key"
            elif c == b"=":
                state, value, value_end = "before value", bytearray(), None
            else:
                if c not in BLANK:
                    key_end = None
                elif key_end is None:
                    key_end = len(key)
                key += c
        elif state in ("before value", "value"):
            if c in LINE_END:
                yield pair()
                state = "before key"
            elif c == b"\\":
                state, value_end = "escape", None
            elif state == "before value" and c in b"'\"":
                state = "single" if c == b"'" else "double"
            elif state == "value" or c not in BLANK:
                if c not in BLANK:
                    value_end = None
                elif value_end is None:
                    value_end = len(value)
                value += c
                state = "value"
        elif state == "escape":
            state = "value"
            if c not in LINE_END:
                value += c
        elif state == "single":
            if c == b"'":
                state = "before value"
            else:
                value += c
        elif state == "double":
            if c == b'"':
                state = "before value"
            elif c == b"\\":
                state = "double escape"
            else:
                value += c
        elif state == "double escape":
            state = "double"
            if c in b'"\\`$':
                value += c
            elif c != b"\n":
                value += b"\\" + c
        elif state == "comment":
            if c == b"\\":
                state = "comment escape"
            elif c in LINE_END:
                state = "before key"
        elif state == "comment escape":
            state = "comment"
    if state not in ("before key", "key", "comment", "comment escape"):
        yield pair()


def check_text(text):
    """Fails as systemd does for what is no UTF-8, or none of Unicode's characters."""
    for c in text.decode("utf-8"):
        if 0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE:
            raise ValueError("it holds U+%04X, which is no character" % ord(c))


def is_name(key):
    letters = b"_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return key != b"" and key[:1] in letters and not key.strip(letters + b"0123456789")


def read(path):
    with open(path, "rb") as file:
        text = file.read()
    if b"\0" in text:
        raise ValueError("it holds a NUL character")
    found = {}
    for key, value in assignments(text):
        check_text(key)
        check_text(value)
        if is_name(key):
            found[key] = value
    return found


def initial():
    """What this was started with: Python itself may have set LC_CTYPE since."""
    try:
        with open("/proc/self/environ", "rb") as file:
            block = file.read()
    except OSError:
        return dict(os.environb)
    return dict(entry.split(b"=", 1) for entry in block.split(b"\0") if b"=" in entry)


def main():
    end = sys.argv.index("--")
    environment = initial()
    for path in sys.argv[1:end]:
        # What lies elsewhere than in the application's own directory may be missing or wrong: -FILE. But systemd may read
        # everything, so that a file which only this user can't read is no missing one.
        may_fail = path.startswith("-")
        try:
            environment.update(read(path[1:] if may_fail else path))
        except (OSError, ValueError) as error:
            if not may_fail or isinstance(error, PermissionError):
                sys.exit("with-environment: cannot read `%s`: %s" % (path, error))
    command = sys.argv[end + 1 :]
    # Python ignores these, and what it executes would, too.
    for name in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)
    try:
        if "/" in command[0]:
            os.execve(command[0], command, environment)
        os.environb.clear()
        os.environb.update(environment)
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write("with-environment: cannot run `%s`: %s\n" % (command[0], error))
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


main()
# end

"""Made by pkgapp: asks services whether they work, and writes metrics for Prometheus' node-exporter.

monitor ask LIST UNIT                          asks once; says why the answer is not good
monitor watch MANAGER UNIT INTERVAL GRACE REQUEST...
                                               ends with 3 if three answers in a row were not good
monitor metrics APP FILE LIST RECORD UNIT...   writes the file

A request is what stands in a line of LIST: UNIT USER HOST STATUS TIMEOUT PATH ADDRESS.
"""
import http.client
import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time

# What is asked of systemd's ExecStopPost= only after this status.
UNHEALTHY = 3


class Request:
    def __init__(self, fields):
        self.unit, self.user, self.host, status, timeout, self.path, self.address = fields
        self.status = None if status == "-" else int(status)
        self.timeout = float(timeout)

    def __str__(self):
        return "`%s` at `%s`" % (self.path, self.address)

    def is_good(self, status):
        return 200 <= status < 400 if self.status is None else status == self.status


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.socket_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)


def connection(request):
    if request.address.startswith("/"):
        return SocketConnection(request.address, request.timeout)
    host, port = request.address.rsplit(":", 1)
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=request.timeout)


def ring(*_):
    raise socket.timeout("no answer in time")


def ask(request):
    """Returns why the answer is not good, or nothing."""
    # A timeout of the socket begins anew with each byte; this one is for the whole answer.
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, request.timeout)
    try:
        asked = connection(request)
        asked.putrequest("GET", request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in ("Host", request.host), ("User-Agent", "pkgapp"), ("Connection", "close"):
            asked.putheader(name, value)
        asked.endheaders()
        status = asked.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return "%s: %s" % (request, error or type(error).__name__)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "" if request.is_good(status) else "%s: status %d" % (request, status)


def ask_as_user(request):
    """Does the same as the service's user, whom a path below its own directories leads nowhere new."""
    if os.geteuid() != 0 or request.user == "root":
        return ask(request)
    try:
        user = pwd.getpwnam(request.user)
    except KeyError:
        return "%s: there is no user `%s`" % (request, request.user)
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.write(write, ("-" + ask(request)).encode("utf-8", "replace")[:1000])
        finally:
            os._exit(0)
    os.close(write)
    # The child is the user's to stop, so nobody waits for its end; systemd ends it with the unit.
    is_done = select.select([read], [], [], request.timeout + 2)[0]
    said = os.read(read, 1000).decode("utf-8", "replace") if is_done else ""
    os.close(read)
    return said[1:] if said.startswith("-") else "%s: it could not be asked" % request


def requests(path):
    with open(path, encoding="utf-8") as lines:
        return [Request(line.rstrip("\n").split(" ", 6)) for line in lines]


def visible(text):
    return "".join(c if c.isprintable() else "?" for c in text)


def systemctl(manager, *words):
    command = ["systemctl"] + (["--user"] if manager == "user" else []) + list(words)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.stderr.strip() and not done.stdout:
        sys.exit("cannot ask systemd: " + visible(done.stderr.strip()))
    return done.stdout.splitlines()


def running(manager, unit):
    """Returns which run of the unit goes on, and since when in seconds of the kernel's clock; or nothing."""
    names = "ActiveState", "InvocationID", "ActiveEnterTimestampMonotonic"
    lines = systemctl(manager, "show", "--property=" + ",".join(names), unit)
    state = dict(line.split("=", 1) for line in lines if "=" in line)
    if state.get("ActiveState") != "active":
        return None
    return state["InvocationID"], int(state["ActiveEnterTimestampMonotonic"]) / 1e6


def watch(manager, unit, interval, grace, request):
    # A request would start a service that is stopped, if systemd listens for it.
    run = running(manager, unit)
    if run is None or time.monotonic() - run[1] < grace:
        return 0
    for attempt in range(3):
        if attempt > 0:
            time.sleep(interval)
            if running(manager, unit) != run:
                return 0
        why = ask(request)
        if not why:
            return 0
        print("%s (%d of 3)" % (visible(why), attempt + 1), flush=True)
    return UNHEALTHY if running(manager, unit) == run else 0


def escaped(text):
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Exposition:
    """Text in Prometheus' format. The help of a metric is the same in the files of all applications and versions."""

    def __init__(self, app):
        self.app, self.lines = app, []

    def metric(self, name, help, samples):
        self.lines += ["# HELP %s %s" % (name, help), "# TYPE %s gauge" % name]
        for value, labels in samples:
            all_labels = [("app", self.app)] + labels
            text = ",".join('%s="%s"' % (key, escaped(value)) for key, value in all_labels)
            self.lines.append("%s{%s} %s" % (name, text, value))

    def text(self):
        return "".join(line + "\n" for line in self.lines)


def exposition(app, asked, record, units):
    with open(record, encoding="utf-8") as file:
        release = json.load(file)
    installed = int(os.stat(record).st_ctime)
    states = dict(zip(units, systemctl("system", "is-active", *units)))
    active = {unit: state in ("active", "reloading") for unit, state in states.items()}
    text = Exposition(app)
    labels = [("version", release.get("version") or ""), ("commit", release.get("commit") or "")]
    text.metric("pkgapp_release_info", "The release of an application that is installed.", [(1, labels)])
    text.metric(
        "pkgapp_last_install_timestamp_seconds",
        "When the files of the application were installed.",
        [(installed, [])],
    )
    text.metric(
        "pkgapp_unit_active",
        "Whether a unit of the application is active.",
        [(int(active.get(unit, False)), [("unit", unit)]) for unit in units],
    )
    if asked:
        up = [(int(active.get(each.unit, False) and not ask_as_user(each)), each) for each in asked]
        text.metric(
            "pkgapp_health_up",
            "Whether a service of the application runs and answers its health path.",
            [(value, [("service", service_of(app, each.unit))]) for value, each in up],
        )
    return text.text()


def service_of(app, unit):
    return unit[len(app) + 1 : -len(".service")]


def opened(directory):
    """Opens a directory; symbolic links on the way are followed where nobody but root can make them."""
    inside = os.open("/", os.O_RDONLY)
    for name in directory.strip("/").split("/"):
        holder = os.fstat(inside)
        is_roots = holder.st_uid == 0 and not holder.st_mode & 0o022
        flags = os.O_RDONLY | os.O_DIRECTORY | (0 if is_roots else os.O_NOFOLLOW)
        within = os.open(name, flags, dir_fd=inside)
        os.close(inside)
        inside = within
    return inside


def replace(file, text):
    """Puts the text into a file of a directory that may be another user's."""
    directory, name = os.path.split(file)
    new = "." + name + ".new"
    inside = opened(directory)
    try:
        os.unlink(new, dir_fd=inside)
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(new, flags, 0o644, dir_fd=inside), "w", encoding="utf-8") as out:
        out.write(text)
    os.rename(new, name, src_dir_fd=inside, dst_dir_fd=inside)


def metrics(app, file, asked, record, units):
    # While the package is replaced, the file comes and goes with it.
    if os.path.exists("/run/pkgapp/%s/units" % app):
        return
    text = exposition(app, requests(asked) if asked != "-" else [], record, units)
    try:
        replace(file, text)
    except OSError as error:
        sys.exit("cannot write `%s`: %s; node-exporter reads the directory" % (file, error.strerror))


def main(command, *words):
    if command == "ask":
        for request in requests(words[0]):
            if request.unit == words[1]:
                sys.exit(visible(ask_as_user(request)) or 0)
    elif command == "watch":
        manager, unit, interval, grace = words[:4]
        sys.exit(watch(manager, unit, float(interval), float(grace), Request(words[4:])))
    elif command == "metrics":
        metrics(words[0], words[1], words[2], words[3], words[4:])


if __name__ == "__main__":
    main(*sys.argv[1:])

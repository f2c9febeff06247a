# What rpm knows and does, whoever calls it. Every manager's functions have these names; those of the manager's own file come
# after these and replace them.
kind=rpm

# status_of PACKAGE: its version; rpm has nothing between installed and not.
status_of() { rpm -q --qf '%{EPOCHNUM}:%{VERSION}-%{RELEASE}\n' "$1" 2>/dev/null | grep -v ' ' | sed 's/^0://' | tail -n1; }
# version_in STATUS: the version, if all of it is installed.
version_in() { say "$1"; }
# half_in STATUS: what is neither installed nor absent.
half_in() { :; }
# version_of PACKAGE: what is installed of it.
version_of() { status_of "$1"; }
# compared A B: prints 1, 0 or -1, as rpm orders these versions. They reach rpm's Lua by the environment, as data: in the
# text of a macro they would be code that root runs.
compared() { A=$1 B=$2 rpm --eval '%{lua:print(rpm.vercmp(os.getenv("A"), os.getenv("B")))}'; }
# files_of PACKAGE...: the paths of what is installed.
files_of() { rpm -ql "$@" 2>/dev/null; }
# changed_files PACKAGE: what differs from the package, a line each.
changed_files() { rpm -V "$1" | grep -v ' is not installed$'; }
# unpack_package FILE: into this directory.
unpack_package() {
  rpm2cpio "$1" >../payload || exit 1
  if has cpio; then cpio --quiet -idm --no-absolute-filenames <../payload
  else
    python=$(command -v python3 || ls /usr/libexec/platform-python /usr/bin/python3.* 2>/dev/null | head -n1)
    [ -n "$python" ] || fail "neither cpio nor python3 is there to unpack the rpm"
    "$python" - ../payload <<'PYTHON'
import os, sys
with open(sys.argv[1], 'rb') as payload:
    while True:
        header = payload.read(110)
        field = [int(header[6 + 8 * i:14 + 8 * i], 16) for i in range(13)]
        mode, size, length = field[1], field[6], field[11]
        name = os.path.normpath(payload.read(length)[:-1].decode()).lstrip('/')
        payload.read(-(110 + length) % 4)
        if name == 'TRAILER!!!':
            break
        content = payload.read(size)
        payload.read(-size % 4)
        if name.startswith('..'):
            raise SystemExit(name + ' is outside')
        os.makedirs(os.path.dirname(name) or '.', exist_ok=True)
        if mode & 0o170000 == 0o040000:
            os.makedirs(name, exist_ok=True)
        elif mode & 0o170000 == 0o120000:
            os.symlink(content, name)
        else:
            with open(name, 'wb') as file:
                file.write(content)
            os.chmod(name, mode & 0o7777)
PYTHON
  fi && rm -f ../payload
}

# For the facts of a host.
database=/var/lib/rpm
lock_files() { say /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock; }
# Whether what is read-only is remounted for an installation.
remounts() { return 1; }
# offered_version PACKAGE: what repositories have of this name, as far as the host knows without asking them.
offered_version() { :; }
# Whether the manager has to be told to end where another process holds its lock.
exits_on_lock() { return 1; }
# insists: who refuses packages without a signature, and where that is said: rpm's manual on signatures.
insists() {
  manager_insists && return
  case $(rpm --eval '%{_pkgverify_level}' 2>/dev/null) in signature | all) say "rpm, by its macro \`%_pkgverify_level\`" ;; esac
}
manager_insists() { return 1; }
# unmet RELATIONS: prints those, one a line, that nothing meets: neither what is installed nor what a repository has.
unmet() {
  printf '%s\n' "$1" | while read -r capability operator wanted; do
    case $capability in '' | '('* | rpmlib\(*) continue ;; esac
    provided "$capability" "$operator" "$wanted" </dev/null && continue
    relation=$capability${operator:+ $operator $wanted}
    offered "$relation" </dev/null || say "$relation"
  done
}
# What rpm's database says: provided CAPABILITY [OPERATOR VERSION].
provided() {
  if [ -z "$2" ]; then rpm -q --quiet --whatprovides -- "$1" 2>/dev/null || [ -e "$1" ]; return; fi
  rpm -q --qf '[%{PROVIDENAME}\t%{PROVIDEVERSION}\n]' --whatprovides -- "$1" 2>/dev/null | while IFS="$(printf '\t')" read -r its version; do
    [ "$its" = "$1" ] || continue
    # A release counts only if both have one, and who says no version has all of them (rpm's manual, "Dependencies").
    case $3 in *-*) ;; *) version=${version%-*} ;; esac
    case $2$([ -z "$version" ] || compared "$version" "$3") in
      '>=' | '<=' | '=' | '>' | '<' | '>=1' | '>=0' | '<=-1' | '<=0' | '=0' | '>1' | '<-1') say yes; break ;;
    esac
  done | grep -q yes
}
# offered RELATION: by a repository, as far as there is someone to ask.
offered() { return 1; }

# For transactions. `carry_out WAY ARGUMENT...` runs the command that pkgapp has built for a way, by `call`.
call() { run "$@"; }
# replaced_by FILE: the names of the packages whose place it takes.
replaced_by() { rpm -qp --obsoletes "$1" 2>/dev/null | sed 's/ .*//'; }
# only_gone_lack FILE...: whether nothing but `gone` speaks against these packages, because it needs those that they replace.
only_gone_lack() {
  [ -n "$gone" ] || return
  rpm -U --test --oldpackage --replacepkgs "$@" 2>&1 | grep -e '(installed)' -e ' conflicts with ' -e ' obsoleted by ' | while read -r line; do
    for each in $gone; do case $line in *"(installed) $each-"*) continue 2 ;; esac; done
    say "$line"
  done | grep -q . && return 1
  return 0
}
# install_at_once FILE...: installs these packages, whatever versions are there, in the place of `gone`.
install_at_once() {
  if only_gone_lack "$@"; then forget_gone || return; fi
  carry_out by_rpm "$@" && remove_orphans
}
# forget_gone: rpm removes no package in the transaction that installs another one, so it forgets them before. Their files become
# those of the new packages, and units keep running.
# shellcheck disable=SC2086  # names
forget_gone() {
  rpm -q --qf '[%{FILEFLAGS:fflags}|%{FILENAMES}\n]' $gone >"$dir/orphans" && mkdir -p "/run/pkgapp/$name" || return
  # For the scripts of the new packages: none of these units is new.
  sed -n 's#^[^|]*|/usr/lib/systemd/system/##p' "$dir/orphans" | tr '\n' ' ' | tee "/run/pkgapp/$name/units" >"/run/pkgapp/$name/files"
  carry_out forget $gone
}
# remove_orphans: does with files that no package has any more what rpm does when it removes a package.
remove_orphans() {
  [ -s "$dir/orphans" ] || return 0
  sort -t '|' -k 2 -r "$dir/orphans" | while IFS='|' read -r flags path; do
    if rpm -qf --quiet "$path" >/dev/null 2>&1; then continue; fi
    case $flags in
      # Nobody's edits are lost, and secrets are no package's.
      *c*) if [ -f "$path" ]; then mv -f "$path" "$path.rpmsave"; fi ;;
      *g*) ;;
      *) if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2>/dev/null; else rm -f "$path"; fi ;;
    esac
  done
  [ -n "$(own_configuration)" ] || rm -f "/etc/$name/environment" "/run/pkgapp/$name/stamp"
}
# install_packages FILE...: installs the files and `with`, and removes `gone`.
install_packages() { install_at_once ${with:+"$with"} "$@"; }
# shellcheck disable=SC2046  # names
remove_packages() { carry_out remove $(installed_parts); }
repair() { # what an interruption leaves
  # An rpm that was interrupted may be there twice; the older one goes from the database alone.
  for each in $parts $runtime; do
    rpm -q --qf '%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH} %{NVRA}\n' "$each" | grep -v ' is not ' >"$dir/twice"
    if [ "$(wc -l <"$dir/twice")" -gt 1 ]; then
      head -n -1 "$dir/twice" | while read -r _ full; do run rpm -e --justdb --nodeps --noscripts "$full"; done
    fi
  done
}
# Whatever has left it: the way back of an earlier transaction on a full disk, say, after which nobody tries again.
is_half_done() {
  for each in $parts; do [ "$(rpm -q "$each" | wc -l)" -le 1 ] || return 0; done
  return 1
}
# Prints those lines of its input that blame a package's script.
script_failures() { grep -e 'scriptlet failed' -e 'Error in .* scriptlet'; }
# put_aside FILE: what of a configuration was not put in place, later than FILE.
put_aside() { find /etc -xdev -newer "$1" \( -name '*.rpmnew' -o -name '*.rpmsave' \) 2>/dev/null; }

# Unpacks packages beside everything else, to run their code before they are installed. Arguments: the directory, and of
# each package its file and its SHA-256.
hold_lock
umask 022
staged=$1
shift
# It is not synced, so after a loss of power it may lack anything.
if [ -d "$staged" ] && [ "$(first_line "$state/staged/boot")" = "$(boot_id)" ]; then exit 0; fi
rm -rf "$state/staged"
mkdir -p "$state/staged/new" && boot_id >"$state/staged/boot" || fail "cannot write to $state/staged"
cd "$state/staged/new" || exit 1
unpack() { # FILE
  case $1 in
    *.deb) dpkg-deb -x "$1" . ;;
    *.rpm)
      rpm2cpio "$1" >../payload || exit 1
      if command -v cpio >/dev/null; then cpio --quiet -idm --no-absolute-filenames <../payload
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
      fi
      rm -f ../payload
      ;;
    *) fail "$1 is neither a deb nor an rpm" ;;
  esac || fail "cannot unpack $1"
}
while [ $# -ge 2 ]; do
  [ "$(sha256_of "$1")" = "$2" ] || fail "$1 is damaged"
  unpack "$1"
  shift 2
done
mv "$state/staged/new" "$staged"

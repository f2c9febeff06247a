//! Recognizes what a build lacks on this machine, by the output of compilers and configuration
//! scripts, and names the packages that provide it.

/// Headers and programs with the packages of Debian and Red Hat that provide them. A name that ends
/// in `/` is a directory of headers.
const PACKAGES: &[(&str, &str, &str)] = &[
    ("Python.h", "python3-dev", "python3-devel"),
    ("augeas.h", "libaugeas-dev", "augeas-devel"),
    ("boost/", "libboost-all-dev", "boost-devel"),
    ("bzlib.h", "libbz2-dev", "bzip2-devel"),
    ("cairo.h", "libcairo2-dev", "cairo-devel"),
    ("cmake", "cmake", "cmake"),
    ("crypt.h", "libcrypt-dev", "libxcrypt-devel"),
    ("curl-config", "libcurl4-openssl-dev", "libcurl-devel"),
    ("curl/", "libcurl4-openssl-dev", "libcurl-devel"),
    ("curses.h", "libncurses-dev", "ncurses-devel"),
    ("dbus/", "libdbus-1-dev", "dbus-devel"),
    ("event.h", "libevent-dev", "libevent-devel"),
    ("ev.h", "libev-dev", "libev-devel"),
    ("expat.h", "libexpat1-dev", "expat-devel"),
    ("ffi.h", "libffi-dev", "libffi-devel"),
    ("ft2build.h", "libfreetype-dev", "freetype-devel"),
    ("gdal-config", "libgdal-dev", "gdal-devel"),
    ("gdal.h", "libgdal-dev", "gdal-devel"),
    ("geos-config", "libgeos-dev", "geos-devel"),
    ("geos_c.h", "libgeos-dev", "geos-devel"),
    (
        "girepository.h",
        "libgirepository1.0-dev",
        "gobject-introspection-devel",
    ),
    ("glib.h", "libglib2.0-dev", "glib2-devel"),
    ("gmp.h", "libgmp-dev", "gmp-devel"),
    ("gnutls/", "libgnutls28-dev", "gnutls-devel"),
    ("gssapi.h", "libkrb5-dev", "krb5-devel"),
    ("gssapi/", "libkrb5-dev", "krb5-devel"),
    ("hdf5.h", "libhdf5-dev", "hdf5-devel"),
    ("jpeglib.h", "libjpeg-dev", "libjpeg-turbo-devel"),
    ("krb5-config", "libkrb5-dev", "krb5-devel"),
    ("krb5.h", "libkrb5-dev", "krb5-devel"),
    (
        "lber.h",
        "libldap2-dev libsasl2-dev",
        "openldap-devel cyrus-sasl-devel",
    ),
    ("lcms2.h", "liblcms2-dev", "lcms2-devel"),
    (
        "ldap.h",
        "libldap2-dev libsasl2-dev",
        "openldap-devel cyrus-sasl-devel",
    ),
    ("librdkafka/", "librdkafka-dev", "librdkafka-devel"),
    ("libvirt/", "libvirt-dev", "libvirt-devel"),
    ("libxml/", "libxml2-dev", "libxml2-devel"),
    ("libxslt/", "libxslt1-dev", "libxslt-devel"),
    ("lzma.h", "liblzma-dev", "xz-devel"),
    ("magic.h", "libmagic-dev", "file-devel"),
    ("mpfr.h", "libmpfr-dev", "mpfr-devel"),
    (
        "mysql.h",
        "default-libmysqlclient-dev",
        "mariadb-connector-c-devel",
    ),
    (
        "mysql_config",
        "default-libmysqlclient-dev",
        "mariadb-connector-c-devel",
    ),
    ("ncurses.h", "libncurses-dev", "ncurses-devel"),
    ("openssl/", "libssl-dev", "openssl-devel"),
    ("pcap.h", "libpcap-dev", "libpcap-devel"),
    ("pg_config", "libpq-dev", "libpq-devel"),
    ("libpq-fe.h", "libpq-dev", "libpq-devel"),
    ("pkg-config", "pkg-config", "pkgconf-pkg-config"),
    ("portaudio.h", "portaudio19-dev", "portaudio-devel"),
    ("proj.h", "libproj-dev", "proj-devel"),
    ("readline/", "libreadline-dev", "readline-devel"),
    ("sasl/", "libsasl2-dev", "cyrus-sasl-devel"),
    ("security/", "libpam0g-dev", "pam-devel"),
    ("snappy-c.h", "libsnappy-dev", "snappy-devel"),
    ("sodium.h", "libsodium-dev", "libsodium-devel"),
    ("sql.h", "unixodbc-dev", "unixODBC-devel"),
    ("sqlite3.h", "libsqlite3-dev", "sqlite-devel"),
    ("stdio.h", "libc6-dev", "glibc-devel"),
    ("stdlib.h", "libc6-dev", "glibc-devel"),
    ("systemd/", "libsystemd-dev", "systemd-devel"),
    ("tiffio.h", "libtiff-dev", "libtiff-devel"),
    ("uuid/", "uuid-dev", "libuuid-devel"),
    ("webp/", "libwebp-dev", "libwebp-devel"),
    ("xmlsec/", "libxmlsec1-dev", "xmlsec1-devel"),
    ("yaml.h", "libyaml-dev", "libyaml-devel"),
    ("zlib.h", "zlib1g-dev", "zlib-devel"),
    ("zmq.h", "libzmq3-dev", "zeromq-devel"),
];

/// Phrases of configuration scripts that name no file, and the file or program that they look for.
const PHRASES: &[(&str, &str)] = &[
    ("pg_config executable not found", "pg_config"),
    ("mysql_config: not found", "mysql_config"),
    ("mysql_config not found", "mysql_config"),
    ("Can not find valid pkg-config name", "mysql.h"),
    (
        "libxml2 and libxslt development packages are installed",
        "libxslt/",
    ),
    ("gdal-config", "gdal-config"),
    ("geos-config", "geos-config"),
    ("curl-config", "curl-config"),
    ("krb5-config: not found", "krb5-config"),
    ("pkg-config: not found", "pkg-config"),
];

/// Returns what to install, from the output of a failed build: the first thing that is missing.
pub fn way_out(output: &str) -> Option<String> {
    if let Some(header) = output.lines().find_map(header) {
        let (debian, red_hat) = packages(header)?;
        return Some(format!(
            "`{header}` is missing on this machine: install package `{debian}` (Debian, Ubuntu) or `{red_hat}` (Fedora, \
             EL), or pin a version that has a wheel"
        ));
    }
    if output.lines().any(is_no_compiler) {
        return Some(
            "there is no C compiler on this machine: install package `build-essential` (Debian, Ubuntu) or `gcc-c++` \
             (Fedora, EL), or pin a version that has a wheel"
                .to_owned(),
        );
    }
    let (_, wanted) = PHRASES.iter().find(|(phrase, _)| output.contains(phrase))?;
    let (debian, red_hat) = packages(wanted)?;
    Some(format!(
        "install package `{debian}` (Debian, Ubuntu) or `{red_hat}` (Fedora, EL) on this machine, or pin a version that has \
         a wheel"
    ))
}

/// Returns the missing header in a line of GCC (`x.c:1:10: fatal error: x.h: No such file or
/// directory`) or Clang (`fatal error: 'x.h' file not found`).
fn header(line: &str) -> Option<&str> {
    let (_, error) = line.split_once("fatal error: ")?;
    let gcc = || error.strip_suffix(": No such file or directory");
    let clang = || error.strip_prefix('\'')?.strip_suffix("' file not found");
    let plain = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-+./".contains(&byte))
    };
    gcc().or_else(clang).filter(plain)
}

/// Returns whether a line states that a compiler cannot be started, as setuptools and meson write
/// it.
fn is_no_compiler(line: &str) -> bool {
    let names_one = ["gcc", "'cc'", "g++", "clang"]
        .iter()
        .any(|name| line.contains(name));
    (line.contains("command '") && names_one && line.contains("No such file or directory"))
        || line.contains("Unknown compiler(s)")
}

/// Returns the packages with a header or a program, of Debian and Red Hat.
fn packages(wanted: &str) -> Option<(&'static str, &'static str)> {
    let fits = |name: &str| match name.strip_suffix('/') {
        Some(directory) => {
            wanted == name
                || wanted
                    .strip_prefix(directory)
                    .is_some_and(|rest| rest.starts_with('/'))
        }
        None => wanted == name,
    };
    PACKAGES
        .iter()
        .find(|(name, ..)| fits(name))
        .map(|(_, debian, red_hat)| (*debian, *red_hat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compilers_and_scripts_print_names_the_packages() {
        for (output, debian, red_hat) in [
            (
                "x.c:3:10: fatal error: libpq-fe.h: No such file or directory\n",
                "`libpq-dev`",
                "`libpq-devel`",
            ),
            (
                "src/x.c:4:10: fatal error: 'ffi.h' file not found\n",
                "`libffi-dev`",
                "`libffi-devel`",
            ),
            (
                "a\nx.h:1:9: fatal error: libxml/xmlversion.h: No such file or directory",
                "`libxml2-dev`",
                "`libxml2-devel`",
            ),
            (
                "Error: pg_config executable not found.\n",
                "`libpq-dev`",
                "`libpq-devel`",
            ),
            (
                "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
                "`build-essential`",
                "`gcc-c++`",
            ),
            (
                "Exception: Can not find valid pkg-config name.",
                "`default-libmysqlclient-dev`",
                "`mariadb-connector-c-devel`",
            ),
        ] {
            let hint = way_out(output).unwrap_or_default();
            assert!(
                hint.contains(debian) && hint.contains(red_hat),
                "{output}: {hint}"
            );
        }
        for output in [
            "",
            "fatal error: own.h: No such file or directory",
            "No such file or directory: 'gcc.txt'",
        ] {
            assert_eq!(way_out(output), None, "{output}");
        }
    }
}

//! Debian and Ubuntu packages with shared libraries, for `Depends:`, where rpm instead names the
//! library itself.
//!
//! Sources: the `symbols` and `shlibs` files of packages in Debian 11 to 13 and Ubuntu 20.04 to
//! 26.04. Names that end in `t64` are those of Debian 13 and Ubuntu 24.04 (64-bit `time_t`
//! transition); the older name is an alternative.

use std::collections::BTreeMap;

use pkgapp_core::error::{Error, Result};
use pkgapp_release::depends::{HostDependencies, HostLibrary};

/// Alternative packages for each soname, sorted by soname.
const PACKAGES: &[(&str, &[&str])] = &[
    ("libEGL.so.1", &["libegl1"]),
    ("libGL.so.1", &["libgl1"]),
    ("libGLX.so.0", &["libglx0"]),
    ("libICE.so.6", &["libice6"]),
    ("libOpenGL.so.0", &["libopengl0"]),
    ("libSM.so.6", &["libsm6"]),
    ("libX11-xcb.so.1", &["libx11-xcb1"]),
    ("libX11.so.6", &["libx11-6"]),
    ("libXext.so.6", &["libxext6"]),
    ("libXrender.so.1", &["libxrender1"]),
    ("libacl.so.1", &["libacl1"]),
    ("libaio.so.1", &["libaio1"]),
    ("libasound.so.2", &["libasound2", "libasound2t64"]),
    ("libatomic.so.1", &["libatomic1"]),
    ("libattr.so.1", &["libattr1"]),
    ("libaugeas.so.0", &["libaugeas0"]),
    ("libblas.so.3", &["libblas3"]),
    ("libblkid.so.1", &["libblkid1"]),
    ("libbrotlidec.so.1", &["libbrotli1"]),
    ("libbrotlienc.so.1", &["libbrotli1"]),
    // Red Hat's soname; Debian's package also has a link of that name.
    ("libbz2.so.1", &["libbz2-1.0"]),
    ("libbz2.so.1.0", &["libbz2-1.0"]),
    ("libcairo.so.2", &["libcairo2"]),
    ("libcap.so.2", &["libcap2"]),
    ("libcom_err.so.2", &["libcom-err2"]),
    ("libcrypt.so.1", &["libcrypt1"]),
    ("libcrypto.so.1.1", &["libssl1.1"]),
    ("libcrypto.so.3", &["libssl3", "libssl3t64"]),
    (
        "libcurl-gnutls.so.4",
        &["libcurl3-gnutls", "libcurl3t64-gnutls"],
    ),
    ("libcurl.so.4", &["libcurl4", "libcurl4t64"]),
    ("libdb-5.3.so", &["libdb5.3", "libdb5.3t64"]),
    ("libdbus-1.so.3", &["libdbus-1-3"]),
    ("libedit.so.2", &["libedit2"]),
    ("libexpat.so.1", &["libexpat1"]),
    ("libexslt.so.0", &["libxslt1.1"]),
    ("libffi.so.6", &["libffi6"]),
    ("libffi.so.7", &["libffi7"]),
    ("libffi.so.8", &["libffi8"]),
    ("libfontconfig.so.1", &["libfontconfig1"]),
    ("libfreetype.so.6", &["libfreetype6"]),
    ("libfribidi.so.0", &["libfribidi0"]),
    ("libgbm.so.1", &["libgbm1"]),
    ("libgcrypt.so.20", &["libgcrypt20"]),
    ("libgdbm.so.6", &["libgdbm6", "libgdbm6t64"]),
    (
        "libgdbm_compat.so.4",
        &["libgdbm-compat4", "libgdbm-compat4t64"],
    ),
    ("libgfortran.so.5", &["libgfortran5"]),
    ("libglib-2.0.so.0", &["libglib2.0-0", "libglib2.0-0t64"]),
    ("libgio-2.0.so.0", &["libglib2.0-0", "libglib2.0-0t64"]),
    ("libgmodule-2.0.so.0", &["libglib2.0-0", "libglib2.0-0t64"]),
    ("libgobject-2.0.so.0", &["libglib2.0-0", "libglib2.0-0t64"]),
    ("libgmp.so.10", &["libgmp10"]),
    ("libgnutls.so.30", &["libgnutls30", "libgnutls30t64"]),
    ("libgomp.so.1", &["libgomp1"]),
    ("libgssapi_krb5.so.2", &["libgssapi-krb5-2"]),
    ("libharfbuzz.so.0", &["libharfbuzz0b"]),
    ("libidn2.so.0", &["libidn2-0"]),
    ("libjpeg.so.62", &["libjpeg62-turbo"]),
    ("libjpeg.so.8", &["libjpeg-turbo8"]),
    ("libk5crypto.so.3", &["libk5crypto3"]),
    ("libkeyutils.so.1", &["libkeyutils1"]),
    ("libkrb5.so.3", &["libkrb5-3"]),
    ("libkrb5support.so.0", &["libkrb5support0"]),
    ("liblapack.so.3", &["liblapack3"]),
    ("liblber-2.4.so.2", &["libldap-2.4-2"]),
    ("liblber-2.5.so.0", &["libldap-2.5-0"]),
    ("liblber.so.2", &["libldap2"]),
    ("liblcms2.so.2", &["liblcms2-2"]),
    ("libldap-2.4.so.2", &["libldap-2.4-2"]),
    ("libldap-2.5.so.0", &["libldap-2.5-0"]),
    ("libldap.so.2", &["libldap2"]),
    ("libldap_r-2.4.so.2", &["libldap-2.4-2"]),
    ("liblz4.so.1", &["liblz4-1"]),
    ("liblzma.so.5", &["liblzma5"]),
    ("libmagic.so.1", &["libmagic1", "libmagic1t64"]),
    ("libmariadb.so.3", &["libmariadb3"]),
    ("libmount.so.1", &["libmount1"]),
    ("libmpdec.so.2", &["libmpdec2"]),
    ("libmpdec.so.3", &["libmpdec3"]),
    ("libmpdec.so.4", &["libmpdec4"]),
    ("libmysqlclient.so.21", &["libmysqlclient21"]),
    ("libncurses.so.6", &["libncurses6"]),
    ("libncursesw.so.6", &["libncursesw6"]),
    ("libnsl.so.2", &["libnsl2"]),
    ("libnss3.so", &["libnss3"]),
    ("libodbc.so.2", &["libodbc2", "libodbc1"]),
    ("libodbcinst.so.2", &["libodbcinst2", "odbcinst1debian2"]),
    ("libopenblas.so.0", &["libopenblas0"]),
    ("libopenjp2.so.7", &["libopenjp2-7"]),
    ("libpango-1.0.so.0", &["libpango-1.0-0"]),
    ("libpam.so.0", &["libpam0g"]),
    ("libpanelw.so.6", &["libncursesw6"]),
    ("libpcre.so.3", &["libpcre3"]),
    ("libpcre2-8.so.0", &["libpcre2-8-0"]),
    ("libpng16.so.16", &["libpng16-16", "libpng16-16t64"]),
    ("libpq.so.5", &["libpq5"]),
    ("libquadmath.so.0", &["libquadmath0"]),
    ("librdkafka.so.1", &["librdkafka1"]),
    ("libreadline.so.8", &["libreadline8", "libreadline8t64"]),
    ("libsasl2.so.2", &["libsasl2-2"]),
    ("libselinux.so.1", &["libselinux1"]),
    ("libsnappy.so.1", &["libsnappy1v5"]),
    ("libsodium.so.23", &["libsodium23"]),
    ("libsqlite3.so.0", &["libsqlite3-0"]),
    ("libssl.so.1.1", &["libssl1.1"]),
    ("libssl.so.3", &["libssl3", "libssl3t64"]),
    ("libsystemd.so.0", &["libsystemd0"]),
    ("libtcl8.6.so", &["libtcl8.6"]),
    ("libtiff.so.5", &["libtiff5"]),
    ("libtiff.so.6", &["libtiff6"]),
    ("libtinfo.so.6", &["libtinfo6"]),
    ("libtk8.6.so", &["libtk8.6"]),
    ("libudev.so.1", &["libudev1"]),
    ("libusb-1.0.so.0", &["libusb-1.0-0"]),
    ("libuuid.so.1", &["libuuid1"]),
    ("libuv.so.1", &["libuv1", "libuv1t64"]),
    ("libwebp.so.6", &["libwebp6"]),
    ("libwebp.so.7", &["libwebp7"]),
    ("libxcb.so.1", &["libxcb1"]),
    ("libxml2.so.16", &["libxml2-16"]),
    ("libxml2.so.2", &["libxml2"]),
    (
        "libxmlsec1-openssl.so.1",
        &["libxmlsec1-openssl", "libxmlsec1t64-openssl"],
    ),
    ("libxmlsec1.so.1", &["libxmlsec1", "libxmlsec1t64"]),
    ("libxslt.so.1", &["libxslt1.1"]),
    ("libyaml-0.so.2", &["libyaml-0-2"]),
    ("libzmq.so.5", &["libzmq5"]),
    ("libzstd.so.1", &["libzstd1"]),
];

/// Libraries of glibc, which are in `libc6` of every supported Debian and Ubuntu.
const GLIBC: &[&str] = &[
    "libBrokenLocale.so.1",
    "libanl.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libmvec.so.1",
    "libnsl.so.1",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libthread_db.so.1",
    "libutil.so.1",
];

/// The last number of `GLIBCXX_3.4.N`, with the GCC that added the version (GCC's "ABI Policy and
/// Guidelines").
const GLIBCXX: &[(u32, &str)] = &[
    (11, "4.4"),
    (13, "4.4.2"),
    (14, "4.5"),
    (15, "4.6"),
    (17, "4.7"),
    (18, "4.8"),
    (20, "4.9"),
    (21, "5.1"),
    (22, "6.1"),
    (23, "7.1"),
    (24, "7.2"),
    (25, "8"),
    (26, "9"),
    (27, "9.2"),
    (28, "9.3"),
    (29, "11"),
    (30, "12"),
    (31, "13"),
    (32, "13.2"),
    (33, "14"),
    (34, "15"),
    (35, "16"),
];

/// The last number of `CXXABI_1.3.N`, with the GCC that added the version.
const CXXABI: &[(u32, &str)] = &[
    (8, "4.9"),
    (9, "5.1"),
    (10, "6.1"),
    (11, "7.1"),
    (12, "9"),
    (13, "11"),
    (14, "13"),
    (15, "14"),
    (16, "16"),
];

/// Returns the relations for `Depends:`: those from the files of the release, then those that the
/// user declared.
///
/// A library without a known package is an error, unless the user declared packages: then one of
/// these is assumed to contain it (see [`unknown_libraries`] for a warning).
///
/// # Errors
/// Every library without a known package.
pub fn depends(depends: &HostDependencies) -> Result<Vec<String>> {
    if depends.declared_deb.is_empty() {
        let unknown = unknown_libraries(depends);
        if let Some(error) = Error::all(unknown.into_iter().map(unknown_library)) {
            return Err(error);
        }
    }
    let mut relations = Vec::new();
    if let Some(python) = depends.python {
        relations.push(format!("python{python}"));
        relations.extend(depends.python_parts.iter().map(|part| part.deb(python)));
    }
    if let Some(runtime) = &depends.runtime {
        relations.push(format!("{} (>= {})", runtime.package, runtime.version));
    }
    relations.extend(library_relations(&depends.libraries));
    relations.extend(
        depends
            .programs
            .iter()
            .map(|program| program.deb().to_owned()),
    );
    for declared in &depends.declared_deb {
        if !relations.contains(declared) {
            relations.push(declared.clone());
        }
    }
    Ok(relations)
}

/// Returns the libraries without a known Debian package.
pub fn unknown_libraries(depends: &HostDependencies) -> Vec<&HostLibrary> {
    depends
        .libraries
        .iter()
        .filter(|library| packages(&library.soname).is_none())
        .collect()
}

fn unknown_library(library: &HostLibrary) -> Error {
    Error::new(format!(
        "no Debian package is known for the library `{}`",
        library.soname
    ))
    .cause_text(format!(
        "`{}` needs it, and the release does not contain it",
        library.needed_by
    ))
    .hint("name the package that contains it below `[package]`: `depends.deb = [\"…\"]`")
}

/// Returns one relation per package, sorted: several libraries of one package result in one
/// relation with the highest version.
fn library_relations(libraries: &[HostLibrary]) -> Vec<String> {
    let mut versions: BTreeMap<Vec<String>, Option<String>> = BTreeMap::new();
    for library in libraries {
        let Some(packages) = packages(&library.soname) else {
            continue;
        };
        let least = library
            .versions
            .iter()
            .filter_map(|version| least_version(&packages[0], version))
            .fold(
                versions.entry(packages.clone()).or_default().take(),
                |known, version| match known {
                    Some(known) if numbers(&known) >= numbers(&version) => Some(known),
                    _ => Some(version),
                },
            );
        versions.insert(packages, least);
    }
    versions
        .into_iter()
        .map(|(packages, least)| relation(&packages, least.as_deref()))
        .collect()
}

fn relation(packages: &[String], least: Option<&str>) -> String {
    let version = least.map_or_else(String::new, |least| format!(" (>= {least})"));
    packages
        .iter()
        .map(|package| format!("{package}{version}"))
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Returns the alternative packages with a library.
fn packages(soname: &str) -> Option<Vec<String>> {
    let one = |package: &str| Some(vec![package.to_owned()]);
    match soname {
        "libstdc++.so.6" => return one("libstdc++6"),
        "libgcc_s.so.1" => return one("libgcc-s1"),
        "libz.so.1" => return one("zlib1g"),
        _ if GLIBC.contains(&soname) => return one("libc6"),
        _ => {}
    }
    // Debian and Ubuntu name Python's library `libpython3.11.so.1.0`, and its package
    // `libpython3.11`.
    if let Some(minor) = soname
        .strip_prefix("libpython3.")
        .and_then(|rest| rest.strip_suffix(".so.1.0"))
    {
        return minor.bytes().all(|b| b.is_ascii_digit()).then(|| {
            let name = format!("libpython3.{minor}");
            // Python 3.12 was the first after the 64-bit `time_t` transition.
            if minor == "12" {
                vec![name.clone(), format!("{name}t64")]
            } else {
                vec![name]
            }
        });
    }
    let (_, packages) = PACKAGES.iter().find(|(known, _)| *known == soname)?;
    Some(
        packages
            .iter()
            .map(|package| (*package).to_owned())
            .collect(),
    )
}

/// Returns the version of `package` that added a symbol version, if the package's versions show it.
fn least_version(package: &str, symbol_version: &str) -> Option<String> {
    let (family, number) = symbol_version.rsplit_once('_')?;
    let last = |prefix: &str, table: &[(u32, &str)]| {
        let last: u32 = number.strip_prefix(prefix)?.parse().ok()?;
        let (_, gcc) = table.iter().rev().find(|(known, _)| *known <= last)?;
        Some((*gcc).to_owned())
    };
    match (package, family) {
        ("libc6", "GLIBC") => number
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| number.to_owned()),
        ("libstdc++6", "GLIBCXX") => last("3.4.", GLIBCXX),
        ("libstdc++6", "CXXABI") => last("1.3.", CXXABI),
        ("libgcc-s1", "GCC") => Some(number.trim_end_matches(".0").to_owned()),
        ("zlib1g", "ZLIB") => Some(format!("1:{number}")),
        _ => None,
    }
}

/// Returns the numbers of a version, to compare versions from [`least_version`].
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(['.', ':'])
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use pkgapp_core::name::PythonMinor;
    use pkgapp_release::imports::PythonPart;

    fn library(soname: &str, versions: &[&str]) -> HostLibrary {
        HostLibrary {
            soname: soname.into(),
            is_64: true,
            versions: versions.iter().map(|&version| version.into()).collect(),
            needed_by: "lib/x.so".into(),
        }
    }

    #[test]
    fn libraries_of_one_package_are_one_relation_with_the_highest_version() {
        let wanted = HostDependencies {
            python: Some(PythonMinor {
                major: 3,
                minor: 11,
            }),
            python_parts: BTreeSet::from([PythonPart::Tkinter]),
            runtime: None,
            libraries: vec![
                library("libc.so.6", &["GLIBC_2.2.5", "GLIBC_2.28"]),
                library("libcrypto.so.3", &["OPENSSL_3.0.0"]),
                library("libgcc_s.so.1", &["GCC_3.0", "GCC_4.3.0"]),
                library("libm.so.6", &["GLIBC_2.29", "GLIBC_2.9"]),
                library("libpthread.so.0", &["GLIBC_2.17"]),
                library("libssl.so.3", &["OPENSSL_3.0.0"]),
                library(
                    "libstdc++.so.6",
                    &["CXXABI_1.3.9", "GLIBCXX_3.4.19", "GLIBCXX_3.4.26"],
                ),
                library("libz.so.1", &["ZLIB_1.2.9"]),
            ],
            programs: vec![],
            declared_deb: vec!["libpq5 (>= 13)".into(), "python3.11".into()],
            relations: pkgapp_config::PackageRelations::default(),
            declared_rpm: vec![],
        };
        assert_eq!(
            depends(&wanted).unwrap(),
            [
                "python3.11",
                "python3.11-tk",
                "libc6 (>= 2.29)",
                "libgcc-s1 (>= 4.3)",
                "libssl3 | libssl3t64",
                "libstdc++6 (>= 9)",
                "zlib1g (>= 1:1.2.9)",
                "libpq5 (>= 13)",
            ]
        );
    }

    #[test]
    fn an_unknown_library_is_refused_unless_packages_are_declared() {
        let mut wanted = HostDependencies {
            libraries: vec![library("libnobody.so.7", &[])],
            ..HostDependencies::default()
        };
        assert_eq!(
            depends(&wanted).unwrap_err().to_string(),
            "error: no Debian package is known for the library `libnobody.so.7`\n  cause: \
             `lib/x.so` needs it, and the release does not contain it\n  hint: name the package \
             that contains it below `[package]`: `depends.deb = [\"…\"]`"
        );
        wanted.declared_deb = vec!["libnobody7".into()];
        assert_eq!(depends(&wanted).unwrap(), ["libnobody7"]);
        assert_eq!(unknown_libraries(&wanted).len(), 1);
    }

    #[test]
    fn a_python_linked_to_its_library_needs_the_library_s_package() {
        assert_eq!(packages("libpython3.11.so.1.0").unwrap(), ["libpython3.11"]);
        assert_eq!(
            packages("libpython3.12.so.1.0").unwrap(),
            ["libpython3.12", "libpython3.12t64"]
        );
        assert_eq!(packages("libpython3.x.so.1.0"), None);
    }
}

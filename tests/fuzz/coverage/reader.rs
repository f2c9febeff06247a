//! Feeds one reader of foreign bytes with what libFuzzer finds. `PKGAPP_FUZZ_READER` names the reader, `PKGAPP_FUZZ_FILE`
//! the file that it takes the bytes for, by which some formats are told apart.
#![no_main]
#![allow(
    clippy::unwrap_used,
    reason = "a fuzzer that unwraps fails with the value"
)]

#[path = "../readers.rs"]
#[allow(dead_code, reason = "the ordinary tests use the rest")]
mod readers;

use libfuzzer_sys::fuzz_target;
use readers::{Case, Check, READERS};

thread_local! {
    static READER: (Check, String) = {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        let name = variable("PKGAPP_FUZZ_READER");
        let reader = READERS.iter().find(|reader| reader.name == name);
        let reader = reader.unwrap_or_else(|| panic!("there is no reader `{name}`"));
        ((reader.check)(), variable("PKGAPP_FUZZ_FILE"))
    };
}

fuzz_target!(|bytes: &[u8]| {
    READER.with(|(check, file)| {
        let case = Case {
            name: file.clone(),
            bytes: bytes.to_vec(),
        };
        if let Err(reason) = check(&case) {
            panic!("{reason}");
        }
    });
});

//! Where the value of `pkgapp secrets set` comes from.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::{Command, Output};

use crate::cli::SecretsSetArgs;
use pkgapp_core::error::{Context, Error, ErrorKind, Result, shown};
use pkgapp_core::report::Report;
use pkgapp_core::{fs, process};
use pkgapp_deploy::hosts::Prompt;
use pkgapp_deploy::secrets::{MOST_BYTES, SecretForm, SecretValue};

/// Reads the value of a secret from where the arguments say.
pub(super) fn value(
    args: &SecretsSetArgs,
    form: SecretForm,
    report: &Report,
) -> Result<SecretValue> {
    let value = match (
        &args.env,
        &args.file,
        args.sops.as_deref().zip(args.key.as_deref()),
    ) {
        (Some(variable), ..) => of_variable(variable, form),
        (_, Some(file), _) => of_file(file, form),
        (.., Some((file, key))) => of_sops(file, key, form),
        (None, None, None) => asked(args, form, report),
    };
    value.map_err(|error| error.context(format!("cannot set `{}`", args.name)))
}

fn of_variable(variable: &str, form: SecretForm) -> Result<SecretValue> {
    let value = std::env::var_os(variable).ok_or_else(|| {
        Error::new(format!("the environment variable `{variable}` is not set"))
            .kind(ErrorKind::Usage)
    })?;
    SecretValue::parse(value.into_encoded_bytes(), form)
}

fn of_file(file: &Path, form: SecretForm) -> Result<SecretValue> {
    let bytes = limited(fs::open(file)?).context(|| format!("cannot read `{}`", shown(file)))?;
    SecretValue::from_output(bytes, form)
}

/// Reads a value, and what makes it too long.
fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MOST_BYTES as u64 + 2).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Asks on the terminal, or reads the standard input.
fn asked(args: &SecretsSetArgs, form: SecretForm, report: &Report) -> Result<SecretValue> {
    if !std::io::stdin().is_terminal() {
        if args
            .change
            .rollout
            .hosts
            .hosts
            .iter()
            .any(|host| host == "-")
        {
            return Err(Error::new("stdin cannot hold both the hosts and the value")
                .kind(ErrorKind::Usage)
                .hint("read the value with `--file` or `--env`"));
        }
        let bytes = limited(std::io::stdin()).context(|| "cannot read the value from stdin")?;
        return SecretValue::from_output(bytes, form);
    }
    let prompt = Prompt::new(report.bars().clone());
    match prompt.secret(&format!("{}: ", args.name))? {
        Some(value) => SecretValue::parse(value.into_bytes(), form),
        None => Err(
            Error::new(format!("no value for `{}` was given", args.name))
                .hint("pipe it to stdin, or use `--env`, `--file`, or `--sops`"),
        ),
    }
}

/// Has sops decrypt one value. What it prints is the value, so that no error shows it.
fn of_sops(file: &Path, key: &str, form: SecretForm) -> Result<SecretValue> {
    let mut command = Command::new("sops");
    command
        .args(["--decrypt", "--extract", &extracted(key)])
        .arg(file);
    if process::find("sops").is_none() {
        return Err(Error::new("`sops` is not installed").hint("install it, or use `--file`"));
    }
    let output = process::output(&mut command)?;
    if !output.status.success() {
        let visible = Output {
            stdout: Vec::new(),
            ..output
        };
        return Err(process::failure(&command, &visible));
    }
    SecretValue::from_output(output.stdout, form)
}

/// Returns a key as `sops --extract` reads it: `a.0` is `["a"][0]`.
fn extracted(key: &str) -> String {
    if key.starts_with('[') {
        return key.to_owned();
    }
    let part = |part: &str| match part.parse::<u32>() {
        Ok(index) => format!("[{index}]"),
        Err(_) => format!("[{}]", serde_json::Value::from(part)),
    };
    key.split('.').map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_sops_reads_them() {
        for (key, expected) in [
            ("key", r#"["key"]"#),
            ("database.hosts.0", r#"["database"]["hosts"][0]"#),
            (r#"["a.b"]"#, r#"["a.b"]"#),
            ("a\"b", r#"["a\"b"]"#),
        ] {
            assert_eq!(extracted(key), expected);
        }
    }
}

//! How a script gets to a shell on the other side of anything: ssh, sudo, or both.
//!
//! What is given to ssh is read by the login's shell, which may be bash, dash, fish or csh. So it
//! is one constant text, [`BOOT`], of which none of them sees more than a word in single quotes: no
//! newline, quote, backslash or `!` in it. It starts `/bin/sh`, which reads one line from its
//! standard input, with the length of what follows: the payload, which is the script, its
//! parameters, arguments and environment, quoted for POSIX sh. So neither `ps` nor a login's shell
//! sees any of them, and they may hold every byte but NUL. What follows the payload is the script's
//! standard input.
//!
//! `dd` reads the payload, and no byte more: the shell's own `read` takes a system call for each
//! byte of a pipe, 20 ms for 100 kB.
//!
//! Before the script begins, both of its streams get a line that says so: what a login's shell has
//! printed until then is no output. At the end standard error gets another with the status: without
//! it, it is unknown how it ended. These lines carry a [`LineMark`] that is random for every call, so
//! that no program that the script runs can print one.

use pkgapp_core::error::{Error, Result};
use pkgapp_core::text::shell_quoted;

use super::{HostCommand, OrphanPolicy};

/// The program that reads the payload. The line before its length is skipped: that is a password
/// which sudo, allowed without, has left unread.
pub(super) const BOOT: &str = "IFS= read -r l; case $l in pkgapp:*) ;; *) IFS= read -r l ;; esac; eval \"$(dd bs=${l#pkgapp:} count=1 iflag=fullblock 2>/dev/null)\"";

/// What begins the line with the length of a payload, in bytes.
pub(super) const TAG: &str = "pkgapp:";

/// What begins a line of ours on the streams of one call: RECORD SEPARATOR, our name and a number
/// that nobody else knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineMark(String);

impl LineMark {
    /// The character that begins every mark.
    pub(super) const FIRST: u8 = 0x1e;

    /// Returns the mark of a new call, with 128 bits from the operating system.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub(super) fn new() -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::new("cannot get random numbers from the operating system")
                .cause_text(error.to_string())
        })?;
        Ok(Self(format!("\x1epkgapp {} ", hex::encode(bytes))))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns a statement of sh that prints a line with the mark. The line itself is not in the
    /// statement, so that a shell that prints what it runs (`set -x`) prints none.
    fn print(&self, what: &str) -> String {
        format!(r"printf '\036{}{what}\n'", &self.0[1..])
    }
}

/// Returns what to give to the login's shell, or to `/bin/sh -c` here.
pub(super) fn boot(escalation: &str) -> String {
    format!("exec {escalation}/bin/sh -c '{BOOT}'")
}

/// Returns the input that makes [`BOOT`] run a command.
///
/// # Errors
/// A NUL in what can't hold one.
pub(super) fn payload(command: &HostCommand, mark: &LineMark) -> Result<String> {
    let exports: String = command
        .env
        .iter()
        .map(|(name, value)| ["export ", name, "=", &shell_quoted(value), "\n"].concat())
        .collect();
    let parameters = assignments(&command.parameters);
    let args: String = command
        .args
        .iter()
        .map(|arg| [" ", &shell_quoted(arg)].concat())
        .collect();
    // An error of syntax in the script then ends the subshell alone, after the beginning was told.
    let inner = format!(
        "{exports}{parameters}\nset --{args}\neval {}\n",
        shell_quoted(&command.script)
    );
    if inner.contains('\0') {
        return Err(Error::new(format!(
            "`{}` has a NUL character in its script, parameters or arguments",
            command.what
        )));
    }
    let run = match command.orphan {
        OrphanPolicy::Finishes if command.stdin.is_some() => format!("(\n{inner})\ns=$?\n"),
        OrphanPolicy::Finishes => format!("(\nexec </dev/null\n{inner})\ns=$?\n"),
        OrphanPolicy::Ends => watched(&inner),
    };
    let (begin, end) = (mark.print("begin"), mark.print("exit %d"));
    // In braces, nothing runs of a payload that is cut off.
    Ok(framed(&format!(
        "{{\nunset l\n{begin}; {begin} >&2\n{run}{end} $s >&2; exit $s\n}}\n"
    )))
}

/// Writes assignments of sh, one a line.
pub(crate) fn assignments(parameters: &[(&str, String)]) -> String {
    let lines: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", shell_quoted(value)))
        .collect();
    lines.join("\n")
}

/// A script in its own session, which gets SIGTERM when our standard input ends: the user or the
/// connection is gone.
fn watched(inner: &str) -> String {
    // The payload goes through a pipe and not into argv; `printf` is the shell's own. setsid(1)
    // need not fork here, so `$!` is the leader of its process group.
    format!(
        "exec 9<&0 </dev/null\n\
         printf %s {} | exec setsid /bin/sh -c {} 9<&- &\n\
         p=$!\n\
         (read -r x <&9; kill -TERM -$p) >/dev/null 2>&1 &\n\
         w=$!\n\
         exec 9<&-\n\
         {{ wait $p; s=$?; }} 2>/dev/null\n\
         kill $w 2>/dev/null\n",
        shell_quoted(&framed(inner)),
        shell_quoted(BOOT),
    )
}

/// Puts the length of a payload before it.
fn framed(payload: &str) -> String {
    format!("{TAG}{}\n{payload}", payload.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Child, Command as Process, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// Runs a command as ssh would: a login's shell reads the boot text, `before` and the payload
    /// are its input. In what is returned the mark is shown as [`BEGIN`] has it.
    fn by(shell: &[&str], before: &str, command: &HostCommand) -> (i32, String, String) {
        let mut child = Process::new(shell[0])
            .args(&shell[1..])
            .arg(boot(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(before.as_bytes()).unwrap();
        let mark = LineMark::new().unwrap();
        stdin
            .write_all(payload(command, &mark).unwrap().as_bytes())
            .unwrap();
        stdin
            .write_all(command.stdin.as_deref().unwrap_or_default())
            .unwrap();
        // A command that ends with us would end at once.
        let held = (command.orphan == OrphanPolicy::Ends).then_some(stdin);
        let output = child.wait_with_output().unwrap();
        drop(held);
        let text = |bytes| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(&mark.0, "\u{1e}pkgapp ")
        };
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Starts the boot text, which waits for a payload.
    fn booted() -> Child {
        let mut command = Process::new("sh");
        command.args(["-c", &boot("")]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    const BEGIN: &str = "\u{1e}pkgapp begin\n";

    /// The shells of a login that are here; sh always is.
    fn shells() -> Vec<Vec<&'static str>> {
        let all: [&[&str]; 7] = [
            &["sh", "-c"],
            &["bash", "-c"],
            &["dash", "-c"],
            &["fish", "-c"],
            &["tcsh", "-c"],
            &["csh", "-c"],
            &["zsh", "-c"],
        ];
        all.into_iter()
            .filter(|shell| which::which(shell[0]).is_ok())
            .map(<[&str]>::to_vec)
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn arguments_and_variables_arrive_byte_for_byte(
            args in prop::collection::vec("[^\0]{0,40}", 0..4),
            value in "[^\0]{0,40}",
            parameter in "[^\0]{0,40}",
            stdin in "[^\0]{0,60}",
            ends in any::<bool>(),
        ) {
            let script = "for a; do printf '%s\\n' \"<$a>\"; done; printf '%s\\n' \"$V\" \"$p\"; env | grep '^p='; cat";
            let mut command = HostCommand::new("x", script).args(args.clone()).env("V", value.clone()).parameter("p", parameter.clone());
            let mut expected = format!("{BEGIN}{}{value}\n{parameter}\n", args.iter().map(|a| format!("<{a}>\n")).collect::<String>());
            if ends {
                command = command.ends_with_us();
            } else {
                command = command.stdin(stdin.clone());
                expected += &stdin;
            }
            for shell in shells() {
                let printed = by(&shell, "", &command);
                prop_assert_eq!(&printed, &(0, expected.clone(), format!("{BEGIN}\u{1e}pkgapp exit 0\n")), "{:?}", shell);
            }
        }
    }

    #[test]
    fn a_password_that_sudo_left_unread_is_no_script() {
        let printed = by(
            &["sh", "-c"],
            "secret; touch /x\n",
            &HostCommand::new("x", "cat").stdin("in"),
        );
        assert_eq!(
            printed,
            (
                0,
                format!("{BEGIN}in"),
                format!("{BEGIN}\u{1e}pkgapp exit 0\n")
            )
        );
    }

    #[test]
    fn of_a_payload_that_is_cut_off_nothing_runs() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ran");
        for command in [
            HostCommand::new("x", ": >\"$1\""),
            HostCommand::new("x", ": >\"$1\"").ends_with_us(),
        ] {
            let command = command.arg(file.display().to_string());
            let payload = payload(&command, &LineMark::new().unwrap()).unwrap();
            let end = payload.rfind('}').unwrap();
            for cut in (0..end).step_by(9) {
                let mut child = booted();
                let mut stdin = child.stdin.take().unwrap();
                stdin.write_all(&payload.as_bytes()[..cut]).unwrap();
                drop(stdin);
                child.wait().unwrap();
                assert!(!file.exists(), "{:?}", payload.get(..cut));
            }
        }
    }

    #[test]
    fn the_status_is_told_however_it_ends() {
        for (script, status) in [
            ("exit 255", 255),
            ("false", 1),
            ("kill -9 $(sh -c 'echo $PPID')", 137),
            ("exec true", 0),
            ("if", 2),
        ] {
            let (code, _, stderr) = by(&["sh", "-c"], "", &HostCommand::new("x", script));
            assert_eq!(code, status, "{script}");
            assert!(
                stderr.ends_with(&format!("\u{1e}pkgapp exit {status}\n")),
                "{script}: {stderr}"
            );
        }
        let (code, ..) = by(
            &["sh", "-c"],
            "",
            &HostCommand::new("x", "exit 7").ends_with_us(),
        );
        assert_eq!(code, 7);
    }

    #[test]
    fn a_script_does_not_learn_its_mark() {
        // Its variables, its environment, and what is left of its input.
        let command = HostCommand::new("x", "set; env; cat");
        for command in [
            command.clone(),
            command.clone().stdin(""),
            command.ends_with_us(),
        ] {
            for shell in shells() {
                let (_, printed, _) = by(&shell, "", &command);
                assert_eq!(
                    printed.matches("\u{1e}pkgapp ").count(),
                    1,
                    "{shell:?}: {printed}"
                );
                assert!(!printed.contains("pkgapp exit"), "{shell:?}: {printed}");
            }
        }
    }

    #[test]
    fn nothing_but_the_boot_text_is_seen_by_ps() {
        let command = HostCommand::new(
            "x",
            "tr '\\0' ' ' </proc/$PPID/cmdline; tr '\\0' ' ' </proc/$$/cmdline # topsecret",
        )
        .parameter("name", "topsecret")
        .arg("topsecret");
        for command in [command.clone(), command.ends_with_us()] {
            let (_, printed, _) = by(&["sh", "-c"], "", &command);
            assert!(printed.contains("IFS= read -r l"), "{printed}");
            assert!(!printed.contains("topsecret"), "{printed}");
        }
    }

    #[test]
    fn who_ends_with_us_ends_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = "sleep 300 & echo $! >\"$1\".new; mv \"$1\".new \"$1\"; wait";
        let command = HostCommand::new("x", script)
            .arg(file.display().to_string())
            .ends_with_us();
        let mut child = booted();
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(
                payload(&command, &LineMark::new().unwrap())
                    .unwrap()
                    .as_bytes(),
            )
            .unwrap();
        let until = |what: &str, done: &dyn Fn() -> bool| {
            let start = std::time::Instant::now();
            while !done() {
                assert!(start.elapsed().as_secs() < 20, "{what}");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        };
        until("it begins", &|| file.exists());
        let pid = std::fs::read_to_string(&file).unwrap();
        // A zombie has an empty command line.
        let lives = || {
            std::fs::read(format!("/proc/{}/cmdline", pid.trim()))
                .is_ok_and(|line| !line.is_empty())
        };
        // Between fork and exec it has none, either.
        until("it lives", &lives);
        drop(stdin);
        until("its child ends", &|| !lives());
        assert_eq!(child.wait().unwrap().code(), Some(143));
    }
}

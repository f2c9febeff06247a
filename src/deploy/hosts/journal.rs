//! Journals of hosts, line by line.

/// An entry of a host's journal.
#[derive(Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Microseconds since 1970.
    pub time: i64,
    /// The name by which the user knows the host.
    pub host: String,
    /// The unit that the entry is about; empty if the journal names none.
    pub unit: String,
    /// The process that wrote it.
    pub pid: Option<String>,
    /// The program's name for itself (syslog(3), `ident`).
    pub identifier: String,
    /// From 0, emergency, to 7, debug.
    pub priority: Option<u8>,
    /// The text; bytes that are not UTF-8 are replaced.
    pub message: String,
}

impl JournalEntry {
    /// Reads a line of `journalctl --output=json` (systemd.io, "Journal Export Formats"): values
    /// are text, null, or, where they are not UTF-8, lists of bytes. Returns `None` for a line
    /// that is no entry.
    pub fn parse(host: &str, line: &str) -> Option<Self> {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| match entry.get(key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Array(bytes) => {
                let bytes: Vec<u8> = bytes
                    .iter()
                    .filter_map(|byte| byte.as_u64()?.try_into().ok())
                    .collect();
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => None,
        };
        Some(Self {
            time: text("__REALTIME_TIMESTAMP")?.parse().ok()?,
            host: host.to_owned(),
            // What systemd says about a unit names it in UNIT.
            unit: ["UNIT", "USER_UNIT", "_SYSTEMD_USER_UNIT", "_SYSTEMD_UNIT"]
                .into_iter()
                .find_map(text)
                .unwrap_or_default(),
            pid: text("_PID"),
            identifier: text("SYSLOG_IDENTIFIER").unwrap_or_default(),
            priority: text("PRIORITY").and_then(|priority| priority.parse().ok()),
            message: text("MESSAGE").unwrap_or_default(),
        })
    }

    /// Returns the time in UTC, to the millisecond.
    pub fn moment(&self) -> String {
        let moment = jiff::Timestamp::from_microsecond(self.time);
        moment.map_or_else(
            |_| self.time.to_string(),
            |moment| moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_journal_are_read() {
        // Printed by journalctl 252; the second holds a byte that is no UTF-8.
        let plain = r#"{"__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":"Started shop-web.service - shop: web.","PRIORITY":"6","SYSLOG_IDENTIFIER":"systemd","_PID":"1","_SYSTEMD_UNIT":"init.scope","UNIT":"shop-web.service"}"#;
        let entry = JournalEntry::parse("web1", plain).unwrap();
        assert_eq!(
            (entry.unit.as_str(), entry.priority),
            ("shop-web.service", Some(6))
        );
        assert_eq!(entry.moment(), "2023-11-14T22:13:20.123Z");
        let bytes = r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":[104,105,255]}"#;
        assert_eq!(
            JournalEntry::parse("web1", bytes).unwrap().message,
            "hi\u{fffd}"
        );
        assert_eq!(JournalEntry::parse("web1", "-- No entries --"), None);
    }
}

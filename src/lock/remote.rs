//! Included files on the network: `-c https://…/constraints.txt`.

use uv_redacted::DisplaySafeUrl;

use crate::error::{Context, Error, Result};
use crate::http;
use crate::lock::Url;
use crate::lock::text::TextFile;

/// Most that an included file may be, in bytes: constraints of whole distributions have some 100 kB.
const MOST: usize = 16 << 20;

/// Fetches a file; proxies, certificates and netrc are as for the index. `shown` is the URL without secrets.
pub(super) fn fetch(url: &Url, shown: &str, offline: bool) -> Result<TextFile> {
    if offline {
        return Err(Error::new(format!("`{shown}` is on the network, and the build is offline"))
            .hint("keep a copy beside the file that includes it"));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context(|| "cannot wait for the network")?;
    let bytes = runtime.block_on(get(url, shown))?;
    TextFile::fetched(url.clone(), shown, &bytes)
}

async fn get(url: &Url, shown: &str) -> Result<Vec<u8>> {
    let failed = || format!("cannot fetch `{shown}`");
    let client = http::client(false)?.build().context(failed)?;
    let url = DisplaySafeUrl::from_url(url.clone());
    let response = client.for_host(&url).get(Url::from(url.clone())).send().await;
    // The library names the URL with everything in it.
    let shown_error = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(inner) = next {
            text = inner.to_string();
            next = inner.source();
        }
        Error::new(failed()).cause_text(url.redact_in(&text))
    };
    let mut response = response.map_err(|error| shown_error(&error))?;
    if !response.status().is_success() {
        return Err(Error::new(failed()).cause_text(format!("the server says {}", response.status())));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| shown_error(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST {
            return Err(Error::new(failed()).cause_text(format!("it is longer than {MOST} bytes")));
        }
    }
    Ok(bytes)
}

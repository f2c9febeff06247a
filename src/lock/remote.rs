//! Included files on the network: `-c https://…/constraints.txt`.

use reqwest::header::HeaderMap;

use crate::Url;
use crate::text::TextFile;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_http::{self as http, IndexAccount, RequestKind};

/// The maximum size of an included file in bytes: constraints of whole distributions have about 100
/// kB.
const MOST: usize = 16 << 20;

/// Fetches a file, with the proxies, certificates, and netrc that indexes use too. `shown` is the
/// URL without secrets.
pub(super) fn fetch(url: &Url, shown: &str, offline: bool) -> Result<TextFile> {
    if offline {
        return Err(Error::new(format!(
            "`{shown}` is on the network, but the build is offline"
        ))
        .hint("keep a copy beside the file that includes it"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(|| "cannot wait for the network")?;
    let bytes = runtime.block_on(get(url, shown))?;
    TextFile::fetched(url.clone(), shown, &bytes)
}

async fn get(url: &Url, shown: &str) -> Result<Vec<u8>> {
    let failed = |why: String| Error::new(format!("cannot fetch `{shown}`")).cause_text(why);
    let client = http::HttpClient::new(
        false,
        vec![IndexAccount {
            url: url.clone(),
            keyring: false,
        }],
    )?;
    let asked = client.get(url, RequestKind::Page, &HeaderMap::new()).await;
    let mut answer = asked.map_err(|failure| failed(failure.to_string()))?;
    if !answer.status.is_success() {
        return Err(failed(format!("the server returned {}", answer.status)));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|failure| failed(failure.to_string()))?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST {
            return Err(failed(format!("the file is longer than {MOST} bytes")));
        }
    }
    Ok(bytes)
}

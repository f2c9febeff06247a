//! Ways to write a package down: one file a format, and one line in [`by_name`].

use std::io::BufWriter;

use crate::error::Result;
use crate::package::{Meta, Package};

/// A way to write a package down.
pub trait Format: Sync {
    /// Returns the file's name by the conventions of the format, e.g. `shop_1.4.2-1_amd64.deb`.
    ///
    /// # Errors
    /// A version or name that the format can't carry.
    fn file_name(&self, meta: &Meta) -> Result<String>;

    /// Writes `package`; equal packages give equal bytes. `out` is empty and can seek.
    ///
    /// # Errors
    /// Content that the format can't carry, or that can't be read, or a full disk.
    fn write(&self, package: &Package, out: &mut BufWriter<fs_err::File>) -> Result<()>;
}

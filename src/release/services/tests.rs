//! Each file against what reads it on a host.

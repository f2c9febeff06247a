//! Rendezvous hashing (Thaler and Ravishankar, 1998): a fixed number for each pair of names. Whoever
//! takes the host with the highest one keeps it as long as the host is there.

/// Returns the number of a pair; the same in every version of pkgapp.
pub(crate) fn affinity(one: &str, other: &str) -> u64 {
    let one = hash(one.as_bytes());
    let other = hash(other.as_bytes());
    mix(one ^ other)
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// Spreads a value over all bits (the finalizer of `SplitMix64`).
fn mix(mut value: u64) -> u64 {
    value ^= value >> 30;
    value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value ^= value >> 27;
    value = value.wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

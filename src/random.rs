//! The only place that asks the operating system for random bytes: identities, secrets and ids. Training and traffic never
//! use it; their randomness is seeded.

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's random source answers");
    bytes
}

/// A random id in hex, for requests and commands whose caller brings none.
pub fn id() -> String {
    hex::encode(bytes::<16>())
}

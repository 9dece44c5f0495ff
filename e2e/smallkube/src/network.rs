//! A share of 127.0.0.0/8 of one's own: every smallkube takes the addresses `127.<n>.0.0/16` of one free `n`.
//!
//! Which one is decided by a socket that only one process can hold; it is let go with the process, however it ends. It
//! deliberately survives nothing: addresses are stable within one run.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// The share of one cluster, held as long as this lives.
#[derive(Debug)]
pub(crate) struct Share {
    /// Second byte of every address.
    pub(crate) network: u8,
    _held: TcpListener,
}

/// The port whose holder has the share; the agent's own in Kubernetes.
const PORT: u16 = 10250;
/// Below are addresses that other programs use by habit.
const FIRST: u8 = 64;
const LAST: u8 = 254;

/// Takes a free share.
///
/// # Errors
/// When none is free, or no loopback address can be bound at all.
pub(crate) fn take() -> io::Result<Share> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for network in FIRST..=LAST {
        match TcpListener::bind((Ipv4Addr::new(127, network, 255, 254), PORT)) {
            Ok(held) => {
                return Ok(Share {
                    network,
                    _held: held,
                });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shares_differ() {
        let (one, two) = (take().unwrap(), take().unwrap());
        assert_ne!(one.network, two.network);
    }
}

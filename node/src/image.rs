//! Images of the store as they are read where there is a second processor: one thread reads the frames, the other puts the store
//! together.
//!
//! It deliberately knows nothing of where an image comes from.

use std::sync::mpsc;

use store::{Assembly, DecodeError, Frames, Store};

/// Frames that wait between the two: enough that neither waits for the other's hiccups, few enough to cost no memory.
const WAITING: usize = 8;

/// What [`Store::decode`] reads, in about half the time.
///
/// # Errors
/// As there.
pub(crate) fn decode(image: &[u8]) -> Result<Store, DecodeError> {
    let (put, frames) = mpsc::sync_channel(WAITING);
    std::thread::scope(|scope| {
        scope.spawn(move || Frames::of(image).try_for_each(|frame| put.send(frame)));
        let mut assembly = Assembly::default();
        for frame in frames {
            assembly.take(frame?)?;
        }
        assembly.finish()
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store::{Command, PutRequest};

    use super::*;

    #[test]
    fn two_read_what_one_reads_and_refuse_what_one_refuses() {
        let mut store = Store::new();
        for index in 1..=100 {
            let put = PutRequest {
                key: Bytes::from(format!("key {}", index % 7)),
                value: Bytes::from_static(b"value"),
                ..PutRequest::default()
            };
            store.apply(index, &Command::Put(put));
        }
        let bytes = store.snapshot().encode();
        let again = |read: Result<Store, DecodeError>| read.map(|it| it.snapshot().encode());
        assert_eq!(again(decode(&bytes)), Ok(bytes.clone()));
        for length in (0..bytes.len()).step_by(11) {
            let (one, two) = (Store::decode(&bytes[..length]), decode(&bytes[..length]));
            assert!(one.is_err());
            assert_eq!(again(one), again(two));
        }
    }
}

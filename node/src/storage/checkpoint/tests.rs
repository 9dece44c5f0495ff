use super::*;
use crate::storage::{RealFiles, Silent};
use raft::{Configuration, Index, PeerId, Term};

const IDENTITY: Identity = Identity {
    cluster_id: 7,
    member_id: 9,
};

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        index: Index(0x1234),
        term: Term(5),
        configuration: Configuration::new([PeerId(9), PeerId(2)], [PeerId(3)]),
    }
}

fn written(image: Image) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (kept, bytes) = write(&RealFiles, folder.path(), IDENTITY, meta(), image, &Silent).unwrap();
    assert_eq!(std::fs::metadata(&kept.path).unwrap().len(), bytes);
    (folder, kept.path)
}

#[test]
fn an_image_of_several_chunks_comes_back() {
    let image: Vec<u8> = (0..3 * CHUNK_BYTES + 17)
        .map(|at| (at % 251) as u8)
        .collect();
    let copy = image.clone();
    let encode =
        move |out: &mut dyn Write| copy.chunks(70_001).try_for_each(|part| out.write_all(part));
    let (_folder, path) = written(Image::Own(Box::new(encode)));
    assert!(path.ends_with("0000000000001234-0000000000000005.checkpoint"));
    let read = read(&RealFiles, &path).unwrap();
    assert_eq!(read.header.meta, meta());
    assert_eq!(read.header.identity, IDENTITY);
    assert_eq!(read.header.origin, Origin::Own);
    assert!(read.image == image);
}

#[test]
fn an_empty_image_is_an_image() {
    let (_folder, path) = written(Image::Received(Bytes::new()));
    let read = read(&RealFiles, &path).unwrap();
    assert_eq!(
        (read.image.len(), read.header.origin),
        (0, Origin::Received)
    );
}

#[test]
fn every_flipped_bit_and_every_missing_end_is_refused_with_its_place() {
    let (_folder, path) = written(Image::Received(Bytes::from_static(b"some image")));
    let sound = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match read(&RealFiles, &path) {
            Err(StorageError::Corrupt { offset, .. }) => assert!(offset <= sound.len() as u64),
            other => panic!("{other:?}"),
        }
    };
    for bit in 0..sound.len() * 8 {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&flipped);
    }
    (0..sound.len()).for_each(|length| refused(&sound[..length]));
    let mut longer = sound.clone();
    longer.push(0);
    refused(&longer);
}

#[test]
fn a_checkpoint_that_cannot_be_encoded_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let encode = |_: &mut dyn Write| Err(io::Error::from(io::ErrorKind::StorageFull));
    let image = Image::Own(Box::new(encode));
    let error = write(&RealFiles, folder.path(), IDENTITY, meta(), image, &Silent).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("the disk is full") && said.contains(".tmp"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

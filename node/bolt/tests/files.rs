//! What is written is read again, and bytes that were not written so are refused without harm.

use std::convert::Infallible;

use bolt::{Bucket, Error, File, Item, Layout, PAGE_SIZE};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

const NAMES: [&[u8]; 4] = [b"alarm", b"key", b"lease", b"meta"];

fn buckets(of: &[Entries]) -> impl Iterator<Item = Bucket<std::vec::IntoIter<(Vec<u8>, Vec<u8>)>>> {
    NAMES.into_iter().zip(of).map(|(name, entries)| Bucket {
        name,
        entries: entries.clone().into_iter(),
    })
}

fn written(of: &[Entries]) -> Vec<u8> {
    let layout = Layout::of(buckets(of));
    let mut file = Vec::new();
    let written = layout.write(buckets(of), |bytes| {
        file.extend_from_slice(bytes);
        Ok::<(), Infallible>(())
    });
    written.unwrap();
    assert_eq!(file.len() as u64, layout.len_bytes());
    file
}

fn read(bytes: &[u8]) -> Result<Vec<(Vec<u8>, Entries)>, Error> {
    let mut found: Vec<(Vec<u8>, Entries)> = Vec::new();
    File::open(bytes)?.walk(|item| {
        match item {
            Item::Bucket(name) => found.push((name.to_vec(), Vec::new())),
            Item::Entry { key, value } => {
                let (_, entries) = found
                    .last_mut()
                    .expect("a bucket begins before its entries");
                entries.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok::<(), Error>(())
    })?;
    Ok(found)
}

/// A bucket of `count` entries with values of `len` bytes.
fn counted(count: u64, len: usize) -> Entries {
    (0..count)
        .map(|number| (number.to_be_bytes().to_vec(), vec![number as u8; len]))
        .collect()
}

#[test]
fn trees_of_every_height_are_read_again() {
    // Two branches deep, large values on pages that follow, nothing at all.
    for (count, len) in [(0, 0), (1, 0), (3, 5000), (40, PAGE_SIZE * 3), (60_000, 90)] {
        let of = vec![counted(1, 1), counted(count, len), vec![], counted(2, 2)];
        let found = read(&written(&of)).unwrap();
        let expected: Vec<_> = NAMES.iter().map(|name| name.to_vec()).zip(of).collect();
        assert!(found == expected, "{count} entries of {len} bytes differ");
    }
}

#[test]
fn a_file_without_buckets_is_read_again() {
    assert_eq!(read(&written(&[])).unwrap(), Vec::new());
}

#[test]
fn long_keys_make_high_trees() {
    let entries: Entries = (0..200_u64)
        .map(|number| {
            let mut key = number.to_be_bytes().to_vec();
            key.resize(30_000, 7);
            (key, vec![1])
        })
        .collect();
    let found = read(&written(std::slice::from_ref(&entries))).unwrap();
    assert!(found == vec![(NAMES[0].to_vec(), entries)]);
}

#[test]
fn an_older_meta_page_stands_in_for_the_newer() {
    let of = vec![counted(100, 100)];
    let mut file = written(&of);
    file[20] ^= 1;
    assert_eq!(read(&file).unwrap()[0].1, of[0], "the second page");
    file[PAGE_SIZE + 60] ^= 1;
    assert!(matches!(read(&file), Err(Error::Meta)));
}

#[test]
fn what_is_no_file_is_told_from_what_is_a_damaged_one() {
    assert!(matches!(read(b""), Err(Error::Foreign)));
    assert!(matches!(read(&[7; 9000]), Err(Error::Foreign)));
    let file = written(&[counted(100, 100)]);
    let cut = file.len() - 1;
    assert!(matches!(read(&file[..cut]), Err(Error::Cut { .. })));
}

#[test]
fn a_page_in_the_place_of_another_is_refused_with_its_number() {
    let mut file = written(&[counted(500, 100)]);
    file.copy_within(4 * PAGE_SIZE..5 * PAGE_SIZE, 5 * PAGE_SIZE);
    let Err(Error::Page { page, offset, rule }) = read(&file) else {
        panic!("page 5 says that it is page 4");
    };
    assert_eq!((page, offset), (5, 5 * PAGE_SIZE as u64));
    assert_eq!(rule, "it says that it is page 4");
    // The same page reached twice: it says its own number, and its keys are out of place.
    file[5 * PAGE_SIZE] = 5;
    assert!(matches!(read(&file), Err(Error::Page { page: 5, .. })));
}

fn entries() -> impl Strategy<Value = Entries> {
    let key = vec(any::<u8>(), 1..40);
    let value = prop_oneof![4 => vec(any::<u8>(), 0..200), 1 => vec(any::<u8>(), 0..9000)];
    btree_map(key, value, 0..120).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read_again(of in vec(entries(), 0..=NAMES.len())) {
        let expected: Vec<_> = NAMES.iter().map(|name| name.to_vec()).zip(of.clone()).collect();
        prop_assert!(read(&written(&of)).unwrap() == expected);
    }

    #[test]
    fn a_cut_file_is_refused(of in vec(entries(), 1..3), cut in any::<prop::sample::Index>()) {
        let file = written(&of);
        prop_assert!(read(&file[..cut.index(file.len())]).is_err());
    }

    /// Values have no checksum, so that a flipped one reads as another; everything else holds or is refused.
    #[test]
    fn a_flipped_file_is_read_in_order_or_refused(
        of in vec(entries(), 1..4),
        flips in vec((any::<prop::sample::Index>(), 0..8_u8), 1..6),
    ) {
        let mut file = written(&of);
        for (at, bit) in flips {
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
        }
        if let Ok(found) = read(&file) {
            prop_assert!(found.is_sorted_by(|(one, _), (other, _)| one < other));
            for (_, entries) in found {
                prop_assert!(entries.is_sorted_by(|(one, _), (other, _)| one < other));
            }
        }
    }

    /// Flips where the structure is: headers and elements, in which every number can send a reader astray.
    #[test]
    fn a_file_with_a_flipped_structure_does_no_harm(
        of in vec(entries(), 1..4),
        flips in vec((any::<prop::sample::Index>(), 0..64_usize, 0..8_u8), 1..4),
    ) {
        let mut file = written(&of);
        for (page, at, bit) in flips {
            let page = page.index(file.len() / PAGE_SIZE).max(2);
            file[page * PAGE_SIZE + at] ^= 1 << bit;
        }
        drop(read(&file));
    }

    #[test]
    fn any_bytes_behind_a_sound_meta_page_do_no_harm(noise in vec(any::<u8>(), 0..3 * PAGE_SIZE)) {
        let mut file = written(&[counted(200, 100)]);
        let start = 2 * PAGE_SIZE;
        let len = noise.len().min(file.len() - start);
        file[start..start + len].copy_from_slice(&noise[..len]);
        drop(read(&file));
    }
}

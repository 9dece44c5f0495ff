use super::*;
use quorate_node::storage::File;

const FOLDER: &str = "/data";

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// A disk with a durable folder.
fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    disk.files().create_folder(Path::new(FOLDER)).unwrap();
    disk.files().sync_folder(Path::new("/")).unwrap();
    disk
}

/// Makes a file of these bytes, durable with its name.
fn durable(disk: &SimulatedDisk, name: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = disk.files().create(&path(name)).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.files().sync_folder(Path::new(FOLDER)).unwrap();
    file
}

fn read(disk: &SimulatedDisk, name: &str) -> Option<Vec<u8>> {
    disk.files().read(&path(name)).ok()
}

/// What came of it, over many seeds.
fn outcomes<T: Ord>(run: impl Fn(u64) -> T) -> BTreeSet<T> {
    (0..400).map(run).collect()
}

#[test]
fn what_was_synced_stays_and_what_was_not_is_lost_in_any_part() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = durable(&disk, "file", &[1; 3 * 4096]);
        file.write_at(&[2; 3 * 4096], 0).unwrap();
        disk.cut_power();
        let left = read(&disk, "file").unwrap();
        assert_eq!(left.len(), 3 * 4096);
        assert!(left.iter().all(|byte| [1, 2].contains(byte)));
        [left[0], left[5000], left[9000]]
    });
    assert_eq!(seen.len(), 8, "every subset of the pages: {seen:?}");
}

#[test]
fn a_sector_is_never_ahead_of_itself() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = durable(&disk, "file", &[0; 8]);
        file.write_at(&[1; 4], 0).unwrap();
        file.write_at(&[2; 4], 2).unwrap();
        disk.cut_power();
        read(&disk, "file").unwrap()
    });
    let states = [[0; 8], [1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 2, 2, 2, 2, 0, 0]];
    assert_eq!(seen, states.map(Vec::from).into());
}

#[test]
fn a_length_is_lost_with_what_was_not_synced() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = durable(&disk, "file", b"");
        file.reserve(10).unwrap();
        disk.cut_power();
        read(&disk, "file").unwrap().len()
    });
    assert_eq!(seen, [0, 10].into());
}

#[test]
fn names_become_durable_in_order_and_at_the_latest_with_their_folder() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = disk.files().create(&path("new.tmp")).unwrap();
        file.write_at(b"new", 0).unwrap();
        file.sync().unwrap();
        disk.files().rename(&path("new.tmp"), &path("new")).unwrap();
        durable(&disk, "other", b"");
        disk.files().remove(&path("other")).unwrap();
        disk.cut_power();
        assert_eq!(read(&disk, "new.tmp"), None, "the folder was synced since");
        assert_eq!(read(&disk, "new").unwrap(), b"new");
        read(&disk, "other").is_some()
    });
    assert_eq!(seen, [false, true].into());
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = disk.files().create(&path("new.tmp")).unwrap();
        file.sync().unwrap();
        disk.files().rename(&path("new.tmp"), &path("new")).unwrap();
        disk.cut_power();
        disk.files().names(Path::new(FOLDER)).unwrap()
    });
    let names = [vec![], vec!["new".to_owned()], vec!["new.tmp".to_owned()]];
    assert_eq!(seen, names.into());
}

#[test]
fn a_folder_that_was_not_synced_goes_with_all_that_is_in_it() {
    let seen = outcomes(|seed| {
        let disk = SimulatedDisk::new(seed);
        disk.files().create_folder(Path::new("/deep/data")).unwrap();
        disk.files().sync_folder(Path::new("/deep")).unwrap();
        disk.cut_power();
        let exists = |path| disk.files().is_folder(Path::new(path));
        assert_eq!(exists("/deep"), exists("/deep/data"));
        exists("/deep")
    });
    assert_eq!(seen, [false, true].into());
}

#[test]
fn what_a_failed_sync_lost_can_be_read_and_is_gone_unless_it_is_written_again() {
    let lives = |seed, again| {
        let disk = disk(seed);
        let file = durable(&disk, "file", &[1; 8192]);
        file.write_at(&[2; 8192], 0).unwrap();
        disk.fail_sync_after(0);
        file.sync().unwrap_err();
        assert_eq!(read(&disk, "file").unwrap(), [2; 8192]);
        if again {
            // One byte of each page: pages are written whole.
            file.write_at(&[2], 17).unwrap();
            file.write_at(&[2], 4096).unwrap();
        }
        file.sync().unwrap();
        disk.cut_power();
        read(&disk, "file").unwrap() == [2; 8192]
    };
    assert_eq!(outcomes(|seed| lives(seed, false)), [false, true].into());
    assert_eq!(outcomes(|seed| lives(seed, true)), [true].into());
}

#[test]
fn the_end_of_a_process_loses_nothing_but_what_the_disk_had_refused() {
    let lives = |seed, fails: bool| {
        let disk = disk(seed);
        let file = durable(&disk, "file", &[1; 8192]);
        file.write_at(&[2; 8192], 0).unwrap();
        if fails {
            disk.fail_sync_after(0);
            file.sync().unwrap_err();
        }
        disk.kill();
        file.write_at(&[3], 0).unwrap_err();
        let left = read(&disk, "file").unwrap();
        (left[0], left[4096])
    };
    assert_eq!(outcomes(|seed| lives(seed, false)), [(2, 2)].into());
    let all = [(1, 1), (1, 2), (2, 1), (2, 2)];
    assert_eq!(outcomes(|seed| lives(seed, true)), all.into());
}

#[test]
fn a_flight_is_cut_anywhere_until_it_has_landed() {
    let lives = |seed, lands| {
        let disk = disk(seed);
        let ((), flight) = disk.fly(|| {
            for name in ["a", "b", "c"] {
                drop(durable(&disk, name, b"x"));
            }
        });
        assert!(read(&disk, "c").is_some(), "whoever asks sees it done");
        if lands {
            disk.land(flight);
        }
        disk.cut_power();
        let is_there = |name| read(&disk, name).is_some_and(|bytes| bytes == b"x");
        ["a", "b", "c"].map(is_there)
    };
    let [t, f] = [true, false];
    let cuts = [[f, f, f], [t, f, f], [t, t, f], [t, t, t]];
    assert_eq!(outcomes(|seed| lives(seed, false)), cuts.into());
    assert_eq!(outcomes(|seed| lives(seed, true)), [[t; 3]].into());
}

#[test]
fn flights_that_are_in_the_air_together_are_cut_each_by_itself() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let (a, b) = (durable(&disk, "a", b"0"), durable(&disk, "b", b"0"));
        let write = |file: &dyn File| {
            file.write_at(b"1", 0).unwrap();
            file.sync().unwrap();
        };
        let ((), _stays) = disk.fly(|| write(a.as_ref()));
        let ((), lands) = disk.fly(|| write(b.as_ref()));
        disk.land(lands);
        disk.cut_power();
        assert_eq!(read(&disk, "b").unwrap(), b"1");
        read(&disk, "a").unwrap()
    });
    assert_eq!(seen, [b"0".to_vec(), b"1".to_vec()].into());
}

#[test]
fn a_recording_stops_at_every_operation_and_leaves_the_disk_alone() {
    let disk = disk(1);
    let before = disk.operations();
    let (_, _flight) = disk.fly(|| durable(&disk, "file", b"bytes"));
    let mut recording = disk.recording();
    assert_eq!(recording.done(), before);
    let mut steps = 0;
    while recording.step() {
        steps += 1;
    }
    assert_eq!((steps, recording.done()), (4, disk.operations()));
    assert_eq!(read(&recording.cut_power(3), "file").unwrap(), b"bytes");
    assert_eq!(read(&recording.kill(3), "file").unwrap(), b"bytes");
    assert_eq!(read(&disk, "file").unwrap(), b"bytes");
}

#[test]
fn a_full_disk_refuses_and_what_was_reserved_can_be_written() {
    let disk = disk(1);
    disk.limit(Some(100));
    let file = disk.files().create(&path("file")).unwrap();
    file.reserve(80).unwrap();
    let other = disk.files().create(&path("other")).unwrap();
    let full = other.reserve(21).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    file.write_at(&[1; 80], 0).unwrap();
    let full = file.write_at(&[1; 30], 80).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.used_bytes(), 100, "what fits is written");
    disk.files().remove(&path("file")).unwrap();
    assert_eq!(disk.used_bytes(), 100, "it is still open");
    drop(file);
    other.reserve(100).unwrap();
}

#[test]
fn one_process_at_a_time_holds_a_lock_and_the_next_one_gets_it() {
    let disk = disk(1);
    let files = disk.files();
    let lock = files.lock(&path("LOCK")).unwrap();
    assert!(lock.is_some());
    assert!(files.lock(&path("LOCK")).unwrap().is_none());
    disk.kill();
    let dead = files.names(Path::new(FOLDER)).unwrap_err();
    assert!(dead.to_string().contains("crashed"), "{dead}");
    let next = disk.files().lock(&path("LOCK")).unwrap();
    drop(lock);
    assert!(disk.files().lock(&path("LOCK")).unwrap().is_none());
    drop(next);
    assert!(disk.files().lock(&path("LOCK")).unwrap().is_some());
}

#[test]
fn a_bit_flips_where_it_is_told_and_stays_flipped() {
    let disk = disk(5);
    drop(durable(&disk, "file", &[7; 100]));
    assert!(disk.flip(&path("file"), 3, 0b100));
    assert!(!disk.flip(&path("file"), 100, 1), "there is no such byte");
    disk.cut_power();
    let mut expected = [7; 100];
    expected[3] = 0b011;
    assert_eq!(read(&disk, "file").unwrap(), expected);
    let flipped = disk.flip_somewhere(Path::new(FOLDER)).unwrap();
    assert_eq!(flipped.path, path("file"));
    assert_ne!(read(&disk, "file").unwrap(), expected);
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let life = |seed| {
        let disk = disk(seed);
        for round in 0..20 {
            let file = durable(&disk, &format!("{round}"), &[1; 100]);
            file.write_at(&[2; 10_000], 50).unwrap();
            disk.files().create(&path("unsynced")).unwrap();
            disk.cut_power();
        }
        disk.holds(Path::new("/"))
    };
    assert_eq!(life(7), life(7));
    assert_ne!(life(7), life(8));
}

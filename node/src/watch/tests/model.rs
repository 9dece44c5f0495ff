//! Anything may happen in any order; whatever does, every watcher got a piece of history that is ordered, unique, complete and
//! in whole revisions.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const KEYS: [&str; 6] = ["a", "ab", "b", "ba", "c", "d"];
const STREAMS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    Delete(usize, usize),
    Txn(Vec<usize>),
    Compact(i64),
    Publish,
    Round,
    Create(u64, Wish),
    Cancel(u64, i64),
    Progress(u64),
    Tick(u64),
    Read(u64, usize),
    Reopen(u64),
    /// A snapshot that is ahead by some puts takes the store's place.
    Install(Vec<usize>, bool),
}

#[derive(Clone, Debug)]
struct Wish {
    range: KeyRange,
    back: Option<i64>,
    filters: Vec<Filter>,
    prev_kv: bool,
    progress_notify: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    let key = 0..KEYS.len();
    let range = prop_oneof![
        3 => key.clone().prop_map(|at| KeyRange::One(KEYS[at].into())),
        2 => (key.clone(), key.clone()).prop_filter_map("not empty", |(start, end)| {
            KeyRange::new(KEYS[start].into(), KEYS[end].into()).ok()
        }),
        1 => key.prop_map(|at| KeyRange::Span(KEYS[at].into(), None)),
    ];
    let filters = vec(
        prop_oneof![Just(Filter::NoPut), Just(Filter::NoDelete)],
        0..2,
    );
    let back = prop::option::of(-4..25_i64);
    let wish = (range, back, filters, any::<bool>(), any::<bool>());
    wish.prop_map(|(range, back, filters, prev_kv, progress_notify)| Wish {
        range,
        back,
        filters,
        prev_kv,
        progress_notify,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let (key, stream) = (0..KEYS.len(), 0..STREAMS);
    prop_oneof![
        8 => key.clone().prop_map(Step::Put),
        2 => (key.clone(), key.clone()).prop_map(|(start, end)| Step::Delete(start, end)),
        3 => vec(key.clone(), 1..4).prop_map(Step::Txn),
        1 => (0..12_i64).prop_map(Step::Compact),
        2 => Just(Step::Publish),
        6 => Just(Step::Round),
        5 => (stream.clone(), wish()).prop_map(|(stream, wish)| Step::Create(stream, wish)),
        1 => (stream.clone(), 0..6_i64).prop_map(|(stream, id)| Step::Cancel(stream, id)),
        1 => stream.clone().prop_map(Step::Progress),
        1 => stream.clone().prop_map(Step::Tick),
        5 => (stream.clone(), 1..5_usize).prop_map(|(stream, count)| Step::Read(stream, count)),
        1 => stream.prop_map(Step::Reopen),
        1 => (vec(key, 0..5), any::<bool>()).prop_map(|(puts, compacts)| Step::Install(puts, compacts)),
    ]
}

/// Everything that was ever written, and the newest compaction.
struct History {
    changes: Vec<Change>,
    compacted: i64,
}

/// What a client knows about one of its watchers.
struct Seen {
    wish: Wish,
    start: i64,
    /// Everything before this has been told.
    told: i64,
    is_over: bool,
}

impl History {
    /// What a watcher wants of revisions `from..=to`.
    fn wanted(&self, wish: &Wish, from: i64, to: i64) -> impl Iterator<Item = &Change> {
        let wants = move |change: &&Change| {
            let key = change.key();
            let in_range = match &wish.range {
                KeyRange::One(one) => one == key,
                KeyRange::Span(start, end) => {
                    start <= key && end.as_ref().is_none_or(|end| key < end)
                }
            };
            let without = if change.is_delete() {
                Filter::NoDelete
            } else {
                Filter::NoPut
            };
            let revision = change.revision().main;
            in_range && !wish.filters.contains(&without) && (from..=to).contains(&revision)
        };
        self.changes.iter().filter(wants)
    }

    fn before(&self, change: &Change) -> Option<&store::KeyValue> {
        let earlier = |other: &&Change| {
            other.key() == change.key() && other.revision().main < change.revision().main
        };
        let last = self.changes.iter().rev().find(earlier)?;
        (!last.is_delete()).then(|| last.kv())
    }
}

impl Seen {
    fn hear(&mut self, response: &Response, history: &History) -> Result<(), TestCaseError> {
        prop_assert!(!self.is_over, "{response:?} after the end");
        match &response.body {
            Body::Events(events, _) => {
                let last = events
                    .last()
                    .map_or(0, |event| event.change.revision().main);
                prop_assert!(last >= self.told && last <= response.revision);
                let told = events.iter().map(|event| &event.change);
                let wanted = history.wanted(&self.wish, self.told, last);
                prop_assert!(told.eq(wanted), "{events:?} from {}", self.told);
                for event in events {
                    self.check_previous(event, history)?;
                }
                self.told = last + 1;
            }
            Body::Progress => self.check_progress(response.revision, history)?,
            Body::Compacted(revision) => {
                prop_assert!(self.told < *revision || self.start < *revision);
                prop_assert!(*revision <= history.compacted);
                self.is_over = true;
            }
            Body::Canceled => self.is_over = true,
            Body::Created | Body::Refused(_) => prop_assert!(false, "{response:?}"),
        }
        Ok(())
    }

    fn check_previous(&self, event: &Event, history: &History) -> Result<(), TestCaseError> {
        let before = history.before(&event.change).filter(|_| self.wish.prev_kv);
        let may_be_gone = event.change.revision().main - 1 < history.compacted;
        if event.previous.is_some() || !may_be_gone {
            prop_assert_eq!(event.previous.as_ref(), before);
        }
        Ok(())
    }

    fn check_progress(&mut self, revision: i64, history: &History) -> Result<(), TestCaseError> {
        prop_assert!(revision >= self.start, "progress before the start");
        let missed = history.wanted(&self.wish, self.told, revision).count();
        prop_assert_eq!(missed, 0, "progress at {} overtook events", revision);
        self.told = self.told.max(revision + 1);
        Ok(())
    }
}

struct Client {
    pipe: Pipe,
    generation: u64,
    seen: BTreeMap<i64, Seen>,
    asked: VecDeque<(Wish, i64, i64)>,
}

struct Run {
    world: World,
    history: History,
    clients: Vec<Client>,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new();
        let client = |stream| Client {
            pipe: world.open(stream, 2),
            generation: 0,
            seen: BTreeMap::new(),
            asked: VecDeque::new(),
        };
        let clients = (0..STREAMS).map(client).collect();
        Self {
            world,
            history: History {
                changes: Vec::new(),
                compacted: -1,
            },
            clients,
        }
    }

    fn id(&self, stream: u64) -> u64 {
        stream + STREAMS * self.clients[stream as usize].generation
    }

    fn apply(&mut self, command: &Command) {
        let changes = self.world.apply(command);
        self.history.changes.extend(changes);
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Put(key) => self.apply(&put(KEYS[key], "v")),
            Step::Delete(start, end) => {
                let request = delete_request(KEYS[start], KEYS[end]);
                self.apply(&Command::DeleteRange(request));
            }
            Step::Txn(mut keys) => {
                keys.sort_unstable();
                keys.dedup();
                let ops = keys.into_iter().rev();
                self.apply(&txn(ops
                    .map(|key| Op::Put(put_request(KEYS[key], "t")))
                    .collect()));
            }
            Step::Compact(back) => self.compact(back),
            Step::Publish => self.world.publish(),
            Step::Round => self.world.round(),
            Step::Create(stream, wish) => self.create(stream, wish),
            Step::Cancel(stream, id) => {
                self.world.publish();
                let id = Ask::Cancel(StreamId(self.id(stream)), WatchId(id));
                self.world.ask(id);
            }
            Step::Progress(stream) => self.world.ask(Ask::Progress(StreamId(self.id(stream)))),
            Step::Tick(stream) => self.world.ask(Ask::Tick(StreamId(self.id(stream)))),
            Step::Read(stream, count) => {
                for _ in 0..count {
                    self.read(stream)?;
                }
            }
            Step::Reopen(stream) => self.reopen(stream),
            Step::Install(puts, compacts) => self.install(puts, compacts),
        }
        Ok(())
    }

    fn compact(&mut self, back: i64) {
        let revision = self.world.store.revision() - back;
        let request = CompactionRequest {
            revision,
            physical: false,
        };
        self.apply(&Command::Compact(request));
        self.history.compacted = self.world.store.compact_revision();
    }

    fn create(&mut self, stream: u64, wish: Wish) {
        // The loop publishes what it applied before it hears anybody.
        self.world.publish();
        let newest = self.world.store.revision();
        let start = wish.back.map_or(0, |back| (newest - back).max(1));
        let create = Create {
            filters: wish.filters.clone(),
            prev_kv: wish.prev_kv,
            progress_notify: wish.progress_notify,
            ..Create::new(wish.range.clone(), start)
        };
        self.world.create(self.id(stream), create);
        let told = if start == 0 { newest + 1 } else { start };
        let client = &mut self.clients[stream as usize];
        client.asked.push_back((wish, start, told));
    }

    fn reopen(&mut self, stream: u64) {
        self.world.publish();
        self.world.ask(Ask::Close(StreamId(self.id(stream))));
        self.clients[stream as usize].generation += 1;
        let pipe = self.world.open(self.id(stream), 2);
        let client = &mut self.clients[stream as usize];
        client.pipe = pipe;
        client.seen.clear();
        client.asked.clear();
    }

    fn install(&mut self, puts: Vec<usize>, compacts: bool) {
        let image = self.world.store.snapshot().encode();
        self.world.store = Store::decode(&image).unwrap();
        for key in puts {
            self.apply(&put(KEYS[key], "s"));
        }
        if compacts {
            self.compact(0);
        }
        self.world.unpublished.clear();
        self.world.is_replaced = true;
    }

    fn read(&mut self, stream: u64) -> Result<bool, TestCaseError> {
        let id = self.id(stream);
        let client = &mut self.clients[stream as usize];
        let Some(response) = self.world.read(id, &client.pipe) else {
            return Ok(false);
        };
        match &response.body {
            Body::Created => {
                let (wish, start, told) = client.asked.pop_front().unwrap();
                let is_over = false;
                let seen = Seen {
                    wish,
                    start,
                    told,
                    is_over,
                };
                client.seen.insert(response.id.0, seen);
            }
            Body::Canceled => drop(client.seen.remove(&response.id.0)),
            Body::Progress if response.id == NO_ID => {
                for seen in client.seen.values_mut().filter(|seen| !seen.is_over) {
                    seen.check_progress(response.revision, &self.history)?;
                }
            }
            _ => {
                let seen = client.seen.get_mut(&response.id.0).unwrap();
                seen.hear(&response, &self.history)?;
            }
        }
        Ok(true)
    }

    /// Everybody reads everything: then nobody may miss anything.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        let mut goes_on = true;
        while goes_on {
            self.world.settle();
            goes_on = false;
            for stream in 0..STREAMS {
                while self.read(stream)? {
                    goes_on = true;
                }
            }
        }
        prop_assert_eq!(self.world.hub.figures().slow, 0);
        let newest = self.world.store.revision();
        for seen in self.clients.iter().flat_map(|client| client.seen.values()) {
            let missed = self.history.wanted(&seen.wish, seen.told, newest).count();
            prop_assert!(seen.is_over || missed == 0, "{missed} events missed");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_watcher_gets_its_piece_of_history(steps in vec(step(), 1..120)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step)?;
        }
        run.finish()?;
    }
}

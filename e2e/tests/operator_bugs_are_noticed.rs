//! A test that never fails may be blind. Here bugs that users of other operators have met are planted in this one, each in turn, and
//! the judges of the simulated world must notice each; in the same runs they have nothing to say of the operator as it is.
//!
//! A bug is looked for in every story: told plainly, then with every deletion held up until another operator has done the work,
//! then with writes that fail or kill the operator, drawn by `BUGS_SEED`. `BUGS_ONLY` names one to look for alone.

use std::collections::BTreeSet;
use std::path::Path;

use e2e::FIGURE;
use e2e::simulated::{Bug, Crash, Story, Summary, When, side_by_side, stories};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Runs with drawn faults in which a bug must be noticed at the latest.
const DRAWN: usize = 30;
/// How a write may fail.
const WAYS: [When; 4] = [When::Before, When::After, When::Refused, When::Unheard];

/// One way to tell a story: which, and what happens at which write.
type Run = (usize, Option<(u64, When)>);

/// The stories, and how each ends without a bug and without a fault.
struct Library {
    stories: Vec<Story>,
    ends: Vec<(Summary, Vec<String>)>,
}

impl Library {
    fn open() -> Self {
        let stories = stories();
        let ends = side_by_side(stories.iter().collect(), async |story: &Story| {
            let fate = Crash::never();
            let end = story.tell(None, &fate).await;
            let end = end.unwrap_or_else(|why| panic!("{}: {why}", story.name));
            (end, fate.writes())
        });
        Self { stories, ends }
    }

    /// All runs, the plain ones first.
    fn runs(&self, seed: u64) -> Vec<Run> {
        let mut chance = SmallRng::seed_from_u64(seed);
        let all = 0..self.stories.len();
        let plain = all.clone().map(|at| (at, None));
        let held = all.clone().flat_map(|at| {
            let writes = (1..).zip(&self.ends[at].1);
            let deletions = writes.filter(|(_, write)| write.starts_with("DELETE "));
            deletions.map(move |(n, _)| (at, Some((n, When::Held))))
        });
        let written: Vec<usize> = all.filter(|at| !self.ends[*at].1.is_empty()).collect();
        let drawn = (0..DRAWN).map(|_| {
            let at = *written.choose(&mut chance).expect("stories have writes");
            let n = chance.random_range(1..=self.ends[at].1.len() as u64);
            let way = *WAYS.choose(&mut chance).expect("there are ways");
            (at, Some((n, way)))
        });
        plain.chain(held).chain(drawn).collect()
    }

    /// What the judges say of a run, if they have anything to say.
    async fn judged(&self, bug: Option<Bug>, (at, fault): Run) -> Result<(), String> {
        let fate = fault.map_or_else(Crash::never, |(n, when)| Crash::at(n, when));
        let end = self.stories[at].tell(bug, &fate).await?;
        let differences = end.differences(&self.ends[at].0);
        match differences.first() {
            None => Ok(()),
            Some(first) => Err(first.clone()),
        }
    }

    /// The first run in which the bug is noticed, how many it took, and what was said.
    async fn noticed(&self, bug: Bug, seed: u64) -> Option<(usize, Run, String)> {
        for (n, run) in self.runs(seed).into_iter().enumerate() {
            if let Err(why) = self.judged(Some(bug), run).await {
                return Some((n + 1, run, why));
            }
        }
        None
    }

    /// Looks for a bug, and makes sure that nothing is said of the operator as it is in the run that shows it; how many runs it took.
    async fn look_for(&self, bug: Bug, seed: u64) -> Result<usize, String> {
        let found = self.noticed(bug, seed).await;
        let (count, run, why) = found.ok_or_else(|| format!("nobody noticed {bug:?}"))?;
        let (story, fault) = (self.stories[run.0].name, run.1);
        let said: String = why.chars().take(120).collect();
        println!(
            "{:<22} {count:>3} runs  {story}, {fault:?}: {}",
            format!("{bug:?}"),
            said.replace('\n', " ")
        );
        let sound = self.judged(None, run).await;
        sound.map_err(|why| format!("{bug:?} is noticed, and so is nothing: {why}"))?;
        Ok(count)
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_planted_bug_is_noticed() {
    let library = Library::open();
    let (seed, only) = (number("BUGS_SEED", 1), std::env::var("BUGS_ONLY").ok());
    let is_asked = |it: &Bug| only.as_ref().is_none_or(|only| *only == format!("{it:?}"));
    let asked: Vec<Bug> = Bug::ALL.into_iter().filter(is_asked).collect();
    assert!(!asked.is_empty(), "there is no bug {only:?}");
    let bugs = asked.len();
    let looked = side_by_side(asked, async |bug| library.look_for(bug, seed).await);
    let looked: Result<Vec<usize>, String> = looked.into_iter().collect();
    let runs: usize = looked.unwrap_or_else(|why| panic!("{why}")).iter().sum();
    println!(
        "{FIGURE}{bugs} planted bugs noticed in {runs} runs of {} stories, none without",
        library.stories.len()
    );
}

#[test]
fn every_bug_was_met_by_somebody() {
    for bug in Bug::ALL {
        let (project, number) = bug.met_in().split_once('#').expect("an issue");
        assert!(
            project.contains('/') && number.parse::<u32>().is_ok(),
            "{bug:?}"
        );
    }
}

/// Every name between backticks in the table, and every bug is in it.
#[test]
fn every_pain_is_held_by_tests_that_exist() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let page =
        std::fs::read_to_string(here.join("../../docs/pains.md")).expect("the page is there");
    let files = sources(&here);
    let is_file = |name: &str| {
        let path = here.join(name);
        path.with_extension("rs").is_file() || path.join("main.rs").is_file()
    };
    let is_function = |name: &str| files.contains(&format!("fn {name}("));
    let rows = page
        .lines()
        .filter(|it| it.starts_with("| ") && !it.starts_with("| #"));
    let mut bugs: BTreeSet<String> = Bug::ALL.iter().map(|it| format!("{it:?}")).collect();
    let mut count = 0;
    for row in rows {
        count += 1;
        let tests = row.rsplit('|').nth(1).expect("a row has cells");
        for name in tests
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|it| !it.contains(' '))
        {
            let exists = match name.strip_prefix("Bug::") {
                Some(bug) => bugs.remove(bug),
                None => is_file(name) || is_function(name),
            };
            assert!(exists, "{name} in: {row}");
        }
    }
    assert_eq!(count, 33);
    println!("{FIGURE}33 pains; bugs that belong to none: {bugs:?}");
}

/// The text of all tests.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|it| it.expect("it can be read").path());
    let texts = paths.map(|path| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(it) if it == "rs" => std::fs::read_to_string(&path).expect("it can be read"),
        _ => String::new(),
    });
    texts.collect()
}

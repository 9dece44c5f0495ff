//! Golden scripts: `scripts/*.txt` hold what a client asks and, below it, what the store answers.
//!
//! A command stands after `> `, what belongs to a transaction indented below it, then the answer up to the next
//! command or empty line. Lines with `#` are for the reader. `UPDATE_GOLDENFILES=1 cargo test -p store` writes the answers anew.
//!
//! `as NAME ` before a command says whose it is, `as NAME@REVISION ` as of which revision of users and roles; otherwise it is
//! nobody's.
//!
//! A key is written as it is, `a..c` is a range, `a..` everything from `a` on, `''` nothing, `\0` and `\xff` are bytes.

mod golden {
    mod auth;
    pub(crate) mod parse;
    pub(crate) mod show;
}

use std::fmt::Write as _;
use std::path::Path;

use golden::parse::{Ask, parse};
use golden::show;
use store::{Author, Command, Store, validate};

/// etcd's default for `--max-txn-ops`.
const MAX_TXN_OPS: usize = 128;

struct Session {
    store: Store,
    index: u64,
    max_txn_ops: usize,
    author: Option<Author>,
}

impl Session {
    /// Whose the next command is; gives the command back.
    fn take_author<'a>(&mut self, line: &'a str) -> &'a str {
        self.author = None;
        let Some((name, line)) = line
            .strip_prefix("as ")
            .and_then(|line| line.split_once(' '))
        else {
            return line;
        };
        let (name, revision) = match name.split_once('@') {
            Some((name, revision)) => (name, revision.parse().expect("a revision")),
            None => (name, self.store.auth().revision()),
        };
        self.author = Some(Author {
            name: name.replace("''", ""),
            revision,
        });
        line
    }

    fn answer(&mut self, ask: Ask) -> String {
        match ask {
            Ask::Apply(command) => self.apply(&command),
            Ask::Range(request) => {
                let access = self.store.auth().access(self.author.as_ref());
                let checked = validate::range(&request)
                    .and_then(|()| Ok(access.read(&request.key, &request.range_end)?));
                match checked.and_then(|()| self.store.range(&request)) {
                    Ok(answer) => show::range(&answer),
                    Err(error) => show::refusal(error),
                }
            }
            Ask::ReadTxn(request) => {
                let checked = self.store.check_txn(&request, self.author.as_ref());
                match checked.and_then(|()| self.store.read_txn(&request)) {
                    Ok(answer) => show::txn(&answer),
                    Err(error) => show::refusal(error),
                }
            }
            Ask::Changes(from) => match self.store.changes_from(from) {
                Ok(changes) => changes
                    .map(|change| show::change(&self.store, &change))
                    .collect(),
                Err(error) => show::refusal(error),
            },
            Ask::Hash(revision) => match self.store.hash_kv(revision) {
                Ok(hash) => show::hash(&hash),
                Err(error) => show::refusal(error),
            },
            Ask::Restart => self.restart(),
            Ask::Kept => self.kept(),
            Ask::Leases => show::leases(&self.store),
            Ask::Alarms => show::alarms(&self.store.alarms().iter().collect::<Vec<_>>()),
            Ask::Version => format!(
                "cluster {:?}, downgrade to {:?}\n",
                self.store.cluster_version().map(|it| it.to_string()),
                self.store.downgrade().map(|it| it.to_string())
            ),
            Ask::LeaveJoint => {
                self.index += 1;
                let answer = self.store.leave_joint(self.index);
                answer.map_or_else(
                    || "nothing was under way\n".to_owned(),
                    |it| show::response(&it),
                )
            }
            Ask::Electorates => show::electorates(self.store.members()),
            Ask::Auth => show::auth(self.store.auth()),
            Ask::MaxTxnOps(limit) => {
                self.max_txn_ops = limit;
                String::new()
            }
        }
    }

    fn apply(&mut self, command: &Command) -> String {
        let checked = validate::command(command, self.max_txn_ops)
            .and_then(|()| self.store.members().check(command));
        if let Err(error) = checked {
            return show::refusal(error);
        }
        self.index += 1;
        let before = self.store.digest();
        let applied = self
            .store
            .apply_by(self.index, command, self.author.as_ref());
        let refused = matches!(applied.response, store::Response::Refused(_));
        assert!(
            !refused || before == self.store.digest(),
            "a refusal has no effect"
        );
        let mut text = show::response(&applied.response);
        for change in &applied.changes {
            text.push_str(&show::change(&self.store, change));
        }
        text
    }

    /// The store goes on from its own image.
    fn restart(&mut self) -> String {
        let image = self.store.snapshot();
        let restored = Store::decode(&image.encode()).expect("an image reads back");
        assert_eq!(restored.digest(), self.store.digest());
        assert_eq!(restored.leases(), self.store.leases());
        assert_eq!(restored.auth(), self.store.auth());
        self.store = restored;
        let store = &self.store;
        let (applied, revision) = (store.applied_index(), store.revision());
        format!(
            "restored at index {applied}, revision {revision}, compacted at {}\n",
            store.compact_revision()
        )
    }

    /// What is left once all garbage is gone.
    fn kept(&mut self) -> String {
        while self.store.sweep(1) {}
        let size = self.store.size();
        format!("{} keys, {} records\n", size.keys, size.records)
    }
}

/// Plays a script; the text it should have been.
fn play(text: &str) -> String {
    let mut session = Session {
        store: Store::new(),
        index: 0,
        max_txn_ops: MAX_TXN_OPS,
        author: None,
    };
    let mut played = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(played, "{line}").expect("a string takes all");
        let Some(verb) = line.strip_prefix("> ") else {
            continue;
        };
        let mut body = Vec::new();
        while let Some(more) = lines.next_if(|line| line.starts_with(">   ")) {
            writeln!(played, "{more}").expect("a string takes all");
            body.push(&more[2..]);
        }
        let old_answer = |line: &&str| !line.is_empty() && !line.starts_with("> ");
        while lines.next_if(old_answer).is_some() {}
        let verb = session.take_author(verb);
        played.push_str(&session.answer(parse(verb, &body)));
    }
    played
}

#[test]
fn every_script_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(&folder)
        .expect("the scripts stand beside this file")
        .map(|entry| entry.expect("the folder is readable").path())
        .collect();
    scripts.sort();
    assert!(
        scripts.len() >= 8,
        "only {} scripts in {}",
        scripts.len(),
        folder.display()
    );
    for path in scripts {
        let written = std::fs::read_to_string(&path).expect("a script is text");
        let played = play(&written);
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(&path, played).expect("the golden files are writable");
        } else {
            assert_eq!(written, played, "{} plays otherwise", path.display());
        }
    }
}

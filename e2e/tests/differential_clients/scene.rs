//! A scene: a file of invocations of `etcdctl`, one a line, as a person would type them; without a shell.
//!
//! - `put k "a value"`: runs to its end. A line that begins with `|` below it is a line of its standard input.
//! - `NAME = lease grant 60`: the id in what it says is `$NAME` from then on.
//! - `NAME & watch k`: runs beside what follows. `wait NAME 2` waits until it has said two lines, and `end NAME`
//!   interrupts it, and takes what it has said.
//! - `until 2 get k`: asks again until the answer has two lines.
//! - `unordered`: the order of the lines of an answer is chance, as it is with several members.
//! - `members 3`: how many members there are; first of all, and one without it.
//!
//! `$endpoint` is the first member, `$endpoints` all, `$other` a second cluster, `$folder` a folder; `$m0` a member's id,
//! `$leader` and `$follower` those of such members, `$spare` that of neither the follower nor the first.
//!
//! It deliberately expands nothing else.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// One line, with its input.
#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    /// As it stands there.
    pub(crate) line: String,
    /// What is done.
    pub(crate) act: Act,
    /// The words after that.
    pub(crate) words: Vec<String>,
    /// Standard input.
    pub(crate) input: String,
}

/// What is done with an invocation.
#[derive(Debug, PartialEq)]
pub(crate) enum Act {
    /// To its end; its id is kept by a name.
    Run(Option<String>),
    /// Beside the rest, by a name.
    Begin(String),
    /// Until it has said so many lines.
    Wait(String, usize),
    /// Interrupts it.
    End(String),
    /// Again until the answer has so many lines.
    Until(usize),
}

/// A whole file.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The file's name.
    pub(crate) name: String,
    /// How many members it needs.
    pub(crate) members: usize,
    /// Whether the order of lines is chance.
    pub(crate) unordered: bool,
    /// What is done, in its order.
    pub(crate) steps: Vec<Step>,
}

impl Scene {
    /// Reads a file.
    ///
    /// # Errors
    /// With the line that cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scene = Self {
            name: name.to_owned(),
            members: 1,
            unordered: false,
            steps: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            scene
                .take(line.trim())
                .with_context(|| format!("{name}, line {}: {line}", number + 1))?;
        }
        Ok(scene)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(input) = line.strip_prefix('|') {
            let step = self.steps.last_mut().context("input of what?")?;
            step.input += input.strip_prefix(' ').unwrap_or(input);
            step.input.push('\n');
            return Ok(());
        }
        if let Some(members) = line.strip_prefix("members ") {
            self.members = members.parse()?;
            self.unordered |= self.members > 1;
            return Ok(());
        }
        if line == "unordered" {
            self.unordered = true;
            return Ok(());
        }
        let (act, words) = act(words(line)?)?;
        self.steps.push(Step {
            line: line.to_owned(),
            act,
            words,
            input: String::new(),
        });
        Ok(())
    }
}

fn act(mut words: Vec<String>) -> Result<(Act, Vec<String>)> {
    let [first, second] = [0, 1].map(|at| words.get(at).cloned().unwrap_or_default());
    let (act, taken) = match (first.as_str(), second.as_str()) {
        ("wait", name) => {
            let lines = words.get(2).context("how many lines?")?.parse()?;
            (Act::Wait(name.to_owned(), lines), 3)
        }
        ("end", name) => (Act::End(name.to_owned()), 2),
        ("until", lines) => (Act::Until(lines.parse()?), 2),
        (name, "=") => (Act::Run(Some(name.to_owned())), 2),
        (name, "&") => (Act::Begin(name.to_owned()), 2),
        _ => (Act::Run(None), 0),
    };
    ensure!(words.len() >= taken, "a word is missing");
    Ok((act, words.split_off(taken)))
}

/// Words stand between blanks; a word in quotes may hold some.
fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some(split) => split,
                None => bail!("a quote is open"),
            },
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

#[test]
fn a_scene_is_read_as_it_is_typed() {
    let text = "members 3\n# why\nput k \"a value\" \"\"\n| in\n|\nL = lease grant 60\nw & watch k\nwait w 2\nend w\nuntil 2 get k";
    let scene = Scene::parse("scene", text).unwrap();
    assert_eq!((scene.members, scene.unordered), (3, true));
    assert_eq!(scene.steps[0].words, ["put", "k", "a value", ""]);
    assert_eq!(scene.steps[0].input, "in\n\n");
    let acts: Vec<Act> = scene.steps.into_iter().map(|it| it.act).collect();
    let name = || "w".to_owned();
    let wanted = [
        Act::Run(None),
        Act::Run(Some("L".to_owned())),
        Act::Begin(name()),
        Act::Wait(name(), 2),
        Act::End(name()),
        Act::Until(2),
    ];
    assert_eq!(acts, wanted);
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let error = format!("{:#}", Scene::parse("scene", "\nput \"k").unwrap_err());
    assert_eq!(error, "scene, line 2: put \"k: a quote is open");
}

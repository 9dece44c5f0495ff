//! Where the demo speaks: redrawn on a terminal, plain lines elsewhere.
//!
//! On a terminal a tree is drawn over the one before it. Elsewhere only its changed lines are
//! printed, so that a log stays short. `NO_COLOR` is honoured. It knows two escapes (go up,
//! erase) and four colours, and needs no library for them.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// The demo's output.
pub(crate) struct Screen {
    redraws: bool,
    colours: bool,
    began: Instant,
    /// The tree as it stands; on a terminal it can be drawn over.
    tree: Vec<String>,
}

impl Screen {
    /// Standard output, as it is.
    pub(crate) fn new() -> Self {
        let redraws = io::stdout().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            redraws,
            colours: redraws && !unwanted,
            began: Instant::now(),
            tree: Vec::new(),
        }
    }

    /// Whether a person is watching.
    pub(crate) fn is_terminal(&self) -> bool {
        self.redraws
    }

    /// A new step of the demo.
    pub(crate) fn step(&mut self, text: &str) {
        self.leave_tree();
        let at = format!("[{:>5.1} s]", self.began.elapsed().as_secs_f64());
        self.put(&format!(
            "{} {}",
            self.painted(YELLOW, &at),
            self.painted(BOLD, text)
        ));
    }

    /// What a step has found.
    pub(crate) fn say(&mut self, text: &str) {
        self.leave_tree();
        self.put(&format!("          {text}"));
    }

    /// Why the demo ends here; where the logs are is said by their folder.
    pub(crate) fn failed(&mut self, cause: &str) {
        self.leave_tree();
        self.put(&format!("{} {cause}", self.painted(RED, "failed:")));
    }

    /// The state of the cluster.
    pub(crate) fn tree(&mut self, mut lines: Vec<String>) {
        if !self.redraws {
            // Only what changed is said, and a branch without its tree would be a riddle.
            for line in &mut lines {
                *line = line.replace(['├', '└', '─'], " ");
            }
        }
        if lines == self.tree {
            return;
        }
        if self.redraws {
            // Up to the first line of the old tree, and erase everything below.
            if !self.tree.is_empty() {
                self.put_raw(&format!("\x1b[{}A\x1b[J", self.tree.len()));
            }
            for line in &lines {
                self.put(&format!("          {}", self.coloured(line)));
            }
        } else {
            for line in lines.iter().filter(|l| !self.tree.contains(l)) {
                self.put(&format!("          {line}"));
            }
        }
        self.tree = lines;
    }

    /// What is printed next stands below the tree, which stays as it is.
    fn leave_tree(&mut self) {
        self.tree.clear();
    }

    fn coloured(&self, line: &str) -> String {
        let colour = [
            (" leader ", GREEN),
            ("unhealthy", RED),
            ("volume lost", RED),
            ("waits:", YELLOW),
            ("doing:", YELLOW),
        ];
        let found = colour.iter().find(|(word, _)| line.contains(word));
        found.map_or_else(|| line.to_owned(), |(_, colour)| self.painted(colour, line))
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("{colour}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }

    fn put(&self, line: &str) {
        self.put_raw(&format!("{line}\n"));
    }

    fn put_raw(&self, text: &str) {
        let mut out = io::stdout().lock();
        // A reader that went away is no reason to leave processes behind: the demo goes on to its end.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

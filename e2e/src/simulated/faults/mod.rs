//! What goes wrong between an operator and its world: the API server answers with errors, and members lie.
//!
//! Each family counts the calls that it could strike, in the order in which they are sent, and strikes at one number, or at
//! random under a seed. So every run can be told again.
//!
//! It deliberately judges nothing: see `story.rs`.

mod answers;
mod lies;
mod schedule;

use std::sync::Arc;

use kube::Client;
use quorate_operator::members::Members;

pub use self::answers::Answer;
pub use self::lies::Lie;
pub use self::schedule::{Schedule, Strikes};

/// All that may go wrong in one telling of a story. Clones share it.
#[derive(Clone, Default)]
pub struct Faults {
    /// Answers of the API server to any call.
    pub answers: Schedule<Answer>,
    /// Answers of members to any call.
    pub lies: Schedule<Lie>,
    past: lies::Past,
}

impl Faults {
    /// These two families at once.
    #[must_use]
    pub fn new(answers: Strikes<Answer>, lies: Strikes<Lie>) -> Self {
        Self {
            answers: Schedule::new(answers),
            lies: Schedule::new(lies),
            past: lies::Past::default(),
        }
    }

    /// Nothing goes wrong from now on, and nothing is counted any more.
    pub fn end(&self) {
        self.answers.end();
        self.lies.end();
    }

    /// How many calls went wrong.
    #[must_use]
    pub fn struck(&self) -> u32 {
        self.answers.struck() + self.lies.struck()
    }

    /// A client that meets these faults.
    pub(super) fn client(&self, client: Client) -> Client {
        answers::client(client, self.answers.clone())
    }

    /// Members that lie so.
    pub(super) fn members(&self, members: Arc<dyn Members>) -> Arc<dyn Members> {
        lies::members(members, self.lies.clone(), self.past.clone())
    }
}

//! What applied entries mean for tokens, until the loop fetches it.
//!
//! What this module deliberately does not do: remember tokens. They end by the clock, which the replica does not have.

use raft::Index;
use store::{Command, Response};

use super::Replica;
use crate::auth::{self, News};

/// See the module.
#[derive(Debug)]
pub(super) struct TokenNews {
    /// The end of the log at the start: what entries up to here gave out must not come to life again.
    born_after: Index,
    untold: Vec<News>,
}

impl TokenNews {
    pub(super) const fn new(born_after: Index) -> Self {
        Self {
            born_after,
            untold: Vec::new(),
        }
    }
}

impl<W> Replica<W> {
    /// What to tell whoever remembers tokens, in order, before anybody is answered.
    #[must_use]
    pub fn take_token_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.tokens.untold)
    }

    pub(super) fn note_tokens(&mut self, index: Index, command: &Command, response: &Response) {
        let is_new =
            |news: &News| index > self.tokens.born_after || !matches!(news, News::Given { .. });
        let news = auth::news(command, response).filter(is_new);
        self.tokens.untold.extend(news);
    }

    /// A snapshot takes the place of entries that may have ended tokens.
    pub(super) fn end_all_tokens(&mut self) {
        self.tokens.untold.push(News::AllEnded);
    }
}

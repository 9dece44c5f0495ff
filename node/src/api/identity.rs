//! Whose a request is, carried along with what it asks for.
//!
//! A read goes to the loop together with whoever asks, and is judged there by the very state that answers it. Whose the token is
//! is looked up before and after: if that has changed meanwhile (this member was behind, or the token has ended), the answer
//! is not given out, and the question is asked again in the name of whom it is now.
//!
//! What this module deliberately does not do: judge.

use store::{Command, Response as Answer};
use tonic::Status;

use super::Shared;
use crate::auth::{Caller, Credentials};
use crate::event::{Need, Outcome, Read};
use crate::refusal::Refusal;

impl Shared {
    /// Reads in somebody's name.
    pub(super) async fn read_by(
        &self,
        credentials: &Credentials,
        read: Read,
        serializable: bool,
    ) -> Result<Outcome, Refusal> {
        let (outcome, _) = self.read_and_tell(credentials, read, serializable).await?;
        Ok(outcome)
    }

    /// The same, and in whose name it was.
    pub(super) async fn read_and_tell(
        &self,
        credentials: &Credentials,
        read: Read,
        serializable: bool,
    ) -> Result<(Outcome, Option<Caller>), Refusal> {
        let mut caller = self.guard.caller(credentials).await?;
        loop {
            let asked = Read::By(caller.clone(), Box::new(read.clone()));
            let outcome = if serializable {
                self.handle.read_local(asked).await
            } else {
                self.handle.read(asked).await
            };
            let now = self.guard.caller(credentials).await?;
            if now == caller {
                return outcome.map(|outcome| (outcome, caller));
            }
            caller = now;
        }
    }

    /// Whether somebody may, as this member has it; the loop is not asked while everybody may everything.
    pub(super) async fn permit(
        &self,
        credentials: &Credentials,
        need: Need,
    ) -> Result<(), Refusal> {
        if !self.guard.auth().is_enabled() {
            return Ok(());
        }
        let asked = self.read_by(credentials, Read::Permit(need), true);
        asked.await.map(drop)
    }

    /// Puts a checked command into the log in somebody's name, if it is not too large.
    pub(super) async fn propose_by(
        &self,
        credentials: &Credentials,
        command: &Command,
    ) -> Result<Answer, Status> {
        let author = self.guard.author(credentials).await?;
        self.put_into_log(command.to_bytes_by(author.as_ref()))
            .await
    }
}

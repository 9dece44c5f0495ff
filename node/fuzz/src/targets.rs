//! The decoders, by what lies before them.

mod clients;
mod disk;
mod peers;
mod start;
mod state;

pub use clients::{calls, gateway, http, tokens};
pub use disk::{checkpoint, log};
pub use peers::{messages, peer_calls};
pub use start::{certificates, config_file, environment, flags};
pub use state::{batch, command, database, image, snapshot};

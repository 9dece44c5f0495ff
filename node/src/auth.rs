//! Who sends a request, and what that lets him do: passwords, tokens, and the rule of each request.
//!
//! Users, roles and permissions are the store's, and so is every judgement on a command in the log. Here is what needs a
//! clock, randomness or time to compute: hashing passwords, giving out tokens, finding out whose a token is.
//!
//! 1. A password leaves this process only as a bcrypt hash, and a hash is made and compared on threads that serve nobody else.
//! 2. A simple token is known to every member that applies the entry which gave it out, from before its user hears of it. It ends
//!    when it is not used for `--auth-token-ttl`, when its user's password changes, with its user, with authentication, and with the
//!    member's process.
//! 3. A read is judged by the state that it reads, never by an older one; a token that ends while its read is under way gets no
//!    answer.
//! 4. No password, hash, token or key shows in a log or in `Debug` output.
//!
//! What this module deliberately does not do: TLS. Which name a client's certificate carries is handed in with the request.

mod caller;
mod guard;
mod jwt;
mod keys;
mod options;
mod password;
mod permit;
mod provider;
mod tokens;

pub use caller::{Caller, Credentials};
pub use guard::Guard;
pub use jwt::{Jwt, JwtError};
pub use options::{BCRYPT_COST_DEFAULT, BCRYPT_COSTS, JwtOptions, TokenOptions};
pub use password::Passwords;
pub(crate) use permit::check_read;
pub use provider::Provider;
pub use tokens::{News, Tokens, news};

//! Storage under crashes, cuts and flipped bits: what was acknowledged stays, what is damaged is refused.

#![allow(clippy::unwrap_used, reason = "what the lab cannot do fails the test")]

mod bytes;
mod checkpoints;
mod lab;
mod model;
mod rules;
mod salvage;
mod scrub;

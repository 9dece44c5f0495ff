//! The chart, and the plain manifest made from it: what they render is what Kubernetes takes, what the operator needs and
//! what is written down. `UPDATE_GOLDENFILES=1 cargo test -p e2e --test chart` rewrites what is rendered.
//!
//! Rendering takes `helm`, 3 or 4, from `PATH` or from the folder that `LAB_PREBUILT` names; without it these tests say
//! what they left out. It deliberately needs no Kubernetes: that the chart *works* is for the tests on kind.

mod monitoring;
mod objects;
mod rendering;
mod rights;
mod setting;
mod writing;

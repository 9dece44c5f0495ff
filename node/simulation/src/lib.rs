//! A cluster of whole members in one thread, on a simulated network, disk and clock, drawn from one seed.
//!
//! The members run the code that `quorate-node` runs: its replica, its log and checkpoints, its watches. What is simulated is what
//! lies outside of the process. Whatever is drawn, the same seed gives the same run, event for event.
//!
//! It deliberately knows no gRPC and no TLS: those have tests with real sockets.

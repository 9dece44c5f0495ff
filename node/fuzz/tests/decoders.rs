//! The short run of every target; and under `cargo bolero`, the same targets looked for by coverage.

#![allow(unexpected_cfgs, reason = "cargo-bolero sets it")]

use fuzz::{mutation::Mutation, targets};

macro_rules! decoders {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            let target = targets::$name();
            if cfg!(fuzzing) {
                let show = std::panic::AssertUnwindSafe(|mutation: &Mutation| {
                    target.show(&target.input(mutation));
                });
                bolero::check!().with_type::<Mutation>().for_each(move |mutation| show(mutation));
            } else {
                target.run();
            }
        }
    )+};
}

decoders! {
    log checkpoint
    image command batch database snapshot
    messages peer_calls
    calls gateway http tokens
    flags environment config_file certificates
}

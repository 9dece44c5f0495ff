//! The figures for a reader, beside what we want them to be.

use comfy_table::{Table, presets};

use crate::measure::Figures;

const MIB: f64 = (1 << 20) as f64;

pub(crate) fn table(figures: &Figures) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["", "measured", "wanted"]);
    let mut row = |what: String, measured: String, wanted: &str| {
        table.add_row([what, measured, wanted.to_owned()]);
    };
    let clusters = figures.clusters;
    let ready = format!("{:.1} s", figures.all_ready_seconds);
    row(format!("{clusters} clusters ready"), ready, "under 240 s");
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB);
    let bound = format!("under {:.1} MiB", 64.0 + clusters as f64 * 40.0 / 1_024.0);
    row(
        "memory at the start".into(),
        mib(figures.memory_bytes_at_start),
        "",
    );
    row(
        "memory with all".into(),
        mib(figures.memory_bytes_with_all),
        &bound,
    );
    row(
        "memory at most until then".into(),
        mib(figures.memory_bytes_at_most),
        "",
    );
    let beside = format!("memory beside {} foreign pods", figures.foreign_pods);
    row(
        beside,
        mib(figures.memory_bytes_beside_foreign_pods),
        &bound,
    );
    for (method, count) in &figures.requests_per_cluster {
        row(format!("{method} per cluster"), format!("{count:.1}"), "");
    }
    for (request, count) in &figures.requests_answered_per_cluster {
        let what = format!("{request} per cluster, of everybody");
        row(what, format!("{count:.1}"), "");
    }
    let processor = format!("{:.0} ms", figures.processor_milliseconds_per_cluster);
    row("the operator's processor per cluster".into(), processor, "");
    let idle = format!("writes in {} idle seconds", figures.idle_seconds);
    row(idle, figures.writes_while_idle.to_string(), "0");
    for (request, count) in &figures.writes_answered_while_idle {
        row(
            format!("{request} while idle, of everybody"),
            count.to_string(),
            "",
        );
    }
    let told = ("edit to its echo", &figures.edit_told_milliseconds, "");
    let acted = (
        "edit to first action",
        &figures.edit_milliseconds,
        "under 75 ms",
    );
    for (what, milliseconds, wanted) in [told, acted] {
        for (name, share, wanted) in [("median", 0.5, ""), ("p90", 0.9, ""), ("p99", 0.99, wanted)]
        {
            let what = format!("{what}, {name}");
            row(what, quantile(milliseconds, share), wanted);
        }
    }
    let restart = format!("{:.1} s", figures.restart_seconds);
    row("all looked at after a restart".into(), restart, "");
    table
}

/// The smallest of these milliseconds that at least this share does not exceed.
fn quantile(milliseconds: &[f64], share: f64) -> String {
    let mut sorted = milliseconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(place.saturating_sub(1));
    value.map_or_else(String::new, |it| format!("{it:.0} ms"))
}

//! Medians over the rounds, as a table or as JSON.

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::Round;
use crate::load::{Load, Measured};

/// The medians of one load.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    clients: u32,
    rounds: usize,
    puts_per_second: Figures,
    cpu_microseconds_per_put: Figures,
}

/// One quantity of both; the ratio is the median of the rounds' ratios, ours over etcd's.
#[derive(Debug, Serialize)]
struct Figures {
    ours: f64,
    etcd: f64,
    ratio: f64,
}

impl Row {
    pub(crate) fn new(load: Load, rounds: Vec<Round>) -> Self {
        Self {
            clients: load.clients,
            rounds: rounds.len(),
            puts_per_second: Figures::of(&rounds, |m| m.puts_per_second),
            cpu_microseconds_per_put: Figures::of(&rounds, |m| m.cpu_microseconds_per_put),
        }
    }
}

impl Figures {
    fn of(rounds: &[Round], quantity: fn(&Measured) -> f64) -> Self {
        Self {
            ours: median(rounds.iter().map(|r| quantity(&r.ours)).collect()),
            etcd: median(rounds.iter().map(|r| quantity(&r.etcd)).collect()),
            ratio: median(
                rounds
                    .iter()
                    .map(|r| quantity(&r.ours) / quantity(&r.etcd))
                    .collect(),
            ),
        }
    }

    fn cells(&self) -> [String; 3] {
        [
            format!("{:.0}", self.ours),
            format!("{:.0}", self.etcd),
            format!("{:.2}", self.ratio),
        ]
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(low, high)
}

/// The medians for a reader.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "clients",
        "puts/s",
        "etcd",
        "ratio",
        "CPU us/put",
        "etcd",
        "ratio",
    ]);
    for row in rows {
        let mut cells = vec![row.clients.to_string()];
        cells.extend(row.puts_per_second.cells());
        cells.extend(row.cpu_microseconds_per_put.cells());
        table.add_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}

//! Figures of a run, as a table for people and JSON for programs.

use std::fmt::Write as _;

use serde_json::json;

/// One figure.
struct Row {
    scenario: String,
    figure: String,
    value: f64,
    unit: &'static str,
    goal: Option<String>,
}

/// All figures of a run.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a figure.
    pub(super) fn add(&mut self, scenario: &str, figure: &str, value: f64, unit: &'static str) {
        self.rows.push(Row {
            scenario: scenario.into(),
            figure: figure.into(),
            value,
            unit,
            goal: None,
        });
    }

    /// States the goal of the figure that was added last.
    pub(super) fn goal(&mut self, goal: &str) {
        if let Some(row) = self.rows.last_mut() {
            row.goal = Some(goal.into());
        }
    }

    /// Adds a sentence that the reader of the figures should know.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let width = |text: fn(&Row) -> &str| self.rows.iter().map(|row| text(row).len()).max().unwrap_or(0);
        let (left, middle) = (width(|row| &row.scenario), width(|row| &row.figure));
        let mut text = String::new();
        for row in &self.rows {
            let value = shown(row.value);
            let goal = row
                .goal
                .as_ref()
                .map_or_else(String::new, |goal| format!("   goal {goal}"));
            // Writing to a String cannot fail.
            writeln!(
                text,
                "{:left$}  {:middle$}  {value:>12} {}{goal}",
                row.scenario, row.figure, row.unit
            )
            .ok();
        }
        for note in &self.notes {
            writeln!(text, "note: {note}").ok();
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> serde_json::Value {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "scenario": row.scenario, "figure": row.figure, "value": row.value, "unit": row.unit,
                    "goal": row.goal,
                })
            })
            .collect();
        json!({ "figures": rows, "notes": self.notes })
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else if value.abs() < 100.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.1}")
    }
}

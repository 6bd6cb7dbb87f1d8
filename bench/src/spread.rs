//! Figures: a median with its spread, and how they are written.

/// A median, and the least and the most.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2)),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }

    /// The median; in brackets the least and the most, where there is more than one.
    pub fn show(self) -> String {
        let median = short(self.median);
        let (least, most) = (short(self.least), short(self.most));
        match least == most {
            true => median,
            false => format!("{median} ({least}–{most})"),
        }
    }

    /// How often the other goes into it.
    pub fn over(self, other: Option<Self>) -> String {
        other.map_or_else(
            || "–".into(),
            |other| format!("{:.2}", self.median / other.median),
        )
    }
}

/// With about three digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        value if value >= 1000.0 => thousands(value.round() as u64),
        value if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// With commas.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

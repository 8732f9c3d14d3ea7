//! The gateway's counters as a test reads them: the Prometheus text of the admin endpoint, taken apart.

/// One line of the exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The metric's name.
    pub name: String,
    /// Its labels in order.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

/// Everything that the gateway exposed at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// The series in the order of the exposition.
    pub series: Vec<Series>,
}

impl Stats {
    /// Reads the text exposition format; comments and lines that are no series are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self {
            series: text.lines().filter_map(series).collect(),
        }
    }

    /// The sum of a counter over every series that carries all of `labels`; 0 when there is none.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // counters are whole numbers far below 2^53
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.value(name, labels).unwrap_or(0.0) as u64
    }

    /// The sum of a gauge, as [`Stats::counter`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // as above
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        self.value(name, labels).unwrap_or(0.0) as i64
    }

    /// The sum over every series that carries all of `labels`; `None` when there is none.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matching = self.matching(name, labels);
        (!matching.is_empty()).then(|| matching.iter().map(|series| series.value).sum())
    }

    /// Every series of that name that carries all of `labels`.
    #[must_use]
    pub fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Series> {
        let matches = |series: &&Series| series.name == name && series.carries(labels);
        self.series.iter().filter(matches).collect()
    }
}

impl Series {
    fn carries(&self, labels: &[(&str, &str)]) -> bool {
        let carries = |(name, value): &(&str, &str)| self.label(name) == Some(*value);
        labels.iter().all(carries)
    }

    /// The value of one label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.iter().find(|(other, _)| other == name)?;
        Some(&label.1)
    }
}

fn series(line: &str) -> Option<Series> {
    if line.starts_with('#') {
        return None;
    }
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((label, after)) = label(rest) {
            labels.push(label);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Takes `name="value"` off the front.
fn label(text: &str) -> Option<((String, String), &str)> {
    let (name, rest) = text.split_once("=\"")?;
    if name.contains(['}', '"']) {
        return None;
    }
    let mut value = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some(((name.to_owned(), value), &rest[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

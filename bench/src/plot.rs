//! Plots as SVG, written by hand: on white, so that they read the same on a dark page.

use std::fmt::Write as _;

use crate::{
    report::{Line, Section},
    spread::{Spread, short, thousands},
    target::Kind,
    workloads::Workload,
};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// The area of the figures.
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = HEIGHT - 62.0;

const INK: &str = "#222222";
const GREY: &str = "#d8d8d8";

/// A section's plot, where it has one: the file's name, what it shows, and the SVG.
pub fn of(section: &Section) -> Option<(&'static str, &'static str, String)> {
    match section.workload {
        Workload::Broadcast1k => {
            let svg = latency(&section.tables.first()?.lines)?;
            Some(("latency.svg", "Latency by target, p50 and p99", svg))
        }
        Workload::Scale => {
            let svg = cost(section)?;
            Some(("scale.svg", "CPU time a delivery by number of streams", svg))
        }
        _ => None,
    }
}

/// Colours that the colour-blind tell apart too.
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Serve => "#0072b2",
        Kind::Apart => "#009e73",
        Kind::Nchan => "#d55e00",
        Kind::Floor | Kind::BareGrpc => "#777777",
        Kind::SafeFloor | Kind::GrpcFloor => "#333333",
    }
}

/// Two bars a target, on a logarithmic scale.
fn latency(lines: &[Line]) -> Option<String> {
    let all = || lines.iter().flat_map(|line| [line.p50, line.p99]);
    let (least, most) = (
        all().map(|value| value.least),
        all().map(|value| value.most),
    );
    let least = least.fold(f64::INFINITY, f64::min).log10().floor();
    let most = most.fold(0.0, f64::max).log10().ceil();
    if !least.is_finite() || !most.is_finite() {
        return None;
    }
    let most = most.max(least + 1.0);
    let y = |value: f64| scaled(value.log10(), (least, most), (BOTTOM, TOP));
    let mut plot = Plot::new(
        "Latency, broadcast to 1,000 streams at 20 events a second",
        "from when an event was due to its receipt, ms (logarithmic)",
    );
    for power in (least as i32)..=(most as i32) {
        let value = 10_f64.powi(power);
        plot.across(y(value), &format!("{value}"));
    }
    let (p50, p99) = ("#56b4e9", "#0072b2");
    plot.legend(&[("p50", p50), ("p99", p99)]);
    let slot = (RIGHT - LEFT) / lines.len() as f64;
    let width = (slot * 0.3).min(56.0);
    for (at, line) in lines.iter().enumerate() {
        let middle = LEFT + slot * (at as f64 + 0.5);
        for (spread, fill, x) in [(line.p50, p50, middle - width), (line.p99, p99, middle)] {
            let top = y(spread.median);
            let x = x + 2.0 * (x - middle + width / 2.0).signum();
            let _ = writeln!(
                plot.svg,
                r#"<rect x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{:.1}" fill="{fill}"/>"#,
                BOTTOM - top
            );
            plot.whisker(x + width / 2.0, y(spread.least), y(spread.most));
            let above = y(spread.most).min(top) - 6.0;
            plot.text(
                (x + width / 2.0, above),
                "middle",
                12,
                &short(spread.median),
            );
        }
        plot.text((middle, BOTTOM + 20.0), "middle", 13, line.kind.name());
    }
    Some(plot.end("each target with the same load, in turn"))
}

/// A line for each target over the number of streams.
fn cost(section: &Section) -> Option<String> {
    let tables = &section.tables;
    let of = |kind: Kind| {
        let points = tables.iter().filter_map(move |table| {
            let line = table.lines.iter().find(|line| line.kind == kind)?;
            Some((table.streams as f64, line.cpu_per_delivery))
        });
        points.filter(|(_, cpu)| cpu.median.is_finite())
    };
    let kinds: Vec<Kind> = tables.first()?.lines.iter().map(|line| line.kind).collect();
    let most = kinds.iter().flat_map(|kind| of(*kind));
    let most = most.map(|(_, cpu)| cpu.most).fold(0.0, f64::max);
    let step = step(most / 5.0)?;
    let most = (most / step).ceil() * step;
    let (first, last) = (
        tables.first()?.streams as f64,
        tables.last()?.streams as f64,
    );
    let x = |streams: f64| {
        let inner = (LEFT + 30.0, RIGHT - 30.0);
        scaled(streams.log10(), (first.log10(), last.log10()), inner)
    };
    let y = |cpu: f64| scaled(cpu, (0.0, most), (BOTTOM, TOP));

    let mut plot = Plot::new(
        "What a delivery costs, 20,000 deliveries a second",
        "CPU time of the server a delivery, µs",
    );
    for tick in 0..=(most / step).round() as u32 {
        let value = f64::from(tick) * step;
        plot.across(y(value), &format!("{}", (value * 100.0).round() / 100.0));
    }
    for table in tables {
        let streams = table.streams as f64;
        plot.whisker(x(streams), BOTTOM, BOTTOM + 5.0);
        let label = thousands(table.streams as u64);
        plot.text((x(streams), BOTTOM + 20.0), "middle", 12, &label);
    }
    let legend: Vec<(&str, &str)> = kinds
        .iter()
        .map(|kind| (kind.name(), colour(*kind)))
        .collect();
    plot.legend(&legend);
    for kind in kinds {
        let at = |(streams, cpu): (f64, Spread)| (x(streams), y(cpu.median));
        let points: Vec<(f64, f64)> = of(kind).map(at).collect();
        plot.line(&points, colour(kind));
    }
    Some(plot.end("open streams (logarithmic)"))
}

/// Where a value of this range is in the other.
fn scaled(value: f64, (from, to): (f64, f64), (begin, end): (f64, f64)) -> f64 {
    begin + (value - from) / (to - from) * (end - begin)
}

/// 1, 2 or 5 times a power of ten, the least that is not below it.
fn step(least: f64) -> Option<f64> {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps
        .into_iter()
        .find(|step| *step >= least && step.is_finite())
}

/// An SVG in the making: frame, titles, axes.
struct Plot {
    svg: String,
}

impl Plot {
    fn new(title: &str, upright: &str) -> Self {
        let svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, 'DejaVu Sans', sans-serif" fill="{INK}">
<title>{title}</title>
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="30" font-size="16" font-weight="bold">{title}</text>
<text transform="translate(20 {middle}) rotate(-90)" text-anchor="middle" font-size="12">{upright}</text>
"#,
            middle = f64::midpoint(TOP, BOTTOM)
        );
        Self { svg }
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, size: u32, text: &str) {
        let _ = writeln!(
            self.svg,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{text}</text>"#
        );
    }

    fn stroke(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let _ = writeln!(
            self.svg,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    /// A line of the grid, with its value.
    fn across(&mut self, y: f64, value: &str) {
        self.stroke((LEFT, y), (RIGHT, y), GREY);
        self.text((LEFT - 8.0, y + 4.0), "end", 12, value);
    }

    /// From the least to the most.
    fn whisker(&mut self, x: f64, from: f64, to: f64) {
        self.stroke((x, from), (x, to), INK);
    }

    fn line(&mut self, points: &[(f64, f64)], colour: &str) {
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            self.svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#,
            path.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(
                self.svg,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#
            );
        }
    }

    fn legend(&mut self, entries: &[(&str, &str)]) {
        let mut x = LEFT;
        for (name, colour) in entries {
            let _ = writeln!(
                self.svg,
                r#"<rect x="{x:.1}" y="46" width="14" height="14" fill="{colour}"/>"#
            );
            self.text((x + 20.0, 58.0), "start", 13, name);
            x += 48.0 + 7.5 * name.len() as f64;
        }
    }

    /// With what stands below the axis.
    fn end(mut self, along: &str) -> String {
        self.stroke((LEFT, BOTTOM), (RIGHT, BOTTOM), INK);
        let middle = f64::midpoint(LEFT, RIGHT);
        self.text((middle, HEIGHT - 16.0), "middle", 12, along);
        self.svg + "</svg>\n"
    }
}

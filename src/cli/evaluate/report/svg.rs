//! Small plots as SVG text: axes, lines, dots and bars, readable on light and dark ground, without scripts.
//!
//! It knows nothing of what is plotted. Every text is escaped here; places outside an axis are drawn at its edge.

use std::fmt::Write;

use super::escape;
use crate::numeric;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// Horizontal bars: height of a row, and room for the names and the figures.
const ROW: f64 = 24.0;
const NAMES: f64 = 190.0;
const FIGURES: f64 = 150.0;
/// Longer names are cut.
const NAME_MAX: usize = 26;

/// Colours by role; the same in every plot, so that several may stand in one page.
const STYLE: &str = "<style>.p-back{fill:#fff}.p-text{fill:#24292f;font:12px system-ui,sans-serif}.p-title{font-size:14px;\
font-weight:600}.p-grid{stroke:#d8dee4;stroke-width:1}.p-frame{fill:none;stroke:#8c959f}.p-line{fill:none;stroke-width:2}\
.p-a{stroke:#0969da}.p-b{stroke:#cf222e}.p-soft{fill:none;stroke:#8c959f;stroke-dasharray:4 4}.p-fill-a{fill:#0969da}\
.p-fill-b{fill:#cf222e}.p-halo{stroke:#fff;stroke-width:1.5}@media (prefers-color-scheme:dark){.p-back{fill:#161b22}\
.p-text{fill:#e6edf3}.p-grid{stroke:#30363d}.p-a{stroke:#58a6ff}.p-b{stroke:#ff7b72}.p-fill-a{fill:#58a6ff}\
.p-fill-b{fill:#ff7b72}.p-halo{stroke:#161b22}}</style>";

/// Which colour a mark has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Blue.
    A,
    /// Red.
    B,
}

impl Tone {
    fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

/// One axis: from where to where, and what is written at it.
#[derive(Debug, Clone)]
pub struct Axis {
    label: String,
    min: f64,
    max: f64,
    log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From `min` to `max` in five equal steps, ticks with so many decimals.
    pub fn linear(label: &str, min: f64, max: f64, decimals: usize) -> Self {
        let ticks = (0..=5).map(|step| min + (max - min) * f64::from(step) / 5.0);
        let ticks = ticks.map(|value| (value, format!("{value:.decimals$}"))).collect();
        Self { label: label.to_owned(), min, max, log: false, ticks }
    }

    /// From 10^`decades` (negative) to 1, a tick for each decade.
    pub fn shares(label: &str, decades: i32) -> Self {
        let ticks = (decades.min(-1)..=0).map(|decade| {
            let value = numeric::exp(f64::from(decade) * std::f64::consts::LN_10);
            let places = usize::try_from(-decade - 2).unwrap_or(0);
            (value, format!("{:.places$} %", value * 100.0))
        });
        let ticks: Vec<_> = ticks.collect();
        Self { label: label.to_owned(), min: ticks[0].0, max: 1.0, log: true, ticks }
    }

    /// One place for each name, 0, 1, 2 …; where they are many, not all are written.
    pub fn named(label: &str, names: &[String]) -> Self {
        const WRITTEN: usize = 7;
        let every = names.len().div_ceil(WRITTEN).max(1);
        let ticks = names.iter().enumerate().step_by(every).map(|(at, name)| (at as f64, name.clone())).collect();
        let max = names.len().max(1) as f64 - 0.5;
        Self { label: label.to_owned(), min: -0.5, max, log: false, ticks }
    }

    /// Where a value lies on the axis, 0–1.
    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.min, self.max);
        if self.log {
            numeric::ln(value / self.min) / numeric::ln(self.max / self.min)
        } else {
            (value - self.min) / (self.max - self.min)
        }
    }
}

/// What is drawn.
#[derive(Debug, Clone)]
pub enum Mark {
    /// A line through points; with its name in the legend unless that is empty.
    Line(Vec<(f64, f64)>, Tone, String),
    /// A thin dashed line that is only there to compare with.
    Guide(Vec<(f64, f64)>),
    /// Dots at points; with their name in the legend unless that is empty.
    Dots(Vec<(f64, f64)>, Tone, String),
    /// Upright bars from the bottom: (left, right, height); with their name in the legend.
    Bars(Vec<(f64, f64, f64)>, Tone, String),
}

/// A plot with two axes.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Stands above.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// In the order in which they are drawn.
    pub marks: Vec<Mark>,
}

impl Plot {
    /// The SVG document.
    pub fn render(&self) -> String {
        let mut svg = begin(&self.title, HEIGHT);
        self.axes(&mut svg);
        for mark in &self.marks {
            match mark {
                Mark::Line(points, tone, _) => {
                    let class = format!("p-line p-{}", tone.letter());
                    let _ = write!(svg, r#"<polyline class="{class}" points="{}"/>"#, self.polyline(points));
                }
                Mark::Guide(points) => {
                    let _ = write!(svg, r#"<polyline class="p-soft" points="{}"/>"#, self.polyline(points));
                }
                Mark::Dots(points, tone, _) => {
                    for point in points {
                        let (x, y) = self.at(*point);
                        let class = tone.letter();
                        let _ = write!(svg, r#"<circle class="p-halo p-fill-{class}" cx="{x:.1}" cy="{y:.1}" r="5"/>"#);
                    }
                }
                Mark::Bars(bars, tone, _) => {
                    for (left, right, height) in bars {
                        let ((x, y), (end, bottom)) = (self.at((*left, *height)), self.at((*right, self.y.min)));
                        let (width, height, class) = ((end - x).max(0.0), (bottom - y).max(0.0), tone.letter());
                        let _ = write!(
                            svg,
                            r#"<rect class="p-fill-{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
                        );
                    }
                }
            }
        }
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let width = WIDTH - LEFT - RIGHT;
        let height = HEIGHT - TOP - BOTTOM;
        (LEFT + width * self.x.place(x), TOP + height * (1.0 - self.y.place(y)))
    }

    /// Points that fall on the same spot as the one before are left out: a curve has as many as there are attempts.
    fn polyline(&self, points: &[(f64, f64)]) -> String {
        let mut text = String::new();
        let mut before = String::new();
        for point in points {
            let (x, y) = self.at(*point);
            let spot = format!("{x:.0},{y:.0} ");
            if spot != before {
                text.push_str(&spot);
                before = spot;
            }
        }
        text.trim_end().to_owned()
    }

    fn axes(&self, svg: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, text) in &self.x.ticks {
            let (x, _) = self.at((*value, self.y.min));
            let _ = write!(svg, r#"<line class="p-grid" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}"/>"#);
            label(svg, x, bottom + 18.0, "middle", text);
        }
        for (value, text) in &self.y.ticks {
            let (_, y) = self.at((self.x.min, *value));
            let _ = write!(svg, r#"<line class="p-grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#);
            label(svg, LEFT - 8.0, y + 4.0, "end", text);
        }
        let (width, height) = (right - LEFT, bottom - TOP);
        let _ = write!(svg, r#"<rect class="p-frame" x="{LEFT}" y="{TOP}" width="{width}" height="{height}"/>"#);
        label(svg, LEFT + width / 2.0, HEIGHT - 12.0, "middle", &self.x.label);
        let middle = TOP + height / 2.0;
        let turned = format!(r#"<g transform="rotate(-90 14 {middle})">"#);
        svg.push_str(&turned);
        label(svg, 14.0, middle, "middle", &self.y.label);
        svg.push_str("</g>");
    }

    /// In the line of the title, from the right.
    fn legend(&self, svg: &mut String) {
        let mut x = WIDTH - RIGHT;
        for mark in self.marks.iter().rev() {
            let (Mark::Line(_, tone, name) | Mark::Dots(_, tone, name) | Mark::Bars(_, tone, name)) = mark else {
                continue;
            };
            if name.is_empty() {
                continue;
            }
            label(svg, x, 24.0, "end", name);
            x -= 7.0 * name.chars().count() as f64 + 8.0;
            let class = tone.letter();
            let _ = match mark {
                Mark::Line(..) => {
                    write!(svg, r#"<line class="p-line p-{class}" x1="{:.1}" y1="20" x2="{x:.1}" y2="20"/>"#, x - 16.0)
                }
                Mark::Dots(..) => {
                    write!(svg, r#"<circle class="p-fill-{class}" cx="{:.1}" cy="20" r="5"/>"#, x - 5.0)
                }
                _ => write!(svg, r#"<rect class="p-fill-{class}" x="{:.1}" y="15" width="10" height="10"/>"#, x - 10.0),
            };
            x -= 28.0;
        }
    }
}

/// One bar that lies.
pub struct Lying {
    /// At its left.
    pub name: String,
    /// Its length, 0–1; `None` where there is none to draw.
    pub share: Option<f64>,
    /// At its right.
    pub figure: String,
    /// Its colour.
    pub tone: Tone,
}

/// Lying bars, one below the other.
pub fn lying(title: &str, bars: &[Lying]) -> String {
    let height = TOP + ROW * bars.len() as f64 + 12.0;
    let mut svg = begin(title, height);
    let room = WIDTH - NAMES - FIGURES;
    for (at, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let name: String = if bar.name.chars().count() > NAME_MAX {
            bar.name.chars().take(NAME_MAX - 1).chain(['…']).collect()
        } else {
            bar.name.clone()
        };
        label(&mut svg, NAMES - 10.0, y + 15.0, "end", &name);
        let _ = write!(
            svg,
            r#"<rect class="p-frame" x="{NAMES}" y="{:.1}" width="{room}" height="{}"/>"#,
            y + 3.0,
            ROW - 7.0
        );
        let width = room * bar.share.unwrap_or(0.0).clamp(0.0, 1.0);
        let _ = write!(
            svg,
            r#"<rect class="p-fill-{}" x="{NAMES}" y="{:.1}" width="{width:.1}" height="{}"/>"#,
            bar.tone.letter(),
            y + 3.0,
            ROW - 7.0
        );
        label(&mut svg, WIDTH - FIGURES + 10.0, y + 15.0, "start", &bar.figure);
    }
    svg.push_str("</svg>\n");
    svg
}

fn begin(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{title}">{STYLE}<rect class="p-back" width="{WIDTH}" height="{height}"/><text class="p-text p-title" x="14" y="24">{title}</text>"#
    )
}

fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escape(text);
    let _ = write!(svg, r#"<text class="p-text" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(marks: Vec<Mark>) -> Plot {
        Plot { title: "t".into(), x: Axis::shares("x", -3), y: Axis::linear("y", 0.0, 1.0, 1), marks }
    }

    #[test]
    fn decades_are_equally_far_apart_and_what_lies_outside_is_drawn_at_the_edge() {
        let plot = plot(Vec::new());

        let [low, mid, high] = [0.01, 0.1, 1.0].map(|x| plot.at((x, 0.0)).0);
        assert!((high - mid - (mid - low)).abs() < 1e-9);
        assert_eq!(plot.at((0.0, 0.0)), (LEFT, HEIGHT - BOTTOM));
        assert_eq!(plot.at((9.0, 9.0)), (WIDTH - RIGHT, TOP));
        let ticks: Vec<_> = plot.x.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(ticks, ["0.1 %", "1 %", "10 %", "100 %"]);
    }

    #[test]
    fn a_line_of_a_hundred_thousand_points_stays_small() {
        let points = (0..100_000).map(|n| (f64::from(n) / 1e5, f64::from(n) / 1e5)).collect();

        assert!(plot(vec![Mark::Line(points, Tone::A, String::new())]).render().len() < 20_000);
    }

    #[test]
    fn texts_are_escaped() {
        let bars = [Lying { name: "<x>".into(), share: None, figure: "\"&".into(), tone: Tone::B }];
        let svg = lying("<script>", &bars);

        assert!(!svg.contains("<x>") && !svg.contains("<script>"), "{svg}");
        assert!(svg.contains("&lt;x&gt;") && svg.contains("&quot;&amp;"), "{svg}");
    }
}

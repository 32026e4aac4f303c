//! The lines above the table: the gateway, its troubles, its traffic, its fullest limits.

use ratatui_core::buffer::Buffer;

use super::answers::{bytes_per_second, mark_of, time_of};
use super::cell::TopCell;
use super::ink::{TopInk, TopLine, TopRole, width_of};
use super::model::TopModel;
use super::view::TopMark;
use crate::admin::overview::{LimitRow, Overview, Spans, TroubleLevel};
use crate::cli::client::table::duration;

/// The lines of the whole header.
pub(super) const LINES: u16 = 5;
/// The share of a limit from which on it is marked.
const NEAR: f64 = 0.8;
/// Limits that are shown.
const LIMITS: usize = 3;

/// Draws the first `lines` lines of the header. `now` is the time of the clock that the model's times have.
pub(super) fn draw(model: &TopModel, buffer: &mut Buffer, ink: TopInk, now: u64, lines: u16) {
    let none = Overview::default();
    let overview = model.look.as_ref().map_or(&none, |look| &look.overview);
    for y in 0..lines.min(LINES) {
        let mut line = TopLine::new(buffer, ink, y);
        line.at(1);
        match y {
            0 => identity(model, overview, &mut line),
            1 => state(model, overview, &mut line, now),
            2 | 3 => traffic(overview, ink, &mut line, y),
            _ => limits(&overview.limits.rows, ink, &mut line),
        }
    }
}

fn identity(model: &TopModel, overview: &Overview, line: &mut TopLine<'_>) {
    let identity = &overview.identity;
    let pace = match model.paused {
        true => "paused".to_owned(),
        false => format!("{} s", model.interval),
    };
    line.put("strait", TopRole::Strong);
    if model.look.is_some() {
        line.put(&format!(" {}", identity.version), TopRole::Plain);
        if identity.commit != "unknown" {
            let commit: String = identity.commit.chars().take(9).collect();
            line.put(&format!(" {commit}"), TopRole::Plain);
        }
        let parts = [&identity.pod, &identity.node, &identity.zone];
        for part in parts.into_iter().flatten() {
            line.put("  ", TopRole::Plain);
            line.put_in(part, 30, TopRole::Plain);
        }
        let up = duration(identity.uptime_seconds.saturating_mul(1000));
        line.put(&format!("  up {up}"), TopRole::Plain);
        let time = time_of(&identity.now);
        line.put_right(&format!("{time} UTC  {pace}"), TopRole::Plain);
    } else {
        line.put(&format!(" at {}", model.admin), TopRole::Plain);
        line.put_right(&pace, TopRole::Plain);
    }
}

fn state(model: &TopModel, overview: &Overview, line: &mut TopLine<'_>, now: u64) {
    if let Some((since, reason)) = &model.failure {
        let age = duration(now.saturating_sub(*since));
        line.put(&format!("NO ANSWER for {age}: {reason}"), TopRole::Bad);
        return;
    }
    if model.look.is_none() {
        line.put("asking", TopRole::Quiet);
        return;
    }
    let role = match overview.state.ready {
        true => TopRole::Strong,
        false => TopRole::Bad,
    };
    line.put(&overview.state.words, role);
    for level in [
        TroubleLevel::Draining,
        TroubleLevel::Failing,
        TroubleLevel::Refused,
        TroubleLevel::Contained,
        TroubleLevel::NearLimit,
        TroubleLevel::Note,
    ] {
        let rows = overview.troubles.rows.iter();
        let number = rows.filter(|one| one.level == level).count();
        if number > 0 {
            let (mark, words) = (mark_of(level), level.words());
            let sign = mark.sign(line.is_ascii());
            let text = format!("   {sign} {number} {words}");
            line.put(&text, TopRole::Marked(mark));
        }
    }
    if overview.troubles.rows.is_empty() {
        line.put("   no trouble", TopRole::Quiet);
    } else {
        line.put_right("t  show troubles", TopRole::Quiet);
    }
}

fn traffic(overview: &Overview, ink: TopInk, line: &mut TopLine<'_>, y: u16) {
    let traffic = &overview.traffic;
    let per_second = |spans: &Spans| TopCell::of(spans.now, TopCell::PerSecond);
    let halves = match y {
        2 => [
            (
                "new/s",
                per_second(&traffic.new_per_second),
                &traffic.new_per_second,
            ),
            (
                "down",
                TopCell::of(traffic.to_downstream_per_second.now, bytes_per_second),
                &traffic.to_downstream_per_second,
            ),
        ],
        _ => [
            ("open", per_second(&traffic.open), &traffic.open),
            (
                "failing/s",
                per_second(&traffic.failing_per_second),
                &traffic.failing_per_second,
            ),
        ],
    };
    let half = line.left() / 2;
    for (index, (title, value, spans)) in halves.into_iter().enumerate() {
        let begin = 1 + index * half;
        line.at(begin).put_in(title, half, TopRole::Quiet);
        let value = value.shown();
        let value_at = begin + 20_usize.saturating_sub(width_of(&value));
        line.at(value_at).put(&value, TopRole::Strong);
        let room = half.saturating_sub(23);
        let line = line.at(begin + 21);
        line.put(&sparks(&spans.minutes, room, ink.ascii), TopRole::Plain);
    }
}

/// Values as a line of `width` signs, from their least to their greatest. Of values that share a sign the greatest counts.
fn sparks(values: &[Option<f64>], width: usize, ascii: bool) -> String {
    const BLOCKS: [&str; 8] = [
        "\u{2581}", "\u{2582}", "\u{2583}", "\u{2584}", "\u{2585}", "\u{2586}", "\u{2587}",
        "\u{2588}",
    ];
    const ASCII: [&str; 8] = ["_", ".", "-", ":", "=", "+", "*", "#"];
    let signs = if ascii { ASCII } else { BLOCKS };
    let known = || values.iter().flatten().copied();
    let (least, most) = (
        known().fold(f64::MAX, f64::min),
        known().fold(f64::MIN, f64::max),
    );
    if width == 0 || values.is_empty() {
        return String::new();
    }
    let signs_wanted = width.min(values.len());
    let sign = |index: usize| {
        let of = |index: usize| index * values.len() / signs_wanted;
        let part = values.get(of(index)..of(index + 1)).unwrap_or_default();
        let value = part.iter().flatten().copied().reduce(f64::max);
        let Some(value) = value else { return " " };
        // Between the least and the greatest in eight steps; a flat line stands low.
        let step = (1..8).filter(|step| {
            let edge = f64::from(*step) / 8.0;
            most > least && (value - least) / (most - least) >= edge
        });
        signs.get(step.count()).copied().unwrap_or(" ")
    };
    (0..signs_wanted).map(sign).collect()
}

fn limits(limits: &[LimitRow], ink: TopInk, line: &mut TopLine<'_>) {
    let third = line.left() / LIMITS;
    for (index, limit) in limits.iter().take(LIMITS).enumerate() {
        let mark = match limit.share >= NEAR {
            true => TopMark::NearLimit,
            false => TopMark::None,
        };
        let name = match limit.name.is_empty() {
            true => limit.limit.replace('_', " "),
            false => format!("{} {}", limit.name, limit.limit.replace('_', " ")),
        };
        let bar = third.saturating_sub(33).clamp(4, 14);
        let name_room = third.saturating_sub(bar + 10);
        line.at(1 + index * third)
            .put_in(&name, name_room, TopRole::Quiet);
        line.put(" ", TopRole::Plain);
        line.put(&bar_of(limit.share, bar, ink.ascii), TopRole::Marked(mark));
        let share = TopCell::Share(limit.share).shown();
        let sign = mark.sign(ink.ascii);
        line.put(&format!(" {share} {sign}"), TopRole::Marked(mark));
    }
}

fn bar_of(share: f64, width: usize, ascii: bool) -> String {
    let (full, empty) = if ascii {
        ("#", ".")
    } else {
        ("\u{2588}", "\u{2591}")
    };
    let is_full = |index: &usize| {
        let part = u32::try_from(*index).map_or(0.0, f64::from) + 0.5;
        part <= share * u32::try_from(width).map_or(0.0, f64::from)
    };
    let filled = (0..width).filter(is_full).count();
    full.repeat(filled) + &empty.repeat(width - filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_go_from_the_least_to_the_greatest() {
        let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
        for (values, width, expected) in [
            (some(&[0.0, 6.0, 8.0]), 10, "_*#"),
            (some(&[5.0, 5.0]), 10, "__"),
            (some(&[1.0, 9.0, 1.0, 1.0]), 2, "#_"),
            (vec![Some(1.0), None, Some(2.0)], 3, "_ #"),
            (Vec::new(), 5, ""),
            (some(&[1.0]), 0, ""),
        ] {
            assert_eq!(sparks(&values, width, true), expected, "{values:?}");
        }
        assert_eq!(sparks(&some(&[0.0, 8.0]), 2, false), "\u{2581}\u{2588}");
    }

    #[test]
    fn a_bar_is_as_full_as_the_limit() {
        for (share, bar) in [
            (0.0, "...."),
            (0.5, "##.."),
            (0.94, "####"),
            (1.0, "####"),
            (7.0, "####"),
            (f64::NAN, "...."),
        ] {
            assert_eq!(bar_of(share, 4, true), bar, "{share}");
        }
    }
}

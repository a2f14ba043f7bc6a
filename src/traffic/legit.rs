//! What legitimate people and their devices do: sessions of polls through the day, slips, forgotten passwords, journeys.
//!
//! The background noise of devices that keep trying the wrong password stands in `loops.rs`. Each person has an own
//! random stream per day, so neither more people nor more days change what is there.

use std::net::IpAddr;

use super::loops;
use super::networks;
use super::passwords::Password;
use super::people::{Device, Person, Place, hardness};
use super::sampling::{between, chance, index, pick, poisson, weighted, whole};
use super::scenario::Habit;
use super::site::{DAY_MS, Draft, HOUR_MS, Origin, Site, is_weekend};
use crate::numeric::Rng;

/// Relative activity of the 24 hours of the day, UTC (assumed: a European working day).
const DIURNAL: [f64; 24] = [
    0.6, 0.4, 0.3, 0.3, 0.4, 0.9, 2.0, 4.0, 6.0, 6.5, 6.2, 5.8, 5.2, 5.5, 5.8, 5.6, 5.2, 4.8, 4.5, 4.3, 4.0, 3.2, 2.0,
    1.1,
];

/// Activity at weekends (assumed).
const WEEKEND: f64 = 0.6;

/// A session is one login and on average one more poll (assumed); at most 8 keep a day's total in bounds.
const MORE_POLLS: f64 = 0.5;
const POLLS_MAX: u64 = 8;
const MEAN_POLLS: f64 = 1.99;

/// How often the first login of a session is typed by a person; the clumsy have nothing stored (assumed).
const TYPED: f64 = 0.5;

/// A mail is sent in a session (submission logs in once more; assumed).
const SENDS: f64 = 0.2;

/// Forgotten passwords and mistyped names per person and day (assumed).
const FORGOTTEN_PER_DAY: f64 = 0.01;
const MISTYPED_PER_DAY: f64 = 0.01;

/// A forgotten password comes back after 4–14 tries in two of three cases (assumed).
const REMEMBERED: f64 = 0.65;

/// A mistyped name gets into a client's settings and is repeated until somebody looks (assumed).
const MISTYPED_STORED: f64 = 0.12;

/// Share of a VPN user's sessions that go through the VPN (assumed).
const THROUGH_VPN: f64 = 0.4;

/// Plays all people over the period.
pub(super) fn play(site: &Site, logins_per_day: f64) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for person in &site.people {
        let mut actor = Actor { site, person, drafts: &mut drafts };
        if !person.dead.is_some_and(|dead| dead.lapsed) {
            for day in site.window.days() {
                actor.day(day, logins_per_day);
            }
            loops::stale(&mut actor);
        }
        loops::dead(&mut actor);
    }
    drafts
}

/// The addresses one person has on one day.
pub(super) struct Today {
    day: i64,
    home: IpAddr,
    mobile: IpAddr,
    trip: Option<IpAddr>,
}

impl Today {
    /// The address at home.
    pub(super) fn home(&self) -> IpAddr {
        self.home
    }
}

/// One person at work.
pub(super) struct Actor<'a> {
    pub(super) site: &'a Site,
    pub(super) person: &'a Person,
    drafts: &'a mut Vec<Draft>,
}

impl Actor<'_> {
    /// The addresses of a day: the same whoever asks.
    pub(super) fn today(&self, day: i64) -> Today {
        let rng = &mut Rng::new(self.site.seed, &format!("traffic/person/{}/addresses/{day}", self.person.number));
        Today {
            day,
            home: self.person.home_address(rng),
            mobile: networks::cgnat(self.person.group, rng),
            trip: self.person.trip_address(day, rng),
        }
    }

    /// Where a device is at `at`, and which habit that makes.
    pub(super) fn locate(&self, device: &Device, today: &Today, at: i64, rng: &mut Rng) -> (IpAddr, Habit) {
        let hour = at.rem_euclid(DAY_MS) / HOUR_MS;
        let at_work = self.person.office && !is_weekend(today.day) && (7..17).contains(&hour);
        match (device.place, today.trip) {
            (Place::Hosted(ip), _) => (ip, Habit::Regular),
            (Place::Home | Place::Mobile, Some(trip)) => (trip, Habit::Trip),
            (Place::Office, _) if at_work => (networks::office(self.person.group), Habit::NatOffice),
            (Place::Mobile, _) if at_work && chance(rng, 0.5) => {
                (networks::office(self.person.group), Habit::NatOffice)
            }
            (Place::Mobile, _) if chance(rng, 0.5) => (today.mobile, Habit::Regular),
            _ if self.person.vpn && chance(rng, THROUGH_VPN) => (networks::vpn(rng), Habit::Regular),
            _ => (today.home, Habit::Regular),
        }
    }

    /// Writes one attempt under the person's own name, if it falls into the period and the account exists.
    pub(super) fn attempt(&mut self, at: i64, ip: IpAddr, protocol: &'static str, password: Password, habit: Habit) {
        let name = self.person.name.clone();
        self.attempt_as(name, true, at, ip, protocol, password, habit);
    }

    /// As [`Self::attempt`], under any name; without an account there is no success.
    #[expect(clippy::too_many_arguments, reason = "the fields of one attempt")]
    fn attempt_as(
        &mut self,
        name: String,
        user_found: bool,
        at: i64,
        ip: IpAddr,
        protocol: &'static str,
        password: Password,
        habit: Habit,
    ) {
        if !self.site.window.contains(at) || at < self.person.since {
            return;
        }
        let tag = self.site.tag(password);
        let success = user_found && password == self.person.password(at);
        self.drafts.push(Draft { at, ip, name, tag, protocol, success, user_found, origin: Origin::Legit(habit) });
    }

    fn day(&mut self, day: i64, logins_per_day: f64) {
        let rng = &mut Rng::new(self.site.seed, &format!("traffic/person/{}/day/{day}", self.person.number));
        let today = self.today(day);
        // One week averages to one: (5 + 2 · WEEKEND) / 7.
        let weekday = if is_weekend(day) { WEEKEND } else { 1.0 } * 7.0 / (5.0 + 2.0 * WEEKEND);
        let polls = if self.person.clumsy { 1.0 } else { MEAN_POLLS };
        let sessions = poisson(rng, logins_per_day * self.person.activity * weekday / (polls + SENDS));
        for _ in 0..sessions {
            self.session(&today, rng);
        }
        let rarity = hardness(self.site.profile);
        if chance(rng, FORGOTTEN_PER_DAY * rarity) {
            self.forgotten(&today, rng);
        }
        if chance(rng, MISTYPED_PER_DAY * rarity) {
            self.mistyped_name(&today, rng);
        }
    }

    /// A login and the polls that follow.
    fn session(&mut self, today: &Today, rng: &mut Rng) {
        let person = self.person;
        let nth = index(rng, person.devices.len());
        let device = person.devices[nth];
        let mut at = moment(today.day, rng);
        let (ip, mut habit) = self.locate(&device, today, at, rng);
        let typed = !matches!(device.place, Place::Hosted(_)) && (person.clumsy || chance(rng, TYPED));
        if typed && chance(rng, person.typo) {
            habit = Habit::Typo;
            for _ in 0..=weighted(rng, &[0.65, 0.25, 0.1]) {
                let which = rng.below(6);
                self.attempt(at, ip, device.protocol, Password::Slip { person: person.number, which }, habit);
                at += millis(between(rng, 3.0, 20.0));
            }
        }
        let mut polls = 1;
        while !person.clumsy && polls < POLLS_MAX && chance(rng, MORE_POLLS) {
            polls += 1;
        }
        for _ in 0..polls {
            // A device that still has the old password is busy failing elsewhere (`loops.rs`).
            let stale = person.changes.iter().any(|change| {
                change.stale.is_some_and(|(device, until)| device == nth && (change.at..until).contains(&at))
            });
            if !stale {
                self.attempt(at, ip, device.protocol, person.password(at), habit);
            }
            at += millis(device.poll_s * between(rng, 0.9, 1.1));
        }
        if chance(rng, SENDS) {
            self.attempt(at, ip, "smtp", person.password(at), habit);
        }
    }

    /// Four to fourteen different wrong passwords (assumed), then perhaps the right one.
    fn forgotten(&mut self, today: &Today, rng: &mut Rng) {
        let device = *pick(rng, &self.person.devices);
        let mut at = moment(today.day, rng);
        let (ip, _) = self.locate(&device, today, at, rng);
        let first = rng.below(1 << 32);
        for try_no in 0..whole(rng, 4, 14) {
            let password = Password::Wrong { person: self.person.number, which: first + try_no };
            self.attempt(at, ip, device.protocol, password, Habit::Forgotten);
            at += millis(between(rng, 5.0, 60.0));
        }
        if chance(rng, REMEMBERED) {
            self.attempt(at, ip, device.protocol, self.person.password(at), Habit::Forgotten);
        }
    }

    /// The right password for a name that does not exist.
    fn mistyped_name(&mut self, today: &Today, rng: &mut Rng) {
        let device = *pick(rng, &self.person.devices);
        let mut at = moment(today.day, rng);
        let (ip, _) = self.locate(&device, today, at, rng);
        let wrong = mistype(&self.person.name, rng);
        let (tries, gap) =
            if chance(rng, MISTYPED_STORED) { (whole(rng, 10, 40), device.poll_s) } else { (whole(rng, 1, 4), 15.0) };
        for _ in 0..tries {
            let password = self.person.password(at);
            self.attempt_as(wrong.clone(), false, at, ip, device.protocol, password, Habit::MistypedName);
            at += millis(gap * between(rng, 0.5, 1.5));
        }
        if chance(rng, 0.8) {
            self.attempt(at, ip, device.protocol, self.person.password(at), Habit::MistypedName);
        }
    }
}

/// Seconds as whole milliseconds.
pub(super) fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// A moment of a day, by the diurnal pattern.
pub(super) fn moment(day: i64, rng: &mut Rng) -> i64 {
    let hour = weighted(rng, &DIURNAL) as i64;
    day * DAY_MS + hour * HOUR_MS + rng.below(HOUR_MS as u64) as i64
}

/// A name with one slip: a letter lost or doubled, two swapped, or the domain left out.
fn mistype(name: &str, rng: &mut Rng) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let local = name.find('@').unwrap_or(name.len());
    // Never the first letter; account names have a dot and at least five letters before the domain.
    let place = 1 + index(rng, local - 2);
    match rng.below(4) {
        0 => {
            letters.remove(place);
        }
        1 => letters.insert(place, letters[place]),
        2 if letters[place] != letters[place + 1] => letters.swap(place, place + 1),
        _ => letters.truncate(local),
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_never_the_right_one() {
        let mut rng = Rng::new(1, "test/mistype");

        for _ in 0..500 {
            assert_ne!(mistype("anna.adler@example.org", &mut rng), "anna.adler@example.org");
        }
    }
}

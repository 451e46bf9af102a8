//! Timelines of mistakes that the simulator has found in the product, each as it printed them.

use sim::check;

/// A commit whose answer was lost had been kept with its wish to be woken, of which the ticker that slept heard nothing:
/// the session's end was noticed when somebody wrote again, or never.
#[test]
fn a_ticker_wakes_for_a_commit_whose_answer_was_lost() {
    check(
        "
        store embedded
        00:00     n1 start
        00:00     n1 ticker
        00:00     n1 ben web set Busy/InACall for PT14M59.9999999S | lose-reply 2
        ",
    );
}

/// While a commit is on its way, readers see what time makes of the record before it: this one took half a second, in which
/// the session before it ended. What they had seen under #3 became #2 of something else.
#[test]
fn a_sequence_number_does_not_go_back_when_a_commit_is_overtaken_by_the_end_of_a_session() {
    check(
        "
        00:00     n1 start
        00:00     n1 ana desk set Available/Available for PT5M0.0000001S
        04:59.999999900 n1 ana desk set Busy/InAConferenceCall for PT5M | hold 2
        05:00.499999900 n1 read ana
        05:00.499999900 resume 1
        05:00.499999900 n1 read ana
        ",
    );
}

/// The same with the commonest command of all, a refresh: whoever kept the higher number threw the refreshed presence away,
/// and showed the user as inactive until the next change.
#[test]
fn a_refresh_that_is_overtaken_by_the_fade_it_prevents_is_numbered_after_it() {
    check(
        "
        00:00     n1 start
        00:00     n1 ana desk set Available/Available for PT1H
        04:59.9   n1 ana desk set Available/Available for PT1H | hold 2
        05:00.1   n1 read ana
        05:00.1   resume 1
        05:00.1   n1 read ana
        ",
    );
}

/// The same at a node whose clock is a second behind the last commit: the command takes effect at the instant of that one, and
/// it is from there that it may be overtaken.
#[test]
fn what_takes_effect_at_the_instant_of_the_last_commit_is_numbered_from_there() {
    check(
        "
        00:00     n1 start
        00:00     n2 start
        00:00     n2 clock -PT1S
        00:00     n2 ana desk set Busy/InAConferenceCall for PT5M0.0000001S
        04:59     n1 ana manual office in UTC
        04:59     n2 ana phone set DoNotDisturb/Presenting for PT5M
        ",
    );
}

//! Timelines of mistakes that the simulator has found in the product, each as it printed them.

use sim::{Bug, check};

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

/// A node that took a shard over could not read what lay between its cursor and the end, and tried again without it: the
/// subscription was never told of that.
#[test]
fn a_shard_whose_log_could_not_be_read_when_it_was_taken_over_is_taken_over_again() {
    check(
        "
        store shared
        00:00     n2 start
        00:00     n1 start
        00:00     n1 subscribe s3 to ana at r1
        00:00     n1 ana desk set Away/Away for PT5M0.0000001S
        00:06     n1 beat
        00:06     n2 beat
        00:06     n2 look
        00:06     n2 pump
        00:12     n2 beat
        00:12     n2 pump | lose 2
        ",
    );
}

/// A node whose leases had lapsed for a moment made a subscription and did not take it for its own; then it had the very same
/// leases again, found nothing to take up, and nobody delivered it.
#[test]
fn a_subscription_made_while_leases_had_lapsed_is_delivered_when_the_same_come_back() {
    check(
        "
        store shared
        backlog newest
        00:00     n1 start
        00:00     n1 ticker
        00:00     n2 start
        00:00     n3 start
        00:00     n1 beat
        00:00     n1 pump
        01:04.100000000 n1 subscribe s3 to ana at r1
        01:04.100000000 n1 ana desk set Busy/InACall for PT5M
        ",
    );
}

/// Another node had ended a subscription before the one that made it knew that it was kept, which then delivered it for good.
#[test]
fn a_subscription_that_another_node_ends_before_its_maker_knows_of_it_is_told_nothing() {
    check(
        "
        store shared
        00:00     n1 start
        00:00     n3 start
        00:00     n1 subscribe s1 to ana at r3 | hold-reply 3
        00:00     n3 unsubscribe s1
        00:00     n1 ana desk set Away/Away for PT5M
        00:00     n1 look
        00:00     n1 pump
        ",
    );
}

/// Whoever asked a node for a replay that had not heard of the subscription yet was told that there is none.
#[test]
fn a_subscription_is_replayed_by_a_node_that_has_not_heard_of_it() {
    check(
        "
        store shared
        00:00     n1 start
        00:00     n2 start
        00:00     n1 subscribe s1 to ana,ben,kim,lou at r1
        00:00     n2 replay s1
        ",
    );
}

/// A node that changed a subscription while another ended it made it anew.
#[test]
fn a_subscription_that_is_changed_and_ended_at_once_through_two_nodes_is_gone() {
    check(
        "
        store shared
        00:00     n1 start
        00:00     n3 start
        00:00     n1 subscribe s1 to ben,eva,kim at r3
        00:00     n3 move s1 to r1 | hold-reply 2
        00:00     n1 kim phone set Away/Away for PT15M0.0000001S
        00:00     n1 unsubscribe s1
        ",
    );
}

/// A beat was still waiting for an answer when its node stopped: it took what it then heard of for its own again, which had
/// been given back in between and could be somebody else's.
#[test]
fn a_node_that_stops_during_a_beat_has_nothing_any_more_whatever_the_beat_hears() {
    check(
        "
        store shared
        00:00     n1 start
        00:00     n1 beat | hold 3
        00:00     n1 stop | hold-reply 1
        ",
    );
}

/// A mistake of the simulator's own: what another node read from its clock in between was taken for the instant of a tick that
/// hung, so that the model learnt of an end an hour late. What the engine does here is right, and what would be wrong is still
/// noticed.
#[test]
fn a_tick_that_hangs_at_a_node_whose_clock_is_ahead_settles_at_the_instant_it_read() {
    let timeline = "
        00:00     n1 start
        00:00     n3 start
        00:00     n3 clock PT1H
        00:00     n1 ben desk set Busy/InAConferenceCall for PT1H
        00:00     n3 tick | hold 2
        00:00     n1 plan
        00:00     resume 1
        00:00     n1 read ana,ben,eva
        ";
    check(timeline);
    let broken = |bug| sim::play(timeline, Some(bug), false).violation.map(|violation| violation.check);
    assert_eq!(broken(Bug::NumberGoesBack), Some("every answer is the model's"));
    assert_eq!(broken(Bug::EndsLate), Some("every answer is the model's"));
}

/// A node noticed the end of a subscription before it heard that another had renewed it just in time, and let go of what was
/// kept of it: whoever had renewed it was told nothing any more, not even that it was gone.
#[test]
fn a_subscription_that_is_renewed_as_it_ends_goes_on_although_another_node_has_seen_it_end() {
    check(
        "
        store shared
        00:00     n1 start
        10:15.500000000 n2 start
        10:15.500000000 n1 ana desk set Busy/InACall for PT9M59.9999999S
        10:15.500000000 n1 subscribe s2 to ana,ben,eva at r2 for PT1H token PT50M
        01:10:15.499999900 n2 look
        01:10:15.499999900 n2 pump
        01:10:15.499999900 n1 renew s2 for PT45M
        01:10:15.500000000 n2 plan
        01:10:15.500000000 n2 save
        ",
    );
}

/// Whoever took a shard up looked only a minute back for reminders: one that came up while nobody had it for longer was lost.
#[test]
fn a_reminder_that_came_up_while_nobody_had_the_shard_is_sent_when_somebody_has() {
    check(
        "
        store shared
        00:00     n3 start
        00:00     n3 subscribe s2 to ben at r3 for PT45M
        ",
    );
}

/// A removal is told by the node it was asked of. When the leases moved before it was, that node left it to whoever had the
/// shard, which had taken up the shard's events before this one came up and never looked again.
#[test]
fn a_removal_through_a_node_that_has_not_the_shard_is_told_also_when_leases_move() {
    check(
        "
        store shared
        00:00     n1 start
        00:00     n3 start
        00:00     n1 subscribe s1 to ana at r3 for PT45M
        00:00     n2 start
        00:00     n1 beat
        00:00     n1 pump
        00:00     n2 remove s1
        ",
    );
}

/// The same when that node is gone before it has told it.
#[test]
fn a_removal_through_a_node_that_dies_is_told_by_whoever_has_the_shard() {
    check(
        "
        store shared
        00:00     n1 start
        00:00     n2 start
        00:00     n3 start
        00:00     n1 beat
        00:00     n2 beat
        00:00     n3 beat
        00:01     n1 beat
        00:01     n2 beat
        00:01     n3 beat
        00:01     n1 subscribe s1 to ana at r3
        00:01     n1 pump
        00:01     n2 look
        00:01     n2 pump
        00:01     n3 look
        00:01     n3 pump
        00:01     n1 remove s1
        00:01     n1 crash
        00:01     n1 start
        ",
    );
}

/// In a store that was moved to, positions begin anew, and a notification's id was made of its position: a receiver that knew
/// the id from before would have thrown a new one away.
#[test]
fn a_notification_after_a_move_has_not_the_id_of_one_before_it() {
    check(
        "
        store embedded
        00:00     n1 start
        00:00     n1 ticker
        00:00     n1 eva phone set DoNotDisturb/Presenting for PT5M
        10:59.500000000 n1 subscribe s1 to ana,ben,eva at r3
        10:59.500000000 n1 pump
        10:59.500000000 n1 plan
        10:59.500000000 answer 3 taken
        10:59.500000000 move house
        10:59.500000000 n3 start
        10:59.500000000 n3 ben phone set Busy/InACall for PT5M0.0000001S
        ",
    );
}

/// The same when it stops in good order and another process takes its place: there are as many as before.
#[test]
fn a_removal_through_a_node_that_is_restarted_is_told_by_whoever_has_the_shard() {
    check(
        "
        store shared
        00:00     n1 start
        00:00     n2 start
        00:00     n3 start
        00:00     n1 subscribe s1 to ben at r1
        00:00     n1 beat
        00:00     n1 pump
        00:00     n2 remove s1
        00:00     n2 stop
        ",
    );
}

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

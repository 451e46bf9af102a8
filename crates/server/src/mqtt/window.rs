//! What is on its way to the broker, and how far of the log that has come: without sockets, clock or store.

use std::collections::VecDeque;

use store::Position;

/// Messages that the broker has not acknowledged yet. Ours: some milliseconds of a busy log.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// Names below are those of subscriptions.
pub(super) const FIRST_ID: u16 = 16;

/// Messages on their way, oldest first.
#[derive(Debug)]
pub(super) struct Window {
    flights: VecDeque<Flight>,
    next_id: u16,
    /// Everything up to here the broker has, or it is not for it.
    cursor: Position,
}

#[derive(Debug)]
struct Flight {
    id: u16,
    has_arrived: bool,
    /// How far the log has come once this and all before it have arrived.
    covers: Position,
}

impl Window {
    pub(super) fn new(cursor: Position) -> Self {
        Self { flights: VecDeque::with_capacity(IN_FLIGHT_MAX), next_id: FIRST_ID, cursor }
    }

    pub(super) fn cursor(&self) -> Position {
        self.cursor
    }

    pub(super) fn room(&self) -> usize {
        IN_FLIGHT_MAX - self.flights.len().min(IN_FLIGHT_MAX)
    }

    /// A name for a message that is sent now, if there is room. With it the log is told up to `position`.
    pub(super) fn depart(&mut self, position: Option<Position>) -> Option<u16> {
        if self.room() == 0 {
            return None;
        }
        let id = self.next_id;
        // More names than messages on their way: none is given twice at a time.
        self.next_id = id.checked_add(1).unwrap_or(FIRST_ID);
        let covers = position.unwrap_or_else(|| self.covered());
        self.flights.push_back(Flight { id, has_arrived: false, covers });
        Some(id)
    }

    /// The log has nothing to tell up to here, beyond what is on its way.
    pub(super) fn pass(&mut self, position: Position) {
        match self.flights.back_mut() {
            Some(last) => last.covers = position,
            None => self.cursor = position,
        }
    }

    /// The broker has this one. Those that it was never sent are ignored.
    pub(super) fn arrive(&mut self, id: u16) {
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id) {
            flight.has_arrived = true;
        }
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.has_arrived) {
            self.cursor = flight.covers;
        }
    }

    fn covered(&self) -> Position {
        self.flights.back().map_or(self.cursor, |last| last.covers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_cursor_follows_what_has_arrived_without_a_gap() {
        let mut window = Window::new(Position(10));
        let first = window.depart(Some(Position(11))).unwrap();
        window.pass(Position(12));
        let second = window.depart(Some(Position(13))).unwrap();
        let outside = window.depart(None).unwrap();
        window.arrive(second);
        assert_eq!(window.cursor(), Position(10), "the first is still on its way");
        window.arrive(first);
        assert_eq!(window.cursor(), Position(13));
        window.pass(Position(20));
        assert_eq!(window.cursor(), Position(13));
        window.arrive(outside);
        assert_eq!(window.cursor(), Position(20));
        window.pass(Position(21));
        assert_eq!((window.cursor(), window.room()), (Position(21), IN_FLIGHT_MAX));
    }

    #[test]
    fn no_more_are_on_their_way_than_there_is_room_for_and_no_two_have_one_name() {
        let mut window = Window::new(Position(0));
        for _ in 0..70_000 {
            let id = window.depart(None).unwrap();
            assert!(id >= FIRST_ID);
            window.arrive(id);
        }
        let names: std::collections::HashSet<u16> = std::iter::from_fn(|| window.depart(None)).collect();
        assert_eq!((names.len(), window.room()), (IN_FLIGHT_MAX, 0));
    }

    proptest! {
        /// Whatever order acknowledgements come in, and whichever never come, the cursor never passes what has not arrived.
        #[test]
        fn the_cursor_never_passes_what_has_not_arrived(steps in proptest::collection::vec(0_u8..8, 1..300)) {
            let mut window = Window::new(Position(0));
            let mut under_way: Vec<(u16, u64)> = Vec::new();
            let mut read = 0;
            for step in steps {
                match step {
                    0..3 => {
                        if let Some(id) = window.depart(Some(Position(read + 1))) {
                            read += 1;
                            under_way.push((id, read));
                        }
                    }
                    3 => {
                        read += 1;
                        window.pass(Position(read));
                    }
                    at => {
                        let at = usize::from(at) * 7;
                        if !under_way.is_empty() {
                            let (id, _) = under_way.remove(at % under_way.len());
                            window.arrive(id);
                        }
                        window.arrive(3);
                    }
                }
                let first = under_way.iter().map(|(_, position)| *position).min();
                prop_assert!(window.cursor().0 < first.unwrap_or(u64::MAX));
                if under_way.is_empty() {
                    prop_assert_eq!(window.cursor(), Position(read));
                }
            }
        }
    }
}

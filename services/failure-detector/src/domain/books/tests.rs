use proptest::prelude::*;

use super::*;

fn endpoint() -> EndpointName {
    "environments/prod/endpoints/m".parse().unwrap()
}

fn revision() -> RevisionName {
    of(&endpoint())
}

fn of(endpoint: &EndpointName) -> RevisionName {
    RevisionName::new(endpoint, 1).unwrap()
}

fn outcome(failed: bool) -> Outcome {
    if failed {
        Outcome::Failure
    } else {
        Outcome::Success
    }
}

fn write(books: &mut Books, outcomes: &[bool]) {
    for &failed in outcomes {
        books.record(&endpoint(), &revision(), 1, outcome(failed));
    }
}

fn failures(runs: &[Run]) -> Vec<bool> {
    runs.iter()
        .flat_map(|run| (0..run.count).map(|_| run.outcome == Outcome::Failure))
        .collect()
}

#[test]
fn nothing_is_written_that_nobody_wants() {
    let mut books = Books::new(10);
    write(&mut books, &[true]);
    let start = books.open(&endpoint(), None);
    assert_eq!(books.read(&endpoint(), start, 10), None);
    write(&mut books, &[true, true, false]);
    let excerpt = books.read(&endpoint(), start, 10).unwrap();
    assert_eq!((excerpt.runs.len(), excerpt.end().number), (2, 3));
    books.finish(&endpoint(), start.book, Timestamp(0));
    assert!(books.take(&endpoint(), Some(start)).is_none());
}

#[test]
fn a_book_outlives_its_reader_for_a_while() {
    let mut books = Books::new(10);
    let start = books.open(&endpoint(), None);
    write(&mut books, &[true; 3]);
    books.close(&endpoint(), start.book, Timestamp(0));
    write(&mut books, &[false; 2]);
    let second = Timestamp(1_000_000);
    books.forget(Duration::from_secs(1), second);
    let half = Position { number: 2, ..start };
    assert_eq!(books.open(&endpoint(), Some(half)), half);
    let excerpt = books.read(&endpoint(), half, 10).unwrap();
    assert_eq!(failures(&excerpt.runs), [true, false, false]);
    books.close(&endpoint(), start.book, second);
    books.forget(Duration::from_secs(1), Timestamp(3_000_000));
    let other = books.open(&endpoint(), Some(half));
    assert_ne!(other.book, start.book);
    let (_, loss) = books.read(&endpoint(), start, 1).unwrap().after(Some(half));
    assert_eq!(loss, Loss::Uncounted);
}

#[test]
fn the_replica_that_wrote_a_book_may_take_over_itself() {
    let mut books = Books::new(10);
    let start = books.open(&endpoint(), None);
    write(&mut books, &[true, false, false]);
    let stored = Position { number: 1, ..start };
    let rest = books.take(&endpoint(), Some(stored)).unwrap();
    assert_eq!(failures(&rest.after(Some(stored)).0), [false, false]);
    write(&mut books, &[true]);
    assert!(books.read(&endpoint(), start, 1).is_none());
}

#[test]
fn an_endpoint_with_much_to_say_costs_no_other_one_its_observations() {
    let (noisy, quiet) = (endpoint(), "environments/prod/endpoints/q".parse().unwrap());
    let mut books = Books::new(40);
    let (of_noisy, of_quiet) = (books.open(&noisy, None), books.open(&quiet, None));
    for failed in [true, false, true] {
        books.record(&quiet, &of(&quiet), 1, outcome(failed));
    }
    // As many runs as observations, so that there is no room long before the end.
    for number in 0..500 {
        books.record(&noisy, &of(&noisy), 1, outcome(number % 2 == 0));
    }
    books.record(&quiet, &of(&quiet), 1, outcome(false));
    let (kept, loss) = books
        .read(&quiet, of_quiet, usize::MAX)
        .unwrap()
        .after(Some(of_quiet));
    assert_eq!(
        (failures(&kept), loss),
        (vec![true, false, true, false], Loss::None)
    );
    let (kept, loss) = books
        .read(&noisy, of_noisy, usize::MAX)
        .unwrap()
        .after(Some(of_noisy));
    let lost = 500 - kept.len() as u64;
    assert_eq!((loss, books.take_dropped()), (Loss::Counted(lost), lost));
    assert!(kept.len() > 30, "{} of 40 are kept", kept.len());
    assert_eq!(books.take_dropped(), 0);
}

proptest! {
    #[test]
    fn a_reader_counts_each_observation_once_or_knows_that_it_is_lost(
        steps in prop::collection::vec((any::<bool>(), 0u8..6), 0..200), runs_max in 2usize..40,
    ) {
        let mut books = Books::new(runs_max);
        let mut sent = books.open(&endpoint(), None);
        let (start, mut known) = (sent, sent);
        let (mut written, mut got, mut lost) = (Vec::new(), Vec::new(), 0);
        let deliver = |excerpt: Excerpt, known: &mut Position, got: &mut Vec<bool>, lost: &mut u64| {
            let end = excerpt.end();
            let (runs, loss) = excerpt.after(Some(*known));
            if let Loss::Counted(count) = loss {
                *lost += count;
                got.extend((0..count).map(|_| false));
            }
            got.extend(failures(&runs));
            known.number = known.number.max(end.number);
        };
        for (failed, what) in steps {
            match what {
                // A stream that breaks: the reader asks again, from what it has.
                0 => sent = books.open(&endpoint(), Some(known)),
                1 => books.stored(&endpoint(), known),
                2 => {
                    if let Some(excerpt) = books.read(&endpoint(), sent, 3) {
                        sent = excerpt.end();
                        deliver(excerpt, &mut known, &mut got, &mut lost);
                    }
                }
                _ => {
                    written.push(failed);
                    write(&mut books, &[failed]);
                }
            }
            prop_assert!(books.runs <= runs_max);
        }
        if let Some(rest) = books.read(&endpoint(), start, usize::MAX) {
            deliver(rest, &mut known, &mut got, &mut lost);
        }
        prop_assert_eq!(got.len(), written.len());
        let wrong = got.iter().zip(&written).filter(|(got, written)| got != written).count();
        prop_assert!(wrong as u64 <= lost, "{} wrong, {} lost", wrong, lost);
    }
}

//! The daemon's death again and again, seen from the far side. What needs thousands of deaths is `cargo xtask torture`.
#![allow(missing_docs)]

mod yard;

use std::time::Duration;
use yard::{FarSide, Yard, wait_until};

#[test]
fn an_output_gets_no_more_than_its_rate_through_ten_crashes() {
    // L4: a bucket that were full at each start would let its burst through ten times.
    const RATE: f64 = 20.0;
    const BURST: f64 = 10.0;
    // What a busy machine may hold a request up.
    const LATE: Duration = Duration::from_millis(400);
    let side = FarSide::start();
    let limited = format!(
        "routes: [{{ name: all, to: out }}]\noutputs: {{ out: {{ type: http, url: \"{}\", rate: {{ limit: 20/s, burst: 10 }} }} }}\n",
        side.url()
    );
    let mut yard = Yard::new(&limited).start();
    for n in 0..200 {
        yard.post("A", &n.to_string());
    }
    for _ in 0..10 {
        let before = side.arrived().len();
        wait_until(|| side.arrived().len() >= before + 3, || format!("three more after {before}\n{}", yard.log()));
        yard.kill();
        yard.run();
    }
    let arrived: Vec<_> = side.wait(60).into_iter().map(|arrived| arrived.at).collect();
    for (first, begin) in arrived.iter().enumerate() {
        for (last, end) in arrived.iter().enumerate().skip(first) {
            let (count, window) = ((last - first + 1) as f64, *end - *begin);
            assert!(count <= RATE * (window + LATE).as_secs_f64() + BURST, "{count} in {window:?}");
        }
    }
}

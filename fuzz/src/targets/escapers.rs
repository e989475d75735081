//! What a value of an event becomes in each place that it may go to: nothing that the far side acts on.

use switchyard_api::conformance::danger::danger;
use switchyard_api::escape::Escape;

/// Bytes of a value that are tried; the same happens with each of them.
const VALUE_MAX: usize = 4 << 10;

/// A value.
pub fn escapers(input: &[u8]) {
    let value = String::from_utf8_lossy(&input[..input.len().min(VALUE_MAX)]);
    for escape in Escape::ALL {
        let written = escape.apply(&value);
        assert_eq!(danger(escape, &written), None, "{escape:?} of {value:?}");
        assert_eq!(written, escape.apply(&value));
    }
}

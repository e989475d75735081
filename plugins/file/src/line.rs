//! One delivery as one line of NDJSON.

use switchyard_api::Parcel;
use switchyard_api::record::{one_line, record};

/// Adds the line of a delivery, with its line end: the template's text, or an object with ids, times and the payload.
pub fn add(lines: &mut Vec<u8>, parcel: &Parcel) {
    match parcel.message.text("line") {
        // In any text but JSON a line is still one line.
        Some(text) => lines.extend_from_slice(one_line(text.trim_end()).as_bytes()),
        None => lines.extend_from_slice(record(parcel, Some(parcel.attempt)).as_bytes()),
    }
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn line(parcel: &Parcel) -> Vec<u8> {
        let mut lines = vec![];
        add(&mut lines, parcel);
        lines
    }

    #[test]
    fn a_template_makes_one_line_whatever_stands_in_it() {
        let message = Message { fields: [("line".to_owned(), Rendered::Text("a\nb\r\n\n".into()))].into(), ..Message::default() };
        assert_eq!(line(&parcel(1, &message)), b"a b\n");
        let plain = String::from_utf8(line(&parcel(1, &Message::default()))).unwrap();
        assert!(plain.contains(r#","attempt":1,"data":{"number":1}}"#) && plain.ends_with("}\n"), "{plain}");
    }
}

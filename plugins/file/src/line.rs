//! One delivery as one line of NDJSON.

use switchyard_api::Parcel;
use switchyard_api::record::{one_line, record};

/// The line of a delivery, with its line end: the template's text, or an object with ids, times and the payload.
pub fn line(parcel: &Parcel) -> Vec<u8> {
    let line = match parcel.message.text("line") {
        // In any text but JSON a line is still one line.
        Some(text) => one_line(text.trim_end()),
        None => record(parcel, Some(parcel.attempt)),
    };
    (line + "\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    #[test]
    fn a_template_makes_one_line_whatever_stands_in_it() {
        let message = Message { fields: [("line".to_owned(), Rendered::Text("a\nb\r\n\n".into()))].into(), ..Message::default() };
        assert_eq!(line(&parcel(1, &message)), b"a b\n");
        let plain = String::from_utf8(line(&parcel(1, &Message::default()))).unwrap();
        assert!(plain.contains(r#","attempt":1,"data":{"number":1}}"#) && plain.ends_with("}\n"), "{plain}");
    }
}

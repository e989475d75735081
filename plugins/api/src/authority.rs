//! The parts of a URL that are not HTTP's alone: host and port, and credentials without their percent-encoding. Pure.

/// What is wrong with a host and its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongPlace {
    /// An open bracket, or something behind it that is no port.
    Form,
    /// The port is no number from 1 to 65535.
    Port,
}

/// Host and port of `host`, `host:port`, `[::1]` or `[::1]:port`, without the brackets.
///
/// # Errors
/// It is none of them.
pub fn host_and_port(place: &str) -> Result<(&str, Option<u16>), WrongPlace> {
    let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']').ok_or(WrongPlace::Form)).transpose()? {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or(WrongPlace::Form)?)),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or(WrongPlace::Port)).transpose()?;
    Ok((host, port))
}

/// A text without its percent-encoding (RFC 3986, section 2.1); `None`: a `%` has no two digits behind it, or what comes out is no UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        out.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_is_a_host_and_perhaps_a_port() {
        for (place, expected) in [
            ("h", Ok(("h", None))),
            ("h:25", Ok(("h", Some(25)))),
            ("[::1]", Ok(("::1", None))),
            ("[::1]:25", Ok(("::1", Some(25)))),
            ("h:0", Err(WrongPlace::Port)),
            ("h:65536", Err(WrongPlace::Port)),
            ("h:", Err(WrongPlace::Port)),
            ("h:x", Err(WrongPlace::Port)),
            ("[::1", Err(WrongPlace::Form)),
            ("[::1]25", Err(WrongPlace::Form)),
        ] {
            assert_eq!(host_and_port(place), expected, "{place}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(text in ".*") {
            let encoded = text.bytes().fold(String::new(), |before, byte| format!("{before}%{byte:02x}"));
            prop_assert_eq!(percent_decoded(&encoded), Some(text));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = (percent_decoded(&text), host_and_port(&text));
        }
    }
}

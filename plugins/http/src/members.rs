//! The results of a batch in an answer of XML: the elements of one name, each an object of the texts of its children.
//!
//! Never guesses: children that are no plain texts, and entities that XML does not have, make the whole unreadable.

use serde_json::{Map, Value};

/// The elements of that name, in their order; `None` where one of them is not as described.
pub fn read(xml: &str, name: &str) -> Option<Vec<Value>> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (mut found, mut rest) = (vec![], xml);
    while let Some((_, more)) = rest.split_once(&open) {
        let (inner, after) = more.split_once(&close)?;
        found.push(Value::Object(children(inner)?));
        rest = after;
    }
    Some(found)
}

fn children(inner: &str) -> Option<Map<String, Value>> {
    let (mut found, mut rest) = (Map::new(), inner.trim_start());
    while !rest.is_empty() {
        let (tag, more) = rest.strip_prefix('<')?.split_once('>')?;
        let (name, text, after) = match tag.strip_suffix('/') {
            Some(name) => (name.trim_end(), "", more),
            None => {
                let (text, after) = more.split_once(&format!("</{tag}>"))?;
                (tag, text, after)
            }
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) || text.contains('<') {
            return None;
        }
        found.insert(name.to_owned(), plain(text)?.into());
        rest = after.trim_start();
    }
    Some(found)
}

/// A text without its entities.
fn plain(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, more)) = rest.split_once('&') {
        let (entity, after) = more.split_once(';')?;
        out.push_str(before);
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => {
                let digits = other.strip_prefix('#')?;
                let code = digits.strip_prefix('x').map_or_else(|| digits.parse(), |hex| u32::from_str_radix(hex, 16));
                char::from_u32(code.ok()?)?
            }
        });
        rest = after;
    }
    Some(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn each_element_is_an_object_of_its_texts() {
        let xml = "<R xmlns=\"x\"><Ok>\n <member><Id>0</Id><MessageId>m-1</MessageId></member></Ok><Failed><member>\n<Id>1</Id> <Why>a &lt;b&gt; &#38; &#x26;</Why><None/></member></Failed></R>";
        let expected = [json!({ "Id": "0", "MessageId": "m-1" }), json!({ "Id": "1", "Why": "a <b> & &", "None": "" })];
        assert_eq!(read(xml, "member").as_deref(), Some(expected.as_slice()));
        assert_eq!(read("<R/>", "member"), Some(vec![]));
        assert_eq!(read("<member></member>", "member"), Some(vec![json!({})]));
    }

    #[test]
    fn what_is_not_as_described_is_not_read() {
        for xml in [
            "<member><Id>0</Id>",
            "<member><Id>0</member>",
            "<member>text</member>",
            "<member><Id><In>0</In></Id></member>",
            "<member><Id>&what;</Id></member>",
            "<member><Id>&amp</Id></member>",
            "<member><Id>&#xD800;</Id></member>",
            "<member><Id a=\"b\">0</Id></member>",
            "<member><>0</></member>",
        ] {
            assert_eq!(read(xml, "member"), None, "{xml}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_a_panic(xml in "(<member>|</member>|<Id>|</Id>|<a/>|&[a-z#x0-9]{0,4};|[<>/&; aü]){0,20}") {
            let _ = read(&xml, "member");
        }
    }
}

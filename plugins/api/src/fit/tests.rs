//! Texts over their limits: what is left, for every escape and unit.

use super::*;
use proptest::prelude::*;

const UNITS: [Unit; 4] = [Unit::Chars, Unit::Utf16, Unit::Bytes, Unit::JsonBytes];
const LINK: &str = "https://sy.shop.example/api/events/evt_07";

fn fit(escape: Escape, most: usize, unit: Unit) -> Fit<'static> {
    Fit { escape, most, unit, link: None }
}

fn cut(escape: Escape, most: usize, text: &str) -> String {
    fit(escape, most, Unit::Chars).cut(text).unwrap()
}

#[test]
fn a_text_is_cut_at_a_word_and_says_how_much_is_left_out() {
    let long = "word ".repeat(300);
    assert_eq!(cut(Escape::Plain, 100, &long), format!("{}word… 1,426 more characters", "word ".repeat(14)));
    assert_eq!(fit(Escape::Plain, 100, Unit::Chars).cut("short"), None);
    assert_eq!(cut(Escape::Plain, 40, &"ü".repeat(200)), format!("{}… 181 more characters", "ü".repeat(19)));
    // Where even the count is too much.
    assert_eq!(cut(Escape::Plain, 20, &"ü".repeat(200)), format!("{}…", "ü".repeat(19)));
    assert_eq!(cut(Escape::Plain, 1, "ab"), "…");
    assert_eq!(cut(Escape::Plain, 0, "ab"), "");
}

#[test]
fn the_link_stands_behind_the_count_where_there_is_room() {
    let linked = |escape, most| Fit { link: Some(LINK), ..fit(escape, most, Unit::Chars) }.cut(&"word ".repeat(100)).unwrap();
    assert_eq!(linked(Escape::Slack, 160), format!("{}word… 406 more characters: {LINK}", "word ".repeat(18)));
    assert_eq!(linked(Escape::TelegramHtml, 200).split_once(": ").unwrap().1, format!("<a href=\"{LINK}\">the event</a>"));
    assert_eq!(linked(Escape::TelegramMarkdownV2, 200).split_once(": ").unwrap().1, r"https://sy\.shop\.example/api/events/evt\_07");
    assert_eq!(linked(Escape::Discord, 200).split_once(": ").unwrap().1, LINK);
    assert!(!linked(Escape::Discord, 100).contains("https"), "the text comes first");
}

#[test]
fn nothing_is_cut_in_two_and_what_is_open_is_closed() {
    let cases = [
        (Escape::Slack, "&amp;".repeat(20), 58, format!("{}… 13 more characters", "&amp;".repeat(7))),
        (Escape::Slack, format!("{} <https://a.example/long/long/long|text> {}", "a".repeat(20), "b".repeat(20)), 60, {
            format!("{}… 61 more characters", "a".repeat(20))
        }),
        (Escape::TelegramHtml, format!("<b>{} <i>{}</i></b>", "a".repeat(20), "b".repeat(60)), 80, {
            format!("<b>{} <i>{}</i></b>… 35 more characters", "a".repeat(20), "b".repeat(25))
        }),
        (Escape::TelegramMarkdownV2, format!(r"*{}\.{}*", "a".repeat(30), "b".repeat(60)), 53, {
            format!("*{}*… 61 more characters", "a".repeat(30))
        }),
        (Escape::TelegramMarkdownV2, format!("__aa _{}_ {}__", "b".repeat(30), "c".repeat(90)), 42, {
            format!("__aa _{}_\r__… 110 more characters", "b".repeat(11))
        }),
        (Escape::Discord, format!("```sql\n{}```", "x ".repeat(60)), 60, format!("```sql\n{}x\n```… 93 more characters", "x ".repeat(13))),
        (Escape::Form, "%F0%9F%98%80".repeat(20), 75, format!("{}%E2%80%A6+17+more+characters", "%F0%9F%98%80".repeat(3))),
        (Escape::Json, r"\ud83d\ude00".repeat(20), 55, format!("{}… 18 more characters", r"\ud83d\ude00".repeat(2))),
        (Escape::Plain, "e\u{301}".repeat(40), 50, format!("{}… 50 more characters", "e\u{301}".repeat(15))),
        (Escape::Plain, "👩\u{200d}👩\u{200d}👧".repeat(20), 34, format!("{}… 90 more characters", "👩\u{200d}👩\u{200d}👧".repeat(2))),
    ];
    for (escape, text, most, expected) in cases {
        assert_eq!(cut(escape, most, &text), expected, "{escape:?}");
    }
    let smile = Fit { unit: Unit::Utf16, ..fit(Escape::Plain, 29, Unit::Chars) }.cut(&"😀".repeat(30)).unwrap();
    assert_eq!(smile, format!("{}… 26 more characters", "😀".repeat(4)));
}

#[test]
fn a_split_ends_at_paragraphs_lines_and_words_and_opens_again_what_it_closed() {
    let text = format!("<b>{}\n\n{}\n{} {}</b>", "a".repeat(30), "b".repeat(20), "c".repeat(20), "d".repeat(30));
    let parts = fit(Escape::TelegramHtml, 60, Unit::Chars).split(&text).unwrap();
    assert_eq!(
        parts,
        [
            format!("(1/3) <b>{}</b>", "a".repeat(30)),
            format!("(2/3) <b>{}\n{}</b>", "b".repeat(20), "c".repeat(20)),
            format!("(3/3) <b>{}</b>", "d".repeat(30)),
        ]
    );
    assert_eq!(fit(Escape::TelegramHtml, 600, Unit::Chars).split(&text), None);
    let parts = fit(Escape::TelegramMarkdownV2, 40, Unit::Chars).split(&"word ".repeat(10)).unwrap();
    assert_eq!(parts, [r"\(1/2\) word word word word word word", r"\(2/2\) word word word word "]);
    let many = fit(Escape::Plain, 40, Unit::Chars).split(&"word ".repeat(400)).unwrap();
    assert_eq!(many.len(), PARTS_MAX);
    assert!(many.iter().all(|part| part.chars().count() <= 40) && many[19] == "(20/20) word word… 1,421 more characters", "{}", many[19]);
}

#[test]
fn a_list_is_cut_by_whole_items() {
    let items: Vec<String> = (1..=30).map(|n| format!("order {n}")).collect();
    let list = |most| fit(Escape::Plain, most, Unit::Chars).list(&items, "\n");
    assert_eq!(list(60), "order 1\norder 2\norder 3\norder 4\norder 5\n… and 25 more");
    assert_eq!(list(1000), items.join("\n"));
    let long = ["x".repeat(80), "y".into(), "z".into()];
    assert_eq!(fit(Escape::Plain, 60, Unit::Chars).list(&long, ", "), format!("{}… 54 more characters, … and 2 more", "x".repeat(26)));
}

#[test]
fn the_longest_lose_first_and_equally() {
    let total = |most| Total { most, unit: Unit::Chars, fields: vec![] };
    assert_eq!(total(100).shares(&[10, 80, 60]), [10, 45, 45]);
    assert_eq!(total(100).shares(&[10, 20, 60]), [10, 20, 60]);
    assert_eq!(total(0).shares(&[10, 20]), [0, 0]);
    assert_eq!(total(10).shares(&[]), [] as [usize; 0]);
}

#[test]
fn a_cap_is_a_number_or_spelled_out() {
    let read = |text: &str| serde_json::from_str::<Cap>(text).unwrap();
    assert_eq!(read("2000"), Cap::chars(2000));
    assert_eq!(read(r#"{"most": 2048, "unit": "bytes"}"#), Cap::bytes(2048));
    assert_eq!(read(r#"{"most": 255, "over": "refuse"}"#), Cap::chars(255).or_refuse());
}

/// A written text as templates make them: markup of the author around escaped values.
fn written(escape: Escape) -> impl Strategy<Value = String> {
    let value = r"([a-z]{1,9}|[ \n]|[<>&@_*\[\]()`~|#.!\\%+'-]|[üé😀]|e\u{301}|👩\u{200d}👧){0,12}"
        .prop_map(move |value: String| escape.apply(&value));
    let wrap: &[(&str, &str)] = match escape {
        Escape::Html | Escape::Matrix | Escape::TelegramHtml | Escape::Xml => {
            &[("<b>", "</b>"), ("<a href=\"https://a.example/?x=1&amp;y\">", "</a>"), ("", ""), ("<pre>", "</pre>")]
        }
        Escape::TelegramMarkdownV2 => &[("*", "*"), ("__", "__"), ("_", "_\r"), ("||", "||"), ("", ""), ("[x](https://a", ")"), ("~", "~")],
        Escape::Slack => &[("<https://a.example|", ">"), ("*", "*"), ("", "")],
        Escape::Discord | Escape::Markdown | Escape::Zulip => &[("```\n", "\n```"), ("**", "**"), ("", "")],
        _ => &[("", "")],
    };
    let piece = (value, prop::sample::select(wrap)).prop_map(|(value, (open, close))| {
        // A link's words are one line, and its address has no marks.
        let value = if open.contains("](") || open.contains('|') && open.len() > 2 { "text".to_owned() } else { value };
        format!("{open}{value}{close} ")
    });
    (prop::collection::vec(piece, 0..10), prop::sample::select(wrap)).prop_map(|(pieces, (open, close))| {
        let plain = open.is_empty() || open.contains(['(', '`', '|']) || open.contains("<a");
        let inside = pieces.concat();
        if plain || inside.contains(open) { inside } else { format!("{open}{inside}{close}") }
    })
}

/// Whether nothing is open at the end, as the far side reads it.
fn balanced(escape: Escape, text: &str) -> bool {
    let mut pieces = Pieces::new(text, escape, Unit::Chars);
    pieces.walk_to(text.len());
    pieces.closers().is_empty()
}

/// Strictly, as Telegram does: `Err` is its 400.
fn telegram_reads(text: &str) -> Result<(), String> {
    let (mut open, mut chars): (Vec<String>, _) = (vec![], text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next().ok_or("a lone backslash")?),
            '[' => {
                let link: String = chars.by_ref().take_while(|c| *c != ')').collect();
                if !link.contains("](") {
                    return Err(format!("a broken link: {link}"));
                }
            }
            '*' | '_' | '~' | '|' => {
                let double = (matches!(c, '_' | '|') && chars.next_if_eq(&c).is_some()).then_some(c);
                let mark: String = std::iter::once(c).chain(double).collect();
                if open.last() == Some(&mark) { drop(open.pop()) } else { open.push(mark) }
            }
            '#' | '+' | '-' | '=' | '{' | '}' | '.' | '!' | '>' | '(' | ')' | ']' | '`' => return Err(format!("a bare {c}")),
            _ => {}
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("open: {open:?}")) }
}

fn checked(escape: Escape, text: &str, most: usize, unit: Unit, link: bool) -> Result<(), TestCaseError> {
    let fit = Fit { link: link.then_some(LINK), ..fit(escape, most, unit) };
    if let Some(cut) = fit.cut(text) {
        prop_assert!(unit.measure(&cut) <= most, "{:?} {:?}: {:?}", escape, unit, cut);
        prop_assert!(!balanced(escape, text) || balanced(escape, &cut), "{:?}: {:?}", escape, cut);
        if escape == Escape::TelegramMarkdownV2 {
            prop_assert_eq!(telegram_reads(text).and_then(|()| telegram_reads(&cut)), telegram_reads(text), "{:?} of {:?}", cut, text);
        }
        if let Some((head, tail)) = cut.rsplit_once("… ").filter(|(_, tail)| tail.ends_with("more characters")) {
            let count: usize = tail.split(' ').next().unwrap().replace(',', "").parse().unwrap();
            let shown = |text: &str| Pieces::new(text, escape, unit).shown_to(usize::MAX);
            // The line end that a fence is closed with is ours.
            let head = head.strip_suffix("\n```").filter(|_| !text.starts_with(head)).unwrap_or(head);
            prop_assert_eq!(shown(head) + count, shown(text), "{:?} of {:?}", cut, text);
            let same = head.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(shown(&head[same..]), 0, "what differs is only closing: {:?} of {:?}", cut, text);
        }
    }
    for part in fit.split(text).into_iter().flatten() {
        prop_assert!(unit.measure(&part) <= most, "{:?} {:?}: {:?}", escape, unit, part);
        prop_assert!(!balanced(escape, text) || balanced(escape, &part), "{:?}: {:?} of {:?}", escape, part, text);
    }
    Ok(())
}

#[test]
fn what_telegram_ignores_is_not_counted() {
    let text = "___aaaaaaaaa👩\u{200d}👧aaaaaaaaa_\r _a😀👩\u{200d}👧_\r __";
    checked(Escape::TelegramMarkdownV2, text, 55, Unit::JsonBytes, false).unwrap();
}

proptest! {
    #[test]
    fn it_fits_stays_whole_and_counts_right(
        (escape, text) in prop::sample::select(&Escape::ALL[..]).prop_flat_map(|escape| (Just(escape), written(escape))),
        most in 0usize..160,
        unit in prop::sample::select(&UNITS[..]),
        link in any::<bool>(),
    ) {
        checked(escape, &text, most, unit, link)?;
    }

    #[test]
    fn no_text_is_too_odd(escape in prop::sample::select(&Escape::ALL[..]), text in r"([\x00-\x7f]|[<>&@_*\[\]()`~|#.!\\%+;a]|\u{600}|\PC){0,80}", most in 0usize..90) {
        let fit = Fit { link: Some(LINK), ..fit(escape, most, Unit::Bytes) };
        for part in fit.cut(&text).into_iter().chain(fit.split(&text).into_iter().flatten()) {
            prop_assert!(part.len() <= most, "{:?}", part);
        }
        let whole: String = { let mut pieces = Pieces::new(&text, escape, Unit::Bytes); std::iter::from_fn(|| pieces.next().map(|p| p.text)).collect() };
        prop_assert_eq!(whole, text);
    }

    #[test]
    fn all_words_of_a_split_arrive_in_order(words in prop::collection::vec("[a-z]{1,8}", 1..60), most in 30usize..60) {
        let text = words.join(" ");
        let parts = fit(Escape::Plain, most, Unit::Chars).split(&text).unwrap_or_else(|| vec![text.clone()]);
        let read: Vec<&str> = parts.iter().flat_map(|part| part.split_once(") ").map_or(part.as_str(), |(_, rest)| rest).split(' ')).collect();
        prop_assert_eq!(read, words);
    }

    #[test]
    fn a_list_fits_and_its_count_is_right(items in prop::collection::vec("[a-z]{1,12}", 1..30), most in 0usize..120) {
        let list = fit(Escape::Plain, most, Unit::Chars).list(&items, "\n");
        prop_assert!(list.len() <= most + "…".len() * 2, "{:?}", list);
        prop_assert!(Unit::Chars.measure(&list) <= most);
        if let Some((head, tail)) = list.rsplit_once("\n… and ") {
            let left: usize = tail.trim_end_matches(" more").parse().unwrap();
            prop_assert_eq!(head.lines().count() + left, items.len());
        }
    }

    #[test]
    fn shares_fit_and_leave_nothing_unused(lengths in prop::collection::vec(0usize..100, 0..8), most in 0usize..300) {
        let shares = Total { most, unit: Unit::Chars, fields: vec![] }.shares(&lengths);
        let sum: usize = shares.iter().sum();
        prop_assert!(sum <= most);
        let cut = shares.iter().zip(&lengths).filter(|(share, length)| share < length).count();
        prop_assert!(cut == 0 || most - sum < lengths.len());
    }
}

//! A jq program, compiled for our own function table: without environment, clock, exit, log and input; and run with a meter on its steps.
//!
//! The engine asks for its table once per term it evaluates, and there the steps are counted. What works without evaluating
//! terms is replaced: `range` counts each number, `fromjson` has a depth, and `*` (a text times a number from the event is one huge
//! allocation) and `..` (quadratic on deep values) are rewritten in the syntax tree, in the standard library too.

use super::{JqError, PROGRAM_MAX, RESULTS_MAX};
use crate::model::{Json, envelope};
use crate::route::facts::ROOTS;
use jaq_core::compile::Undefined;
use jaq_core::data::{DataT, HasLut};
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::load::{Arena, Error as LoadError, File, Loader};
use jaq_core::native::{Fun, bome, v};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};
use jaq_core::{Compiler, Ctx, Error, Exn, Lut, Native, Vars};
use jaq_json::Num;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use switchyard_api::problem::nearest;

/// Steps of one run: some 100 ms of a machine's time.
const STEPS_MAX: u64 = 1_000_000;
/// Brackets within brackets: the parser recurses.
const NESTING_MAX: usize = 100;
/// Bytes of a text times a number, bits of a product.
const PRODUCT_MAX: u128 = 1 << 20;
const PRODUCT_BITS_MAX: u64 = 1 << 14;

/// What is wrong with a program, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JqProblem {
    /// Bytes of the program.
    pub within: Range<usize>,
    /// One line.
    pub why: String,
    /// What to do.
    pub help: String,
    /// What to write in its place.
    pub patch: Option<String>,
}

impl JqProblem {
    /// A problem without a text to put in its place.
    pub fn new(within: Range<usize>, why: String, help: &str) -> Self {
        JqProblem { within, why, help: help.to_owned(), patch: None }
    }
}

const SYNTAX_HELP: &str = "write it as in `.data.total > 1000` or `{id: .data.id}`; a bracket, a quote or a value may be missing";
const BANNED_HELP: &str = "a route sees nothing but the event: `.source`, `.topic`, `.received_at`, `.headers`, `.query`, `.data`, `.raw`";
const FUNCTIONS_HELP: &str = "jq's own functions are known, such as `select`, `map`, `length`, `test`";

/// A program that can run.
pub struct Compiled(jaq_core::compile::Filter<Native<Metered>>);

/// The engine's types, with a meter as global data.
pub struct Metered;

#[derive(Clone)]
pub struct Data<'a> {
    table: &'a Lut<Metered>,
    left: &'a Cell<u64>,
}

impl DataT for Metered {
    type V<'a> = Json;
    type Data<'a> = Data<'a>;
}

impl<'a> HasLut<'a, Metered> for Data<'a> {
    fn lut(&self) -> &'a Lut<Metered> {
        step(self.left);
        self.table
    }
}

struct OutOfSteps;

fn step(left: &Cell<u64>) {
    match left.get() {
        // No panic hook, no message: caught in `run`.
        0 => resume_unwind(Box::new(OutOfSteps)),
        n => left.set(n - 1),
    }
}

impl Compiled {
    /// All results, as the engine's values.
    pub fn run(&self, input: Json) -> Result<Vec<Json>, JqError> {
        let left = Cell::new(STEPS_MAX);
        let run = AssertUnwindSafe(|| {
            let context = Ctx::<Metered>::new(Data { table: &self.0.lut, left: &left }, Vars::new([]));
            let mut results = vec![];
            for result in self.0.id.run((context, input)) {
                // Never the engine's own unwrapping: it leaves the process on `halt`.
                let value = result.map_err(|e| JqError::Program(e.get_err().map_or_else(|_| "stopped".into(), |e| e.to_string())))?;
                if results.len() == RESULTS_MAX {
                    return Err(JqError::TooMany);
                }
                results.push(value);
            }
            Ok(results)
        });
        catch_unwind(run).unwrap_or_else(|panic| match panic.downcast_ref::<OutOfSteps>() {
            Some(OutOfSteps) => Err(JqError::Steps),
            None => Err(JqError::Program("the engine failed on this".into())),
        })
    }
}

/// Compiles a program.
pub fn compile(text: &str) -> Result<Compiled, Vec<JqProblem>> {
    bounded(text)?;
    let place = |part: &str| {
        let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        if start <= text.len() { start..(start + part.len()).min(text.len()) } else { 0..text.len() }
    };
    let main = jaq_core::load::parse(text, |p| p.term()).map(|term| Def { name: "main_", args: vec![], body: guard(term, false) });
    let parsed = main.is_some();
    // On an error of syntax the loader reads the text itself and says where.
    let file = File { code: if parsed { "main_" } else { text }, path: () };
    let arena = Arena::default();
    let guarded = library().map(guard_definition);
    let modules = Loader::new(guarded.chain(main)).load(&arena, file).map_err(|errors| {
        errors
            .into_iter()
            .flat_map(|(_, error)| unread(error))
            .map(|(part, why)| JqProblem::new(place(part), why, syntax_help(part)))
            .collect::<Vec<_>>()
    })?;
    if !parsed {
        return Err(vec![JqProblem::new(0..text.len(), "not a jq program without modules".into(), SYNTAX_HELP)]);
    }
    Compiler::<_, Metered>::default().with_funs(functions()).compile(modules).map(Compiled).map_err(|errors| {
        let undefined = errors.into_iter().flat_map(|(_, undefined)| undefined);
        undefined.map(|(name, what)| undefined_name(name, &what, place(name))).collect()
    })
}

fn bounded(text: &str) -> Result<(), Vec<JqProblem>> {
    if text.len() > PROGRAM_MAX {
        return Err(vec![JqProblem::new(PROGRAM_MAX..text.len(), format!("longer than {} KiB", PROGRAM_MAX >> 10), "write a shorter one")]);
    }
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(vec![JqProblem::new(
                at..at + 1,
                format!("more than {NESTING_MAX} brackets within each other"),
                "write a flatter one",
            )]);
        }
    }
    Ok(())
}

fn unread(error: LoadError<&str>) -> Vec<(&str, String)> {
    match error {
        LoadError::Io(found) => found.into_iter().map(|(part, _)| (part, "modules cannot be loaded".into())).collect(),
        LoadError::Lex(found) => found.into_iter().map(|(expected, part)| (part, format!("expected {}", expected.as_str()))).collect(),
        LoadError::Parse(found) => found.into_iter().map(|(expected, part)| (part, format!("expected {}", expected.as_str()))).collect(),
    }
}

/// What to do about a piece that cannot be read: other languages' signs have words here.
fn syntax_help(part: &str) -> &'static str {
    match part.as_bytes() {
        [b'&', b'&', ..] | [b'|', b'|', ..] | [b'!', b' ' | b'.' | b'(', ..] => {
            "write `and`, `or` and `|not`, as in `.data.paid and .data.total > 1000`"
        }
        [b'=', b'=', b'=', ..] => "write `==`",
        [b'!', b'=', b'=', ..] => "write `!=`",
        _ if ["contains", "startswith", "endswith", "test", "has", "in"].iter().any(|name| part.starts_with(name)) => {
            "a function stands behind `|` and has its argument in brackets: `.data.name | contains(\"x\")`"
        }
        [b'\'', ..] => "a text in jq stands in \"…\"; put the whole program in '…'",
        _ => SYNTAX_HELP,
    }
}

fn undefined_name(name: &str, what: &Undefined, within: Range<usize>) -> JqProblem {
    if matches!(what, Undefined::Var) && ["$env", "$ENV", "$__prog_args"].contains(&name) {
        return JqProblem::new(within, format!("`{name}` is not available in routes"), BANNED_HELP);
    }
    let Undefined::Filter(_) = what else { return JqProblem::new(within, unknown(name, what), SYNTAX_HELP) };
    if ROOTS.contains(&name) {
        let problem = JqProblem::new(within, unknown(name, what), "");
        return JqProblem {
            help: format!("a value of the event begins with a dot: `.{name}`"),
            patch: Some(format!(".{name}")),
            ..problem
        };
    }
    if ["this", "event", "body", "payload", "json", "message", "root"].contains(&name) {
        let problem = JqProblem::new(within, unknown(name, what), "the body is `.data`: write `.data.total > 1000`");
        return JqProblem { patch: Some(".data".into()), ..problem };
    }
    if BANNED.contains(&name) {
        return JqProblem::new(within, format!("`{name}` is not available in routes"), BANNED_HELP);
    }
    let known = library().map(|def| def.name).chain(functions().map(|(known, ..)| known));
    let near = nearest(name, known.filter(|known| *known != name && !known.starts_with('_')));
    let problem = JqProblem::new(within, unknown(name, what), FUNCTIONS_HELP);
    match near {
        Some(near) => JqProblem { help: format!("did you mean `{near}`?"), patch: Some(near.to_owned()), ..problem },
        None => problem,
    }
}

fn unknown(name: &str, what: &Undefined) -> String {
    match what {
        Undefined::Filter(0) => format!("unknown function `{name}`"),
        Undefined::Filter(1) => format!("unknown function `{name}` with 1 argument"),
        Undefined::Filter(arguments) => format!("unknown function `{name}` with {arguments} arguments"),
        other => format!("unknown {} `{name}`", other.as_str()),
    }
}

/// A definition of the library, guarded.
fn guard_definition<'s>(def: Def<&'static str>) -> Def<&'s str> {
    Def { name: def.name, args: def.args, body: guard(def.body, false) }
}

/// Functions that would show our secrets, break a replay, write to our log, read our input or end our process. They are
/// simply not there, neither the engine's nor the library's, so that `check` finds whoever calls one.
const BANNED: [&str; 12] =
    ["env", "halt", "halt_error", "now", "debug", "debug_empty", "stderr", "stderr_empty", "localtime", "strflocaltime", "input", "inputs"];
const REPLACED: [&str; 2] = ["range", "fromjson"];

/// The definitions in jq itself.
fn library() -> impl Iterator<Item = Def<&'static str>> {
    jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).filter(|def| !BANNED.contains(&def.name))
}

fn functions() -> impl Iterator<Item = Fun<Metered>> {
    let engine = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let ours = |name: &str| BANNED.contains(&name) || REPLACED.contains(&name);
    engine.filter(move |fun| !ours(fun.0)).chain([range(), multiply(), from_json()])
}

/// `range(from; upto; by)`, each number a step.
fn range() -> Fun<Metered> {
    let native = Native::new(|mut cv: jaq_core::Cv<'_, Metered>| {
        let (by, upto, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
        let left = cv.0.data().left;
        let up = by > Json::from(0_isize);
        let mut next = Some(Ok::<Json, Exn<'_, Json>>(from));
        Box::new(std::iter::from_fn(move || {
            step(left);
            match next.take()? {
                Err(error) => Some(Err(error)),
                Ok(at) if (up && at < upto) || (!up && at > upto) => {
                    next = Some((at.clone() + by.clone()).map_err(Into::into));
                    Some(Ok(at))
                }
                Ok(_) => None,
            }
        }))
    });
    ("range", v(3), native)
}

/// `l * r`, bounded.
fn multiply() -> Fun<Metered> {
    let native = Native::new(|mut cv: jaq_core::Cv<'_, Metered>| {
        let (r, l) = (cv.0.pop_var(), cv.0.pop_var());
        bome(match (&l, &r) {
            (Json::TStr(text) | Json::BStr(text), Json::Num(n)) | (Json::Num(n), Json::TStr(text) | Json::BStr(text))
                if too_long(text.len(), n) =>
            {
                Err(Error::str("a text times a number is larger than 1 MiB"))
            }
            (Json::Num(Num::BigInt(a)), Json::Num(Num::BigInt(b))) if a.bits() + b.bits() > PRODUCT_BITS_MAX => {
                Err(Error::str("a number too large"))
            }
            _ => l * r,
        })
    });
    ("mul_", v(2), native)
}

fn too_long(length: usize, times: &Num) -> bool {
    match times {
        Num::Int(n) => *n > 0 && (*n as u128) * (length.max(1) as u128) > PRODUCT_MAX,
        Num::Float(f) => *f * length.max(1) as f64 > PRODUCT_MAX as f64,
        Num::BigInt(_) => true,
        Num::Dec(text) => text.parse::<f64>().is_ok_and(|f| f * length.max(1) as f64 > PRODUCT_MAX as f64),
    }
}

/// `fromjson`, at most as deep as a body.
fn from_json() -> Fun<Metered> {
    let native = Native::new(|cv: jaq_core::Cv<'_, Metered>| {
        bome(match &cv.1 {
            Json::TStr(text) | Json::BStr(text) => envelope::parse(text).map_err(Error::str),
            _ => Err(Error::str("only a text can be read as JSON")),
        })
    });
    ("fromjson", v(0), native)
}

/// Rewrites `*`, `*=` and `..`; the latter not left of an update, where it means leaves first.
fn guard<'s>(term: Term<&'s str>, updated: bool) -> Term<&'s str> {
    let go = |term: Term<&'s str>| guard(term, updated);
    let boxed = |term: Box<Term<&'s str>>| Box::new(guard(*term, updated));
    match term {
        Term::Recurse if !updated => Term::Call("recurse", vec![]),
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => term,
        Term::Str(format, parts) => {
            let part = |part| match part {
                StrPart::Term(term) => StrPart::Term(go(term)),
                other => other,
            };
            Term::Str(format, parts.into_iter().map(part).collect())
        }
        Term::Arr(inner) => Term::Arr(inner.map(boxed)),
        Term::Obj(entries) => Term::Obj(entries.into_iter().map(|(key, value)| (go(key), value.map(go))).collect()),
        Term::Neg(inner) => Term::Neg(boxed(inner)),
        Term::BinOp(l, op, r) => binary(*l, op, *r, updated),
        Term::Label(name, inner) => Term::Label(name, boxed(inner)),
        Term::Fold(name, list, pattern, rest) => Term::Fold(name, boxed(list), guard_pattern(pattern), rest.into_iter().map(go).collect()),
        Term::TryCatch(inner, caught) => Term::TryCatch(boxed(inner), caught.map(boxed)),
        Term::IfThenElse(cases, other) => {
            Term::IfThenElse(cases.into_iter().map(|(when, then)| (go(when), go(then))).collect(), other.map(boxed))
        }
        Term::Def(defs, inner) => Term::Def(defs.into_iter().map(|def| Def { body: go(def.body), ..def }).collect(), boxed(inner)),
        Term::Call(name, arguments) => Term::Call(name, arguments.into_iter().map(go).collect()),
        Term::Path(inner, path) => {
            let part = |part| match part {
                Part::Index(index) => Part::Index(go(index)),
                Part::Range(from, upto) => Part::Range(from.map(go), upto.map(go)),
            };
            Term::Path(boxed(inner), Path(path.0.into_iter().map(|(p, optional)| (part(p), optional)).collect()))
        }
    }
}

fn binary<'s>(l: Term<&'s str>, op: BinaryOp<&'s str>, r: Term<&'s str>, updated: bool) -> Term<&'s str> {
    let go = |term| Box::new(guard(term, updated));
    match op {
        BinaryOp::Math(Math::Mul) => Term::Call("mul_", vec![*go(l), *go(r)]),
        // `l *= r` is `r as $mul_ | l |= mul_(.; $mul_)`.
        BinaryOp::UpdateMath(Math::Mul) => {
            let product = Term::Call("mul_", vec![Term::Id, Term::Var("$mul_")]);
            let update = Term::BinOp(Box::new(guard(l, true)), BinaryOp::Update, Box::new(product));
            Term::BinOp(go(r), BinaryOp::Pipe(Some(Pattern::Var("$mul_"))), Box::new(update))
        }
        BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt | BinaryOp::Assign => {
            Term::BinOp(Box::new(guard(l, true)), op, Box::new(guard(r, false)))
        }
        BinaryOp::Pipe(Some(pattern)) => Term::BinOp(go(l), BinaryOp::Pipe(Some(guard_pattern(pattern))), go(r)),
        op => Term::BinOp(go(l), op, go(r)),
    }
}

fn guard_pattern(pattern: Pattern<&str>) -> Pattern<&str> {
    match pattern {
        Pattern::Var(name) => Pattern::Var(name),
        Pattern::Arr(inner) => Pattern::Arr(inner.into_iter().map(guard_pattern).collect()),
        Pattern::Obj(entries) => Pattern::Obj(entries.into_iter().map(|(key, inner)| (guard(key, false), guard_pattern(inner))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::jq::Program;

    fn run(program: &str, input: &str) -> Result<Vec<String>, JqError> {
        let compiled = compile(program).map_err(|problems| JqError::Program(format!("{problems:?}")))?;
        compiled.run(envelope::parse(input.as_bytes()).unwrap()).map(|results| results.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn programs_of_the_manual_run_and_numbers_keep_their_digits() {
        let event = r#"{"data":{"id":9,"total":1500.00,"items":[{"sku":"a","warehouse":"NL"},{"sku":"b","warehouse":"BE"}]}}"#;
        assert_eq!(run(r#"[.data.items[] | select(.warehouse == "NL")] | length > 0"#, event).unwrap(), ["true"]);
        assert_eq!(
            run(r#"{order: .data.id, items: [.data.items[] | select(.warehouse == "NL")]}"#, event).unwrap(),
            [r#"{"order":9,"items":[{"sku":"a","warehouse":"NL"}]}"#]
        );
        assert_eq!(run(".data.items[].sku", event).unwrap(), [r#""a""#, r#""b""#]);
        assert_eq!(run(".data.total", event).unwrap(), ["1500.00"]);
    }

    proptest::proptest! {
        #[test]
        fn every_number_that_is_not_calculated_with_keeps_its_digits(number in crate::route::testing::NUMBER) {
            proptest::prop_assume!(number != "-0");
            let event = format!(r#"{{"data":{{"n":{number},"l":[{number}]}}}}"#);
            let expected = vec![number.clone(), format!("[{number}]"), format!(r#"{{"amount":{number}}}"#), format!("\"{number}\"")];
            proptest::prop_assert_eq!(run("(.data | .n, .l), {amount: .data.n}, (.data.n | tostring)", &event).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_rewritten_means_what_it_meant() {
        let cases = [
            ("2 * 3", "6"),
            ("[1, 2 | . * 2]", "[2,4]"),
            (r#""ab" * 3"#, r#""ababab""#),
            (r#"{"a":{"b":1}} * {"a":{"c":2}}"#, r#"{"a":{"b":1,"c":2}}"#),
            (r#"{"a":2} | .a *= 5"#, r#"{"a":10}"#),
            ("[[1,[2]] | .. | numbers]", "[1,2]"),
            ("[[1,[2]] | .. |= (numbers |= . + 1)]", "[[2,[3]]]"),
            ("[range(0; 10; 3)]", "[0,3,6,9]"),
            ("[range(3; 0; -1)]", "[3,2,1]"),
            ("[range(2)]", "[0,1]"),
            (r#""[1.50]" | fromjson"#, "[1.50]"),
            ("reduce .[] as [$a, $b] (0; . + $a * $b)", "14"),
        ];
        for (program, expected) in cases {
            assert_eq!(run(program, "[[1,2],[3,4]]").map(|r| r.join(" ")).as_deref(), Ok(expected), "{program}");
        }
    }

    #[test]
    fn what_would_never_end_or_fill_memory_at_once_is_stopped() {
        for program in ["def f: f; f", "last(range(1e12))", "[range(1e12)]", "last(repeat(1))", "[limit(1e9; repeat(.))] | length"] {
            assert!(matches!(run(program, "null"), Err(JqError::Steps | JqError::TooMany)), "{program}");
        }
        for program in [r#""x" * 1e12"#, r#".n * "x""#, r#"{"a":"x"} | .a *= 1000000000000"#, r#""[" * 100000 | fromjson"#] {
            assert!(matches!(run(program, r#"{"n":1000000000000}"#), Err(JqError::Program(_))), "{program}");
        }
        assert_eq!(run("range(1001)", "null"), Err(JqError::TooMany));
    }

    #[test]
    fn nothing_of_the_process_can_be_reached() {
        let banned = [
            "halt",
            "halt_error",
            "halt(3)",
            "env",
            "env.PATH",
            "now",
            "localtime",
            "0 | strflocaltime(\"%Z\")",
            "1 | debug",
            "1 | stderr",
            "debug(1)",
        ];
        for program in banned {
            let problems = compile(program).err().unwrap_or_default();
            assert!(problems.iter().any(|p| p.why.contains("is not available in routes")), "{program}: {problems:?}");
        }
        for program in [
            "$ENV.PATH",
            "input",
            "inputs",
            "import \"a\" as a; .",
            "include \"a\"; .",
            "module {}; .",
            "input_filename",
            "get_search_list",
        ] {
            assert!(compile(program).is_err(), "{program}");
        }
    }

    fn told(program: &str) -> String {
        let problems = compile(program).err().unwrap_or_default();
        problems.iter().map(|p| format!("{:?} `{}`: {}", p.within, &program[p.within.clone()], p.why)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn mistakes_are_told_at_their_place() {
        insta::assert_snapshot!(told(".data | slect(.a)"), @"8..13 `slect`: unknown function `slect` with 1 argument");
        let others = ["[.data", ".data | (", ".a | $x", "", "if . then 1", "input", "§"];
        insta::assert_snapshot!(others.map(told).join("\n"), @r"
        6..6 ``: expected closing bracket
        9..9 ``: expected closing parenthesis
        5..7 `$x`: unknown variable `$x`
        0..0 ``: expected term
        11..11 ``: expected else or end
        0..5 `input`: `input` is not available in routes
        0..2 `§`: expected token
        ");
    }

    #[test]
    fn a_program_as_long_as_may_be_does_not_end_the_process() {
        for piece in [
            "-",
            "1,",
            "1|",
            "(",
            "[",
            "if ",
            "try ",
            "def f: ",
            ".a as $a|",
            "1+",
            ". as [",
            "\"\\(",
            "reduce ",
            ".[",
            "not|",
            "label $a|",
            "{a:",
        ] {
            let _ = Program::check(&piece.repeat(PROGRAM_MAX / piece.len()));
            let ended = format!("{}1", piece.repeat((PROGRAM_MAX - 1) / piece.len()));
            let _ = Program::check(&ended);
        }
        let why = |text: &str| Program::check(text).unwrap_err()[0].why.clone();
        assert_eq!(why(&"(".repeat(5_000)), "more than 100 brackets within each other");
        assert_eq!(why(&format!(".{}", " ".repeat(PROGRAM_MAX))), "longer than 8 KiB");
    }
}

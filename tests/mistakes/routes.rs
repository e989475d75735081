//! Mistakes in routes.

use super::Mistake;

/// As [`super::MISTAKES`].
pub const ROUTES: &[Mistake] = &[
    // routes
    Mistake("name: everything", "name: «orders»", "duplicate-name", "give one of them another"),
    Mistake("name: everything", "«nmae»: everything", "unknown-key", "did you mean `name`?"),
    Mistake("name: everything", "name: «all of it»", "wrong-name", "letters, digits"),
    Mistake("from: shop", "from: «shpo»", "unknown-source", "did you mean `shop`?"),
    Mistake("topic: ORDER_*", "topic: ORDER_«[»", "wrong-glob", "`*`"),
    Mistake("data.total: { gt: 1000 }", "«dta.total»: { gt: 1000 }", "unknown-path", "did you mean `data`?"),
    Mistake("data.total: { gt: 1000 }", "«total»: { gt: 1000 }", "unknown-path", "`data.total`"),
    Mistake("{ gt: 1000 }", "{ «gtt»: 1000 }", "unknown-operator", "did you mean `gt`?"),
    Mistake("{ gt: 1000 }", "{ «greater»: 1000 }", "unknown-operator", "write `gt`"),
    Mistake("{ gt: 1000 }", "{ gt: «true» }", "wrong-type", "write a number"),
    Mistake("data.paid: { exists: true }", "data.paid: { exists: «\"yes\"» }", "wrong-type", "write `true` or `false`"),
    Mistake("data.paid: { exists: true }", "data.paid: { type: «text» }", "unknown-word", "expected one of: string"),
    Mistake("regex: \"^A\"", "regex: «\"^A(\"»", "wrong-regex", "`\\(`"),
    Mistake("cidr: 10.0.0.0/8", "cidr: «10.0.0/8»", "wrong-value", "write `10.0.0.0/8`"),
    Mistake("where: '.data.items | length > 0'", "where: '.data.items | length >«»'", "wrong-jq", "write it as in"),
    Mistake("where: '.data.items | length > 0'", "where: '.data.items | «lenght» > 0'", "wrong-jq", "did you mean `length`?"),
    Mistake("where: '.data.items | length > 0'", "where: '«now» > 0'", "wrong-jq", "a route sees nothing but the event"),
    Mistake("where: '.data.items | length > 0'", "where: '«frobnicate_it»'", "wrong-jq", "such as `select`"),
    Mistake("where: '.data.items | length > 0'", "where: «[1]»", "wrong-type", "write a text"),
    Mistake("transform: '{id: .data.id}'", "transform: '{id: .data.id«»'", "wrong-jq", "a bracket"),
    Mistake("  - name: everything\n    to: archive", "  - «name: everything»", "missing-key", "add `to:`"),
    Mistake("to: archive", "to: «archvie»", "unknown-output", "did you mean `archive`?"),
    Mistake("to: archive", "to: «[]»", "wrong-value", "name an output"),
    Mistake("to: archive", "to: [archive, «archive»]", "duplicate-output", "use a second route"),
    Mistake(
        "      - output: chat\n        text: \"Order",
        "      - output: chat\n        «txet»: \"Order",
        "unknown-field",
        "did you mean `text`?",
    ),
    Mistake("{{ data.number|upper }}", "{{ data.number|«uper» }}", "unknown-filter", "did you mean `upper`?"),
    Mistake("{{ data.number|upper }}", "{{ «dta».number|upper }}", "unknown-name", "did you mean `data`?"),
    Mistake("{{ data.number|upper }}", "{{ data.number|upper «}»", "wrong-template", "`{{ data.x }}`"),
    Mistake(
        "{{ data.number|upper }}",
        "{{ data.number|upper }} «${SHOP_SECRET}»",
        "secret-in-template",
        "use it in a setting of the output",
    ),
    Mistake(
        "text: \"Order {{ data.number|upper }}\"",
        "text: «\"${SHOP_SECRET}\"»",
        "secret-in-template",
        "use it in a setting of the output",
    ),
    Mistake("      - output: chat\n", "      - «outptu»: chat\n", "unknown-key", "did you mean `output`?"),
    Mistake("{ gt: 1000 }", "«{ ignore_case: true }»", "wrong-value", "write `{ gt: 1000 }`"),
    Mistake("{ gt: 1000 }", "«[]»", "wrong-value", "write at least one value"),
    Mistake(
        "    filter:\n      data.total: { gt: 1000 }\n      data.code: { regex: \"^A\" }\n      data.address: { cidr: 10.0.0.0/8 }\n      data.paid: { exists: true }\n",
        "    filter: «data.total > 1000»\n",
        "wrong-type",
        "write `data.total: { gt: 1000 }`",
    ),
    Mistake("to: archive", "to: archive\n    «timeout»: 5s", "unknown-key", "belongs under the name of an output"),
    Mistake("to: archive", "to: «7»", "wrong-type", "write `to: NAME`"),
];

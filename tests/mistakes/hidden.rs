//! No report shows a secret that stands in the file as it is, whatever its key is called and wherever the file is wrong (L7).

use crate::shop::Shop;

/// Files in which `hush…` is a secret and something is wrong.
const FILES: &[&str] = &[
    // Under keys that nobody here knows.
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: slack, webhook: \"https://hooks.example/hush-path\" }\n",
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: slack, webhookUrl: https://hooks.example/hush-path }\n",
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: slack, url: \"https://hooks.example/x\", api_url: \"https://hooks.example/hush-path\" }\n",
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: slack, Target: \"https://user:hush-word@hooks.example\" }\n",
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: email, host: mail.example.com, user: shop, pass: hush-word, from: a@b.example, to: [a@b.example] }\n",
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: redis, addr: \"redis://:hush-word@127.0.0.1:6379\", stream: s }\n",
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: http, url: \"https://a.example\", sign: hush-word }\n",
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: http, url: \"https://a.example\", Authorization: Bearer hush-word }\n",
    "routes: [{ name: all, to: o }]\noutputs:\n  o: { type: http, url: \"https://a.example\", timeout: \"Bearer hush-word\" }\n",
    "sources:\n  shop: { verify: github, webhook_secret: hush-word }\n",
    "sources:\n  shop: { verify: github, signing_key: hush-word }\n",
    "sources:\n  shop: { verify: github, SECRET: hush-word }\n",
    "sources:\n  shop: { verify: github, key: hush-word }\n",
    "sources:\n  shop: { verify: \"Bearer hush-word\" }\n",
    "sources:\n  shop: { verify: { hmac: sha256, header: X-Sig, key: hush-word }, secret: \"${SHOP_SECRET}\" }\n",
    // In a second value.
    "sources:\n  shop: { verify: github, secret: \"${SHOP_SECRET}\", secret: hush-word }\n",
    "sources:\n  shop:\n    verify: github\n    secret: \"${SHOP_SECRET}\"\n    secret:\n      - hush-word\n",
    // In a file that is no YAML.
    "sources:\n  shop:\n    verify: github\n    secret: hush: word\n",
    "sources:\n  shop: { verify: github, secret: hush-word\n",
    "sources:\n  shop: { verify: github, secret: 'hush-word' x }\n",
    "sources:\n  shop:\n    verify: github\n    secret: \"hush-word\n",
    "sources:\n  shop:\n    verify: github\n    secret: *hush-word\n",
    "sources:\n  shop:\n    verify: github\n    secret: @hush-word\n",
    "sources:\n  shop:\n    verify: github\n    secret: %hush-word\n",
    "sources:\n  shop:\n    verify: github\n\tsecret: hush-word\n",
    "sources:\n  shop:\n    verify: github\n    secret:hush-word\n",
    "sources:\n  shop:\n    verify: github\n    secret = hush-word\n",
    "sources:\n  shop:\n    verify: github\n    secret: !env hush-word\n",
    "outputs:\n  chat:\n    type: slack\n    url: [https://hooks.example/hush-path\n",
    "outputs:\n  chat:\n    type: slack\n   url: https://hooks.example/hush-path\n",
    "outputs:\n  api: { type: http, url: \"https://a.example\", headers: { X: \"Bearer hush-word\" }\n",
];

#[test]
fn no_report_shows_a_literal_secret() {
    let shop = Shop::open();
    let mut wrong = String::new();
    for file in FILES {
        let output = shop.check(file, &["--json"]);
        let json = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let output = shop.check(file, &[]);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(text.contains("error"), "nothing is wrong with\n{file}{text}");
        if [&json, &text].iter().any(|told| told.contains("hush")) {
            wrong.extend(["\n########\n", file, &text]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

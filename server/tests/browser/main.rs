//! The chat page in a real browser, against a real server with the demo model.
//!
//! These tests need Chromium, so they are ignored unless asked for: a run without one counts them
//! as skipped. `cargo nextest run -p verbatim-server --test browser --run-ignored all` runs them;
//! there a missing Chromium is a failure. `VERBATIM_SCREENSHOTS=DIR` keeps pictures to look at.

mod chromium;
mod page;
mod server;

use page::{DESKTOP, Look, PHONE, Page};
use server::{ENDLESS_SEED, ENDLESS_TEMPERATURE, ENDLESS_TOKENS, Server};

const ANSWER: &str = ".assistant .prose";
const NOTICE: &str = ".notice";
const RETRY: &str = ".notice .primary";

#[test]
#[ignore = "needs Chromium"]
fn the_page_loads_from_its_server_alone() {
    let server = Server::start(&["--model-name", "demo/model"]);
    let mut page = Page::open(&server.url, &DESKTOP);
    assert_eq!(page.text("#model"), "demo/model");
    assert_eq!(page.text("#state"), "Ready");
    assert_eq!(page.count("#examples button"), 4);
    page.picture("empty");
    for address in page.addresses() {
        assert!(address.starts_with(&server.url) || address.starts_with("data:"), "{address}");
    }
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium"]
fn an_answer_streams_in_and_survives_a_reload() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server.url, &DESKTOP);
    watch_growth(&mut page);
    page.say("Hi! Who are you?");
    page.wait_until_idle();
    let answer = page.text(ANSWER);
    assert!(!answer.is_empty());
    assert!(page.pieces_received() >= 3, "it came in {} pieces", page.pieces_received());
    let lengths = page.eval("window.lengths");
    let lengths: Vec<u64> = serde_json::from_value(lengths).expect("lengths");
    assert!(lengths.is_sorted() && lengths.len() >= 3, "the answer did not grow: {lengths:?}");
    let stats = page.text(".stats");
    assert!(stats.contains(" tokens · ") && stats.contains(" tokens/s"), "{stats}");
    page.picture("answer");

    page.reload();
    assert_eq!((page.text(".bubble"), page.text(ANSWER)), ("Hi! Who are you?".to_owned(), answer));
    page.click("#new");
    assert_eq!((page.count(".bubble"), page.count("#empty")), (0, 1));
    page.reload();
    assert_eq!(page.count(".bubble"), 0);
    assert_eq!(page.problems(), Vec::<String>::new());
}

/// Notes each new length of the answer that is shown.
fn watch_growth(page: &mut Page) {
    page.eval(
        "window.lengths = [];
        new MutationObserver(() => {
            const length = document.querySelector('.assistant .prose')?.textContent.length ?? 0;
            if (length && length !== lengths.at(-1)) lengths.push(length);
        }).observe(document.getElementById('log'), { childList: true, subtree: true, characterData: true });",
    );
}

#[test]
#[ignore = "needs Chromium"]
fn stopping_keeps_the_text_and_frees_the_model() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server.url, &DESKTOP);
    page.set("temperature", ENDLESS_TEMPERATURE);
    page.set("seed", ENDLESS_SEED);
    page.set("max_tokens", ENDLESS_TOKENS);
    let stops = [|page: &mut Page| page.click("#send"), |page: &mut Page| page.press("Escape")];
    for (left, stop) in stops.into_iter().enumerate() {
        page.say("Go on");
        page.wait(
            "(document.querySelector('.assistant:last-child')?.innerText.length ?? 0) > 80",
            "some text has come",
        );
        stop(&mut page);
        page.wait_until_idle();
        assert!(page.text(".stats").starts_with("Stopped"), "{}", page.text(".stats"));
        let kept = page.text(".assistant");
        server.wait_for_log("the client left", left + 1);
        assert_eq!(page.text(".assistant"), kept);
    }
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium"]
fn reasoning_folds_away_and_opens_again() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server.url, &DESKTOP);
    page.click("#examples li:nth-child(2) button");
    page.wait_until_idle();
    assert_eq!(page.requests()[0]["chat_template_kwargs"]["enable_thinking"], true);
    assert!(page.text(ANSWER).contains("42"), "{}", page.text(ANSWER));
    assert!(page.text(".think summary").starts_with("Thought for"));
    assert_eq!(page.count(".think > div"), 0);
    page.click(".think summary");
    assert_eq!(page.count(".think > div"), 1);
    assert!(!page.text(".think > div").is_empty());
    page.picture("reasoning");

    page.click("#chip-thinking");
    page.say("What is 17 + 25?");
    page.wait_until_idle();
    assert_eq!(page.requests()[1]["chat_template_kwargs"]["enable_thinking"], false);
    assert_eq!(page.count(".think summary"), 1);
}

#[test]
#[ignore = "needs Chromium"]
fn a_tool_runs_in_the_page_and_its_result_is_told() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server.url, &DESKTOP);
    page.click("#examples li:nth-child(4) button");
    page.wait_until_idle();
    assert_eq!(page.text(".tool header b"), "get_weather");
    assert_eq!(page.text(".tool dl:not(.out) dd"), "Paris");
    let result: serde_json::Value =
        serde_json::from_str(&page.text(".tool .out dd")).expect("the result is JSON");
    let answer = page.text(ANSWER);
    assert!(answer.contains(&result["temperature"].to_string()), "{answer}");
    page.picture("tool");

    let requests = page.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0]["tools"].as_array().map(Vec::len), Some(2));
    let messages = requests[1]["messages"].as_array().expect("messages");
    let roles: Vec<&str> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    assert_eq!(messages[1]["tool_calls"][0]["id"], messages[2]["tool_call_id"]);
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium"]
fn a_refused_setting_is_explained() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server.url, &DESKTOP);
    page.set("top_p", "3");
    page.say("Hi!");
    page.wait_until_idle();
    let notice = page.text(NOTICE);
    assert!(notice.contains("did not accept") && notice.contains("top_p"), "{notice}");
    page.picture("refused");
    page.click(".notice .button:not(.primary)");
    assert_eq!(page.count("#settings"), 1);
    page.press("Escape");
    page.set("top_p", "1");
    page.click(RETRY);
    page.wait_until_idle();
    assert_eq!(page.count(NOTICE), 0);
    assert!(!page.text(ANSWER).is_empty());
}

#[test]
#[ignore = "needs Chromium"]
fn a_full_queue_asks_for_patience() {
    let server = Server::start(&["--max-active", "1", "--queue-limit", "1"]);
    let mut page = Page::open(&server.url, &DESKTOP);
    let others = [server.keep_busy(), server.wait_in_line()];
    page.eval(&format!(
        "new MutationObserver(() => {{
            const button = document.querySelector({RETRY:?});
            if (button?.disabled) window.asked = button.textContent;
        }}).observe(document.getElementById('log'), {{ childList: true, subtree: true }})"
    ));
    page.say("Hi!");
    page.wait_until_idle();
    assert!(page.text(NOTICE).contains("The server is busy"), "{}", page.text(NOTICE));
    assert_eq!(page.eval("window.asked.startsWith('Try again in ')"), true);
    page.picture("busy");
    drop(others);
    server.wait_for_log("the client left", 2);
    page.wait(&format!("!document.querySelector({RETRY:?}).disabled"), "it may be tried again");
    page.click(RETRY);
    page.wait_until_idle();
    assert!(!page.text(ANSWER).is_empty());
}

#[test]
#[ignore = "needs Chromium"]
fn a_server_that_has_gone_is_noticed() {
    let mut server = Server::start(&[]);
    let mut page = Page::open(&server.url, &DESKTOP);
    server.kill();
    page.say("Hi!");
    page.wait_until_idle();
    assert!(page.text(NOTICE).contains("can’t be reached"), "{}", page.text(NOTICE));
    page.wait("document.body.dataset.health === 'offline'", "the page says it is offline");
    assert_eq!(page.text("#state"), "Offline");
}

#[test]
#[ignore = "needs Chromium"]
fn the_last_message_can_be_edited_and_tried_again() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server.url, &DESKTOP);
    page.click("#input");
    page.type_text("first line");
    page.press_with_shift("Enter");
    page.type_text("second line");
    page.press("Enter");
    page.wait_until_idle();
    assert_eq!(page.text(".bubble"), "first line\nsecond line");
    let before = page.requests();
    page.click(".meta [aria-label='Try again']");
    page.wait_until_idle();
    assert_eq!(page.requests()[1], before[0]);

    page.click("[aria-label='Edit message']");
    page.eval("document.activeElement.select()");
    page.type_text("What is the capital of Japan?");
    page.press("Enter");
    page.wait_until_idle();
    assert_eq!(page.count(".bubble"), 1);
    assert_eq!(page.requests()[2]["messages"][0]["content"], "What is the capital of Japan?");
    assert!(page.text(ANSWER).contains("Tokyo"), "{}", page.text(ANSWER));
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium"]
fn dark_follows_the_system_until_it_is_chosen() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server.url, &Look { dark: true, ..DESKTOP });
    let dark = brightness(&mut page);
    page.click("#examples li:nth-child(4) button");
    page.wait_until_idle();
    page.picture("dark");
    page.click("#theme");
    let light = brightness(&mut page);
    assert!(dark < 60 && light > 200, "dark is {dark}, light is {light}");
    page.reload();
    assert_eq!(brightness(&mut page), light);
}

/// The background's red, from 0 to 255.
fn brightness(page: &mut Page) -> u64 {
    let red = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])";
    page.eval(red).as_u64().expect("a colour")
}

#[test]
#[ignore = "needs Chromium"]
fn a_phone_shows_everything_without_scrolling_sideways() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server.url, &PHONE);
    assert_fits(&mut page);
    page.picture("phone-empty");
    page.click("#examples li:nth-child(4) button");
    page.wait_until_idle();
    page.picture("phone");
    page.set("max_tokens", "48");
    page.say(&"a-very-long-word".repeat(30));
    page.wait_until_idle();
    assert_fits(&mut page);
    page.click("#open-settings");
    assert_eq!(page.count("#settings"), 1);
    assert_fits(&mut page);
    page.picture("phone-settings");
}

fn assert_fits(page: &mut Page) {
    let wide = "[document.documentElement, document.getElementById('scroll'), document.getElementById('settings')]
        .map((e) => e.scrollWidth - e.clientWidth)";
    assert_eq!(page.eval(wide), serde_json::json!([0, 0, 0]));
}

/// What a hostile model might write, and what must come of it.
const HOSTILE: &str = r#"<img src=x onerror=alert(1)><script>alert(2)</script>

[click](javascript:alert(3)) [**fine**](https://example.org/a_(b)) <a href="x">no</a>

```html
<svg onload=alert(4)>
```

| <b>head</b> | `code` |
| --- | --- |
| 2*3*4 | **bold** |"#;

#[test]
#[ignore = "needs Chromium"]
fn text_never_becomes_markup() {
    let server = Server::start(&[]);
    let stored = serde_json::json!([
        {"role": "user", "content": HOSTILE},
        {"role": "assistant", "content": HOSTILE, "reasoning": HOSTILE, "calls": [
            {"id": "1", "name": "<b>tool</b>", "arguments": "{\"<i>\": \"<u>x</u>\"}", "result": HOSTILE},
        ]},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "error": {"title": "<b>title</b>", "detail": HOSTILE}},
    ]);
    let stored = serde_json::to_string(&stored.to_string()).expect("a string literal");
    let script = format!("localStorage.setItem('verbatim.chat', {stored})");
    let mut page = Page::open_with(&server.url, &DESKTOP, &script);
    assert_eq!(page.text(".bubble"), "x");
    assert_eq!(page.eval("document.querySelector('.bubble').textContent"), HOSTILE);
    let made = "#log :is(img, script, svg[onload], b b, i:not(.pulse), u, .prose b, [onerror])";
    assert_eq!(page.eval(&format!("document.querySelectorAll({made:?}).length")), 0);
    assert_eq!(
        page.eval(
            "[...document.querySelectorAll('#log a')].map((a) => [a.href, a.rel, a.textContent])"
        ),
        serde_json::json!([["https://example.org/a_(b)", "noopener noreferrer", "fine"]])
    );
    assert_eq!(page.text(".code code"), "<svg onload=alert(4)>");
    assert_eq!(page.text(".table td"), "bold");
    assert_eq!(page.eval("document.querySelector('.table td').textContent"), "2*3*4");
    assert_eq!(page.text(".tool header b"), "<b>tool</b>");
    assert_eq!(page.problems(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium"]
fn a_key_is_asked_for_and_kept_in_the_tab() {
    let server = Server::start(&["--api-key", "sk-right-key"]);
    let mut page = Page::open(&server.url, &DESKTOP);
    assert_eq!(page.text("#state"), "Locked");
    page.wait("document.activeElement.name === 'key'", "the field has the focus");
    page.picture("key");
    page.type_text("sk-wrong-key");
    page.press("Enter");
    page.wait("!document.getElementById('key-wrong').hidden", "a wrong key is told");
    page.picture("key-wrong");
    page.click("#key-later");

    // Who goes on without a key is told where to enter it, and the message is not lost.
    page.say("Hi!");
    page.wait_until_idle();
    assert!(page.text(NOTICE).contains("asks for a key"), "{}", page.text(NOTICE));
    page.eval("document.querySelector('#key-form [name=key]').select()");
    page.type_text("sk-right-key");
    page.press("Enter");
    page.wait("!document.getElementById('key').open", "the right key opens the server");
    page.wait_until_idle();
    assert!(!page.text(ANSWER).is_empty());
    assert_eq!((page.count(NOTICE), page.count(".bubble")), (0, 1));

    page.reload();
    assert_eq!(page.text("#state"), "Ready");
    assert_eq!(page.count("#key"), 0);
    assert_eq!(page.eval("JSON.stringify({ ...localStorage }).includes('sk-right')"), false);
}

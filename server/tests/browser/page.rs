//! The chat page as a person uses it: clicks, keys, and what can be seen.

use std::{
    env, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::chromium::Chromium;

/// How long the page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

/// How the page is looked at.
pub struct Look {
    /// Width of the window in CSS pixels.
    pub width: u32,
    /// Height of the window in CSS pixels.
    pub height: u32,
    /// The system prefers dark.
    pub dark: bool,
    /// A touch screen.
    pub phone: bool,
}

/// A laptop's window.
pub const DESKTOP: Look = Look { width: 1200, height: 800, dark: false, phone: false };
/// A narrow phone.
pub const PHONE: Look = Look { width: 360, height: 740, dark: false, phone: true };

/// The page in its browser.
pub struct Page {
    browser: Chromium,
}

impl Page {
    /// Opens the page and waits until it has reached the server.
    pub fn open(url: &str, look: &Look) -> Self {
        Self::open_with(url, look, "")
    }

    /// Like [`Self::open`], after running `script` where the page is about to load.
    pub fn open_with(url: &str, look: &Look, script: &str) -> Self {
        let mut browser = Chromium::launch();
        let scheme = if look.dark { "dark" } else { "light" };
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1.5, "mobile": look.phone}),
        );
        browser.call("Emulation.setTouchEmulationEnabled", &json!({"enabled": look.phone}));
        browser.call(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
        browser.call("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script}));
        browser.call("Page.navigate", &json!({"url": url}));
        let mut page = Self { browser };
        page.wait_for_server();
        page
    }

    fn wait_for_server(&mut self) {
        self.wait(
            "['ready', 'trouble'].includes(document.body?.dataset.health)",
            "the page has reached the server",
        );
    }

    /// Loads the page again.
    pub fn reload(&mut self) {
        self.eval("document.body.dataset.health = 'old'");
        self.browser.call("Page.reload", &json!({}));
        self.wait_for_server();
    }

    /// The value of a JavaScript expression.
    pub fn eval(&mut self, expression: &str) -> Value {
        self.browser.eval(expression)
    }

    /// Waits until a JavaScript expression is true.
    pub fn wait(&mut self, condition: &str, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.eval(&format!("Boolean({condition})")) != true {
            if Instant::now() > deadline {
                let seen = self.text("body");
                panic!("not so: {what}\non the page: {seen}\nproblems: {:?}", self.problems());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until no answer is being written.
    pub fn wait_until_idle(&mut self) {
        self.wait("!document.body.classList.contains('running')", "the answer is complete");
    }

    /// The visible text of the last element that matches.
    pub fn text(&mut self, selector: &str) -> String {
        let last = format!("[...document.querySelectorAll({selector:?})].at(-1)?.innerText");
        self.eval(&last).as_str().unwrap_or_default().to_owned()
    }

    /// How many elements match and can be seen.
    pub fn count(&mut self, selector: &str) -> u64 {
        let visible = format!(
            "[...document.querySelectorAll({selector:?})].filter((e) => e.checkVisibility()).length"
        );
        self.eval(&visible).as_u64().expect("a count")
    }

    /// Clicks the last element that matches, where a person would.
    pub fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{
                const target = [...document.querySelectorAll({selector:?})].at(-1);
                target.scrollIntoView({{ block: 'nearest', behavior: 'instant' }});
                const box = target.getBoundingClientRect();
                const at = [box.x + box.width / 2, box.y + box.height / 2];
                return target.contains(document.elementFromPoint(...at)) ? at : null;
            }})()"
        );
        let at = self.eval(&place);
        assert!(at.is_array(), "{selector} is covered or outside the window");
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let click =
                json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
            self.browser.call("Input.dispatchMouseEvent", &click);
        }
    }

    /// Types text where the focus is.
    pub fn type_text(&mut self, text: &str) {
        self.browser.call("Input.insertText", &json!({"text": text}));
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        self.press_with(key, 0);
    }

    /// Presses a key together with Shift.
    pub fn press_with_shift(&mut self, key: &str) {
        self.press_with(key, 8);
    }

    fn press_with(&mut self, key: &str, modifiers: u8) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("{other} has no key code here"),
        };
        let mut event = json!({
            "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code,
            "text": text, "modifiers": modifiers,
        });
        self.browser.call("Input.dispatchKeyEvent", &event);
        event["type"] = "keyUp".into();
        self.browser.call("Input.dispatchKeyEvent", &event);
    }

    /// Writes a message and sends it.
    pub fn say(&mut self, text: &str) {
        self.click("#input");
        self.type_text(text);
        self.press("Enter");
    }

    /// Fills in a field of the settings.
    pub fn set(&mut self, name: &str, value: &str) {
        self.click("#open-settings");
        self.wait("document.getElementById('settings').open", "the settings are open");
        self.eval("Promise.allSettled(document.getElementById('settings').getAnimations().map((a) => a.finished))");
        self.click(&format!("#settings [name={name}]"));
        self.eval("document.activeElement.select()");
        self.type_text(value);
        self.press("Escape");
        self.wait("!document.getElementById('settings').open", "the settings are closed");
    }

    /// The bodies of the chat requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.browser
            .events("Network.requestWillBeSent")
            .map(|event| &event["request"])
            .filter(|request| is_chat(request))
            .map(|request| serde_json::from_str(request["postData"].as_str().unwrap_or_default()))
            .collect::<Result<_, _>>()
            .expect("requests are JSON")
    }

    /// How many pieces the answers have come in.
    pub fn pieces_received(&self) -> usize {
        let chats: Vec<&Value> = self
            .browser
            .events("Network.requestWillBeSent")
            .filter(|event| is_chat(&event["request"]))
            .map(|event| &event["requestId"])
            .collect();
        self.browser
            .events("Network.dataReceived")
            .filter(|event| chats.contains(&&event["requestId"]))
            .count()
    }

    /// Every address that was asked for something.
    pub fn addresses(&self) -> Vec<String> {
        self.browser
            .events("Network.requestWillBeSent")
            .filter_map(|event| event["request"]["url"].as_str())
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Exceptions, console errors (refusals of the content security policy among them) and dialogs.
    pub fn problems(&self) -> Vec<String> {
        let of = |method| self.browser.events(method);
        let errors = of("Log.entryAdded").filter(|e| e["entry"]["level"] == "error");
        let printed = of("Runtime.consoleAPICalled").filter(|e| e["type"] == "error");
        errors
            .chain(printed)
            .chain(of("Runtime.exceptionThrown"))
            .chain(of("Page.javascriptDialogOpening"))
            .map(ToString::to_string)
            .collect()
    }

    /// Keeps a picture in the folder that `VERBATIM_SCREENSHOTS` names, if it does.
    pub fn picture(&mut self, name: &str) {
        let Some(folder) = env::var_os("VERBATIM_SCREENSHOTS") else {
            return;
        };
        self.eval("Promise.allSettled(document.getAnimations().filter((a) => a.effect.getTiming().iterations === 1).map((a) => a.finished))");
        let shot = self.browser.call("Page.captureScreenshot", &json!({"format": "png"}));
        let bytes = from_base64(shot["data"].as_str().expect("a picture"));
        fs::create_dir_all(&folder).expect("the folder for pictures");
        fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).expect("a picture");
    }
}

fn is_chat(request: &Value) -> bool {
    request["url"].as_str().is_some_and(|url| url.ends_with("/v1/chat/completions"))
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        held = (held << 6 | u32::from(value)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}

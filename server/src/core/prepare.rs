//! From a request to what the engine takes: rendered, tokenized
//! (`mlx_lm/server.py`, `ResponseGenerator._tokenize` and `convert_chat`).

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};
use verbatim_engine::{
    Engine, Error, GenerateRequest, Result, Routing,
    text::{Channel, ChatInput},
};

use super::{Chat, Prompt, Request, ToolChoice, Translator, grammar, later_system, marks::marks};
use crate::limits;

/// What families' templates call the switch for thinking.
const THINKING_SWITCHES: [&str; 2] = ["enable_thinking", "thinking"];

/// How conversations are rendered, as the operator wants it.
#[derive(Debug, Clone, Default)]
pub struct Rendering {
    /// Variables for the template; those of a request win.
    pub args: Map<String, Value>,
}

/// A request that is ready to submit.
#[derive(Debug)]
pub struct Prepared {
    /// What the engine takes and who reads its events, choice by choice.
    pub generations: Vec<(GenerateRequest, Translator)>,
}

impl Prepared {
    /// Renders and tokenizes. This can take long: keep it off async threads.
    pub fn new(engine: &Engine, rendering: &Rendering, request: Request) -> Result<Self> {
        let tokenizer = engine.tokenizer();
        let format = &request.format;
        let plain = |ids| ChatPrompt { ids, marks: Vec::new(), start: Channel::Content };
        let is_chat = matches!(request.prompt, Prompt::Chat(_));
        let continues = matches!(&request.prompt, Prompt::Chat(chat) if !chat.prefill.is_empty());
        let (prompt, grammar, tools) = match request.prompt {
            Prompt::Text(text) => {
                (plain(encode(engine, &text, true)?), grammar::of_text(format), Vec::new())
            }
            Prompt::Tokens(ids) => (plain(ids), grammar::of_text(format), Vec::new()),
            Prompt::Chat(mut chat) => {
                if chat.tool_choice == ToolChoice::None {
                    chat.tools.clear();
                }
                let prompt = chat_prompt(engine, rendering, &chat)?;
                let grammar = grammar::of_chat(&chat, format, tokenizer.tool_format());
                (prompt, grammar, chat.tools)
            }
        };
        let routing = Routing {
            markers: is_chat,
            start: prompt.start,
            exclusive: grammar.as_ref().is_some_and(grammar::is_exclusive),
            continues,
        };
        let mut generate = GenerateRequest::new(prompt.ids, request.max_tokens);
        generate.use_cache = true;
        generate.cache_marks = prompt.marks;
        generate.may_shorten = request.may_shorten;
        generate.sampling = request.sampling;
        generate.stop = request.stop;
        generate.top_logprobs = request.top_logprobs;
        generate.grammar =
            grammar.map(|grammar| engine.constrain(&grammar, routing.start)).transpose()?;
        generate.routing = routing;
        generate.adapters = request.adapters;
        if generate.sampling.xtc_probability > 0.0 {
            let mut special = tokenizer.encode("\n", true)?;
            special.extend(tokenizer.eos_token_ids());
            generate.sampling.xtc_special_tokens = special;
        }
        let translator = Translator::new(tokenizer.tool_format(), tools);
        let generations = (0..request.choices as u64)
            .map(|choice| {
                let mut generate = generate.clone();
                // Each choice is what a request with a seed of its own would get.
                generate.sampling.seed =
                    generate.sampling.seed.map(|seed| seed.wrapping_add(choice));
                (generate, translator.clone())
            })
            .collect();
        Ok(Self { generations })
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.generations.first().map_or(0, |(request, _)| request.prompt.len())
    }
}

/// A conversation as the engine takes it.
struct ChatPrompt {
    ids: Vec<u32>,
    /// Where other prompts part from it.
    marks: Vec<usize>,
    /// The channel that it ends in.
    start: Channel,
}

fn chat_prompt(engine: &Engine, rendering: &Rendering, chat: &Chat) -> Result<ChatPrompt> {
    let tokenizer = engine.tokenizer();
    let Some(template) = engine.template() else {
        let mut text = plain_chat(&chat.messages, chat.role_mapping.as_ref());
        text.push_str(&chat.prefill);
        let ids = encode(engine, &text, true)?;
        return Ok(ChatPrompt { ids, marks: Vec::new(), start: Channel::Content });
    };
    let kwargs = template_kwargs(&rendering.args, chat);
    let render = |messages: &[Value], add_generation_prompt| {
        template.render(&ChatInput {
            messages,
            tools: (!chat.tools.is_empty()).then_some(chat.tools.as_slice()),
            add_generation_prompt,
            kwargs: kwargs.clone(),
        })
    };
    let (messages, mut text) = render_or_rephrase(&chat.messages, |m| render(m, true))?;
    text.push_str(&chat.prefill);
    let ids = encode(engine, &text, false)?;
    let start = tokenizer.start_channel(&ids);
    if start == Channel::Reasoning && !chat.prefill.is_empty() {
        return Err(Error::Request(
            "the model's template begins each answer with thinking, so a begun answer cannot be \
             gone on from"
                .to_owned(),
        ));
    }
    let other = |messages: &[Value]| render(messages, false).ok();
    let marks = marks(tokenizer, &messages, (&text, &ids), other);
    Ok(ChatPrompt { ids, marks, start })
}

/// The text of a conversation, and its messages as the template took them: one that refuses system
/// messages behind the beginning gets them from the user.
fn render_or_rephrase(
    messages: &[Value],
    render: impl Fn(&[Value]) -> Result<String>,
) -> Result<(Cow<'_, [Value]>, String)> {
    let refusal = match render(messages) {
        Ok(text) => return Ok((messages.into(), text)),
        Err(e) => e,
    };
    let told = match &refusal {
        Error::Template(_) => later_system::told_by_user(messages),
        _ => None,
    };
    let Some(told) = told else { return Err(refusal) };
    match render(&told) {
        Ok(text) => Ok((told.into(), text)),
        Err(_) => Err(refusal),
    }
}

/// Variables of the template: the operator's, then those of the request, of which what it names
/// itself wins over what [`Chat::thinking`] stands for.
fn template_kwargs(args: &Map<String, Value>, chat: &Chat) -> Map<String, Value> {
    let mut kwargs = args.clone();
    let named = THINKING_SWITCHES.iter().any(|key| chat.template_kwargs.contains_key(*key));
    if let Some(thinking) = chat.thinking.filter(|_| !named) {
        kwargs.extend(THINKING_SWITCHES.map(|key| (key.to_owned(), thinking.into())));
    }
    kwargs.extend(chat.template_kwargs.clone());
    kwargs
}

/// Token ids of a prompt, unless the text is so long that the prompt could not be served anyway.
fn encode(engine: &Engine, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
    let (bytes, most) = (text.len(), limits::MAX_PROMPT_BYTES);
    if bytes > most {
        return Err(Error::Request(format!("the prompt has {bytes} bytes, the limit is {most}")));
    }
    engine.tokenizer().encode(text, add_special_tokens)
}

/// A conversation as text, for models without a template: a prefix per role and a stop after each
/// message.
fn plain_chat(messages: &[Value], mapping: Option<&BTreeMap<String, String>>) -> String {
    let prefix = |role: &str| match mapping {
        Some(mapping) => mapping.get(role).map_or("", String::as_str),
        None => match role {
            "system" => "ASSISTANT's RULE: ",
            "user" => "USER: ",
            "assistant" => "ASSISTANT: ",
            "stop" => "\n",
            _ => "",
        },
    };
    let mut text = String::new();
    for message in messages {
        let field = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        text.push_str(prefix(field("role")));
        text.push_str(field("content"));
        text.push_str(prefix("stop"));
    }
    text.push_str(prefix("assistant"));
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thinking_is_what_templates_call_it() {
        let args = json!({"enable_thinking": false, "style": "x"});
        let args = args.as_object().unwrap();
        let kwargs = |thinking, own: Value| {
            let template_kwargs = own.as_object().unwrap().clone();
            let chat = Chat { thinking, template_kwargs, ..Chat::default() };
            Value::from(super::template_kwargs(args, &chat))
        };
        assert_eq!(kwargs(None, json!({})), json!({"enable_thinking": false, "style": "x"}));
        assert_eq!(
            kwargs(Some(true), json!({"budget": 1})),
            json!({"enable_thinking": true, "style": "x", "thinking": true, "budget": 1})
        );
        assert_eq!(
            kwargs(Some(true), json!({"enable_thinking": false})),
            json!({"enable_thinking": false, "style": "x"})
        );
    }

    #[test]
    fn a_chat_without_a_template() {
        let messages = [
            json!({"role": "system", "content": "Be short."}),
            json!({"role": "user", "content": "Hi"}),
        ];
        assert_eq!(
            plain_chat(&messages, None),
            "ASSISTANT's RULE: Be short.\nUSER: Hi\nASSISTANT:"
        );
        let mapping = BTreeMap::from([
            ("user".to_owned(), "Q ".to_owned()),
            ("assistant".to_owned(), "A".to_owned()),
        ]);
        assert_eq!(plain_chat(&messages, Some(&mapping)), "Be short.Q HiA");
    }
}

//! From a request to what the engine takes: rendered, tokenized
//! (`mlx_lm/server.py`, `ResponseGenerator._tokenize` and `convert_chat`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use verbatim_engine::{
    Engine, Error, GenerateRequest, Result, Routing,
    text::{Channel, ChatInput, ChatTemplate},
};

use super::{Chat, Prompt, Request, Translator};
use crate::limits;

/// How conversations are rendered, as the operator wants it.
#[derive(Debug, Clone, Default)]
pub struct Rendering {
    /// A template to use in place of the model's.
    pub template: Option<ChatTemplate>,
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
        let (prompt, routing, tools) = match request.prompt {
            Prompt::Text(text) => (encode(engine, &text, true)?, Routing::default(), None),
            Prompt::Tokens(ids) => (ids, Routing::default(), None),
            Prompt::Chat(chat) => {
                let (prompt, start) = chat_prompt(engine, rendering, &chat)?;
                (prompt, Routing { markers: true, start }, Some(chat.tools))
            }
        };
        let mut generate = GenerateRequest::new(prompt, request.max_tokens);
        generate.may_shorten = request.may_shorten;
        generate.sampling = request.sampling;
        generate.stop = request.stop;
        generate.top_logprobs = request.top_logprobs;
        generate.routing = routing;
        if generate.sampling.xtc_probability > 0.0 {
            let mut special = tokenizer.encode("\n", true)?;
            special.extend(tokenizer.eos_token_ids());
            generate.sampling.xtc_special_tokens = special;
        }
        let translator = Translator::new(tokenizer.tool_format(), tools.unwrap_or_default());
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

fn chat_prompt(engine: &Engine, rendering: &Rendering, chat: &Chat) -> Result<(Vec<u32>, Channel)> {
    let tokenizer = engine.tokenizer();
    let Some(template) = rendering.template.as_ref().or(engine.template()) else {
        let text = plain_chat(&chat.messages, chat.role_mapping.as_ref());
        return Ok((encode(engine, &text, true)?, Channel::Content));
    };
    let mut kwargs = rendering.args.clone();
    kwargs.extend(chat.template_kwargs.clone());
    let text = template.render(&ChatInput {
        messages: &chat.messages,
        tools: (!chat.tools.is_empty()).then_some(chat.tools.as_slice()),
        add_generation_prompt: true,
        kwargs,
    })?;
    let prompt = encode(engine, &text, false)?;
    let start = tokenizer.start_channel(&prompt);
    Ok((prompt, start))
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

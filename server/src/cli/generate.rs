//! `verbatim generate`: one prompt, streamed to standard output.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use verbatim_engine::{Engine, EngineOptions, Stats};

use super::{
    args::GenerateArgs,
    output::{note, print, text_or_stdin},
};
use crate::core::{Chat, Delta, Event, Outcome, Prepared, Prompt, Rendering, Request, Running};

pub(super) fn run(args: &GenerateArgs) -> Result<()> {
    let text = text_or_stdin(&args.prompt)?;
    let mut options = EngineOptions::new(&args.model);
    options.set_adapter(args.adapter.as_ref());
    options.prefill_step_size = args.prefill_step_size;
    let kv = args.kv.setting(&args.model)?;
    let engine = kv.load(options)?;
    if let Some(line) = kv.line().filter(|_| !args.quiet) {
        note(&line);
    }
    let rendering = Rendering { args: args.chat_template_args.clone() };
    let prepared = Prepared::new(&engine, &rendering, request(args, &engine, &text)?)?;
    let mut running = Running::start(&engine, prepared)?;
    let mut written = Written::default();
    let outcome = loop {
        match running.next_blocking() {
            Some(Event::Started(_) | Event::Prefill { .. }) => {}
            Some(Event::Step(step)) => written.add(args, step.deltas)?,
            Some(Event::Failed(e)) => return Err(e.into()),
            Some(Event::Finished(outcome)) => break outcome,
            None => bail!("the generation ended without a last word"),
        }
    };
    written.add(args, outcome.deltas.clone())?;
    if args.json {
        print(&format!("{}\n", written.json(&outcome)))?;
    } else {
        if !written.content.ends_with('\n') {
            print("\n")?;
        }
        if !args.quiet && !written.reasoning.is_empty() && !written.reasoning.ends_with('\n') {
            note("\n");
        }
        if !args.quiet {
            note(&summary(&outcome.stats));
        }
    }
    Ok(())
}

fn request(args: &GenerateArgs, engine: &Engine, text: &str) -> Result<Request> {
    let prompt = if args.raw {
        Prompt::Tokens(engine.tokenizer().encode_prompt(text)?)
    } else {
        let mut messages = Vec::new();
        if let Some(system) = &args.system {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": text}));
        let mut template_kwargs = Map::new();
        if args.no_thinking {
            template_kwargs.insert("enable_thinking".to_owned(), Value::Bool(false));
        }
        Prompt::Chat(Chat { messages, template_kwargs, ..Chat::default() })
    };
    Ok(Request {
        sampling: args.sampling(),
        stop: args.stop.clone(),
        ..Request::new(prompt, args.max_tokens)
    })
}

#[derive(Debug, Default)]
struct Written {
    content: String,
    reasoning: String,
}

impl Written {
    fn add(&mut self, args: &GenerateArgs, deltas: Vec<Delta>) -> Result<()> {
        for delta in deltas {
            match delta {
                Delta::Content(text) => {
                    if !args.json {
                        print(&text)?;
                    }
                    self.content.push_str(&text);
                }
                Delta::Reasoning(text) => {
                    if !args.json && !args.quiet {
                        note(&text);
                    }
                    self.reasoning.push_str(&text);
                }
                // No tools are offered here, so a call is content.
                Delta::CallStart { .. } | Delta::CallArguments(_) | Delta::CallEnd { .. } => {}
            }
        }
        Ok(())
    }

    fn json(&self, outcome: &Outcome) -> Value {
        let stats = &outcome.stats;
        let reason = outcome.reason.word();
        json!({
            "text": self.content,
            "reasoning": self.reasoning,
            "finish_reason": reason,
            "prompt_tokens": stats.prompt_tokens,
            "generated_tokens": stats.generated_tokens,
            "prefill_seconds": stats.prefill_seconds,
            "decode_seconds": stats.decode_seconds,
            "prefill_tokens_per_second": rate(stats.prompt_tokens, stats.prefill_seconds),
            "decode_tokens_per_second":
                rate(stats.generated_tokens.saturating_sub(1), stats.decode_seconds),
            "kv_bytes": stats.kv.map(|kv| kv.bytes),
        })
    }
}

fn rate(tokens: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 }
}

fn summary(stats: &Stats) -> String {
    format!(
        "prompt: {} tokens, {:.1} tokens/s; generation: {} tokens, {:.1} tokens/s\n",
        stats.prompt_tokens,
        rate(stats.prompt_tokens, stats.prefill_seconds),
        stats.generated_tokens,
        rate(stats.generated_tokens.saturating_sub(1), stats.decode_seconds),
    )
}

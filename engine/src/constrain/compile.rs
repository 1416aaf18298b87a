//! Compiles grammars, within limits.

use std::thread;

use llguidance::{
    ParserFactory,
    api::{ParserLimits, TopLevelGrammar},
};

use super::{Constraint, Grammar, blame, matcher::plain_reason, outline, vocabulary};
use crate::{
    Error, Result, limits,
    text::{Channel, Tokenizer},
};

/// Compiles grammars for one tokenizer. Made once and shared.
pub(crate) struct Compiler {
    factory: ParserFactory,
    tokenizer: Tokenizer,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    /// Reads the vocabulary, which takes a moment.
    ///
    /// # Errors
    /// [`Error::Request`] for tokenizers that grammars cannot be used with.
    pub fn new(tokenizer: &Tokenizer, vocab_size: usize) -> Result<Self> {
        let environment = vocabulary::environment(tokenizer, vocab_size)?;
        let mut factory = ParserFactory::new_simple(&environment)
            .map_err(|e| Error::Tokenizer(format!("no grammars for this vocabulary: {e}")))?;
        factory.quiet();
        *factory.limits_mut() = parser_limits();
        Ok(Self { factory, tokenizer: tokenizer.clone() })
    }

    /// Compiles `grammar` for a generation that starts in the channel `start`.
    ///
    /// # Errors
    /// [`Error::Grammar`] with the part that is at fault and llguidance's reason.
    pub fn compile(&self, grammar: &Grammar, start: Channel) -> Result<Constraint> {
        self.compile_whole(grammar, start).map_err(|error| match error {
            Error::Request(reason) => {
                blame::error(grammar, reason, |part| match self.compile_whole(part, start) {
                    Err(Error::Request(reason)) => Some(reason),
                    _ => None,
                })
            }
            error => error,
        })
    }

    fn compile_whole(&self, grammar: &Grammar, start: Channel) -> Result<Constraint> {
        let lark = outline::lark(grammar, &self.tokenizer, start)?;
        self.compile_lark(lark)
    }

    /// Compiles on a thread with room for schemas whose references are followed far.
    pub(super) fn compile_lark(&self, lark: String) -> Result<Constraint> {
        let failed = |reason: &str| {
            Error::Request(format!("the answer's grammar cannot be enforced: {reason}"))
        };
        let work = || {
            let grammar = TopLevelGrammar::from_lark(lark);
            let parser = self.factory.create_parser(grammar);
            let parser = parser.map_err(|e| failed(&plain_reason(&format!("{e:#}"))))?;
            let constraint = Constraint::new(parser)?;
            // A grammar without any text is found here.
            constraint.matcher().mask()?;
            Ok(constraint)
        };
        thread::scope(|scope| {
            let builder = thread::Builder::new().name("grammar".into());
            let thread = builder.stack_size(limits::GRAMMAR_STACK_BYTES).spawn_scoped(scope, work);
            let thread = thread.map_err(|e| failed(&e.to_string()))?;
            thread.join().unwrap_or_else(|_| Err(failed("internal error")))
        })
    }
}

fn parser_limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: limits::GRAMMAR_ROW_ITEMS,
        initial_lexer_fuel: limits::GRAMMAR_LEXER_FUEL,
        step_lexer_fuel: limits::GRAMMAR_STEP_FUEL,
        step_max_items: limits::GRAMMAR_STEP_ITEMS,
        max_lexer_states: limits::MAX_GRAMMAR_LEXER_STATES,
        max_grammar_size: limits::MAX_GRAMMAR_SYMBOLS,
        precompute_large_lexemes: true,
        // Errors go to clients and logs, which text of prompts and answers must not.
        verbose_errors: false,
    }
}

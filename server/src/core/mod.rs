//! The one request and event type that every protocol translates to and from.

mod event;
mod prepare;
mod request;
mod run;
mod translate;

pub use event::{Delta, Event, Outcome, Step, StopReason, ToolCall};
pub use prepare::{Prepared, Rendering};
pub use request::{Chat, Prompt, Request};
pub use run::Running;
pub use translate::Translator;

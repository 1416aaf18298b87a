//! The one request and event type that every protocol translates to and from.

mod answer;
mod event;
mod grammar;
mod later_system;
mod marks;
mod prepare;
mod reasoning;
mod request;
mod run;
mod translate;

pub use answer::{Answer, Part, ToolCall};
pub use event::{Delta, Event, Outcome, Start, Step, StopReason};
pub use prepare::{Prepared, Rendering};
pub use reasoning::ReasoningTokens;
pub use request::{Chat, Format, Prompt, Request, ToolChoice};
pub use run::Running;
pub use translate::Translator;

//! `--config FILE`: the flags of `verbatim serve` as TOML, under the flags' own names.
//!
//! What the file says becomes arguments behind those of the command line, so both are checked in one
//! place. A flag that was given wins over the file. Messages name lines and keys, never values, of
//! which some are secret.

use std::{ffi::OsString, path::Path};

use anyhow::{Context, Result, anyhow};
use clap::{ArgAction, ArgMatches, Command, parser::ValueSource};
use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::output::read_text;
use crate::limits;

const SUBCOMMAND: &str = "serve";
const FLAG: &str = "config";

/// The arguments `given`, and those of the file that they name.
pub(super) fn expand(mut given: Vec<OsString>, command: &Command) -> Result<Vec<OsString>> {
    // Whatever else is wrong with the arguments is told when they are parsed in earnest.
    let lenient = command
        .clone()
        .mut_subcommand(SUBCOMMAND, |serve| serve.mut_args(|arg| arg.required(false)))
        .ignore_errors(true);
    let Ok(matches) = lenient.try_get_matches_from(&given) else { return Ok(given) };
    let Some(serve) = matches.subcommand_matches(SUBCOMMAND) else { return Ok(given) };
    let Ok(Some(file)) = serve.try_get_one::<std::path::PathBuf>(FLAG) else { return Ok(given) };
    let text = read_text(file, limits::MAX_CONFIG_FILE_BYTES)?;
    let arguments = arguments(&text, command, serve);
    given.extend(arguments.with_context(|| format!("the configuration file {}", shown(file)))?);
    Ok(given)
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

/// The arguments that a file stands for, without those that the command line gives itself.
fn arguments(text: &str, command: &Command, given: &ArgMatches) -> Result<Vec<OsString>> {
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(text, span.start));
        // The error's own display quotes the line.
        anyhow!("line {line}: {}", e.message())
    })?;
    let mut built = command.clone();
    built.build();
    let serve = built.find_subcommand(SUBCOMMAND).context("there is no such command")?;
    let mut arguments = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(text, key.span().start);
        let name = key.get_ref();
        let arg = serve
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name) && name != FLAG && settable(arg.get_action()))
            .with_context(|| format!("line {line}: there is no setting {name:?}"))?;
        let id = arg.get_id().as_str();
        if given.value_source(id) == Some(ValueSource::CommandLine) {
            continue;
        }
        let values = values(value, arg.get_action())
            .map_err(|wanted| anyhow!("line {line}: {name} must be {wanted}"))?;
        arguments.extend(values.into_iter().map(|value| match value {
            None => format!("--{name}").into(),
            Some(value) => format!("--{name}={value}").into(),
        }));
    }
    Ok(arguments)
}

/// Not `--help` and the like.
fn settable(action: &ArgAction) -> bool {
    matches!(action, ArgAction::Set | ArgAction::Append | ArgAction::SetTrue)
}

/// The values of one setting, `None` for a flag that takes none; or what it must be instead.
fn values(
    value: &Spanned<DeValue>,
    action: &ArgAction,
) -> std::result::Result<Vec<Option<String>>, &'static str> {
    match (action, value.get_ref()) {
        (ArgAction::SetTrue, DeValue::Boolean(true)) => Ok(vec![None]),
        (ArgAction::SetTrue, DeValue::Boolean(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => Err("true or false"),
        (ArgAction::Append, DeValue::Array(items)) => items
            .iter()
            .map(|item| scalar(item.get_ref()).map(Some).ok_or("a list of plain values"))
            .collect(),
        (_, DeValue::Table(_)) => Ok(vec![json(value.get_ref()).map(|json| json.to_string())]),
        (_, value) => scalar(value).map(|value| vec![Some(value)]).ok_or("a plain value"),
    }
}

/// A string or number as an argument.
fn scalar(value: &DeValue) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(_) | DeValue::Float(_) => json(value).map(|number| number.to_string()),
        _ => None,
    }
}

/// A value as JSON, which is how flags take tables.
fn json(value: &DeValue) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(n) => {
            i64::from_str_radix(&n.as_str().replace('_', ""), n.radix()).ok()?.into()
        }
        DeValue::Float(x) => x.as_str().replace('_', "").parse::<f64>().ok()?.into(),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Array(items) => {
            items.iter().map(|item| json(item.get_ref())).collect::<Option<Vec<_>>>()?.into()
        }
        DeValue::Table(table) => table
            .iter()
            .map(|(key, value)| Some((key.get_ref().to_string(), json(value.get_ref())?)))
            .collect::<Option<Map<_, _>>>()?
            .into(),
        DeValue::Datetime(_) => return None,
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::CommandFactory;
    use rstest::rstest;

    fn from(text: &str, given: &[&str]) -> Result<Vec<String>> {
        let command = Cli::command();
        let given = [&["verbatim", "serve", "--model", "m"], given].concat();
        let matches = command.clone().get_matches_from(given);
        let serve = matches.subcommand_matches("serve").unwrap();
        let arguments = arguments(text, &command, serve)?;
        Ok(arguments.into_iter().map(|a| a.into_string().unwrap()).collect())
    }

    #[rstest]
    #[case("port = 9000", &["--port=9000"])]
    #[case("max-body-bytes = 0x1_00", &["--max-body-bytes=256"])]
    #[case("temp = 0.5\nhost = '::1'", &["--temp=0.5", "--host=::1"])]
    #[case("api-key = ['a', 'b']\npublic-metrics = true\nno-auth = false", &["--api-key=a", "--api-key=b", "--public-metrics"])]
    #[case("log-format = 'json'", &["--log-format=json"])]
    #[case("[chat-template-args]\nenable_thinking = false", &["--chat-template-args={\"enable_thinking\":false}"])]
    #[case("", &[])]
    fn settings_become_arguments(#[case] text: &str, #[case] wanted: &[&str]) {
        let mut got = from(text, &[]).unwrap();
        let mut wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        got.sort();
        wanted.sort();
        assert_eq!(got, wanted);
    }

    #[test]
    fn flags_win() {
        let text = "port = 9000\nallowed-origins = ['http://a']\nlog-level = 'warn'\ntop-k = 3";
        let given = ["--port", "1", "--allowed-origins", "http://b", "--log-level", "info"];
        assert_eq!(from(text, &given).unwrap(), ["--top-k=3"]);
    }

    #[rstest]
    #[case("port = 1\n\ntemprature = 1", "line 3: there is no setting \"temprature\"")]
    #[case("help = true", "line 1: there is no setting \"help\"")]
    #[case("config = 'x'", "line 1: there is no setting \"config\"")]
    #[case("[server]\nport = 1", "line 1: there is no setting \"server\"")]
    #[case("\nport = [1]", "line 2: port must be a plain value")]
    #[case("no-auth = 'yes'", "line 1: no-auth must be true or false")]
    #[case("api-key = [['hunter2']]", "line 1: api-key must be a list of plain values")]
    #[case("stuck-after = 2026-01-01", "line 1: stuck-after must be a plain value")]
    fn mistakes_are_named_with_their_line(#[case] text: &str, #[case] message: &str) {
        assert_eq!(from(text, &[]).unwrap_err().to_string(), message);
    }

    #[rstest]
    #[case("a = 1\napi-key = 'hunter2")]
    #[case("a = 1\napi-key = ['hunter2'")]
    #[case("a = 1\napi-key = hunter2")]
    fn broken_files_are_not_quoted(#[case] text: &str) {
        let message = from(text, &[]).unwrap_err().to_string();
        assert!(message.starts_with("line 2: ") && !message.contains("hunter2"), "{message}");
    }
}

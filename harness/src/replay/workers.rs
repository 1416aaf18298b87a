//! Groups of cases spread over processes of this program: MLX has one thread in each.
//!
//! A process is handed one group's number a line and answers with one line of JSON a case. One that
//! ends early costs the cases that it had not told of; they are reported as such, and another takes
//! the next group.

use std::{
    io::{BufRead, BufReader, Read as _, Write},
    num::NonZeroUsize,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use serde::{Deserialize, Serialize};

use super::{
    RunOptions,
    run::chosen,
    runner::{Runner, blank, by_model},
};
use crate::{
    Error, Result,
    case::Case,
    report::{CaseReport, Outcome},
};

/// Longest line between the processes.
const MAX_LINE_BYTES: u64 = 4 << 20;

/// The processes of a run.
#[derive(Debug, Clone)]
pub struct Workers {
    /// This program.
    pub program: PathBuf,
    /// What makes it call [`serve`] with the same options.
    pub arguments: Vec<String>,
    /// How many.
    pub count: NonZeroUsize,
}

/// A case's report, with its place among the chosen cases.
#[derive(Serialize, Deserialize)]
struct Told {
    index: usize,
    report: CaseReport,
}

/// Runs the groups that `input` names, until it ends.
///
/// # Errors
/// Unreadable suites, an unknown group, and trouble on either stream.
pub fn serve(options: &RunOptions, mut input: impl BufRead, mut output: impl Write) -> Result<()> {
    let cases = chosen(options)?;
    let groups = by_model(&cases);
    let mut runner = Runner::new(options);
    let trouble = |e: &dyn std::fmt::Display| Error::Worker(e.to_string());
    while let Some(line) = read_line(&mut input).map_err(|e| trouble(&e))? {
        let group = line
            .parse()
            .ok()
            .and_then(|number: usize| groups.get(number))
            .ok_or_else(|| trouble(&format!("{line:?} is no group's number")))?;
        runner.group(&cases, group, |index, report| {
            let told = serde_json::to_string(&Told { index, report }).map_err(|e| trouble(&e))?;
            writeln!(output, "{told}").and_then(|()| output.flush()).map_err(|e| trouble(&e))
        })?;
    }
    Ok(())
}

/// Runs every group on some process; `heard` gets each case's report, in no order.
pub(super) fn spread(
    workers: &Workers,
    cases: &[Case],
    groups: &[Vec<usize>],
    mut heard: impl FnMut(usize, CaseReport),
) {
    let next = AtomicUsize::new(0);
    let (tell, hear) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..workers.count.get().min(groups.len()) {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                let mut worker = None;
                while let Some(number) = take(next, groups.len()) {
                    hand_over(workers, &mut worker, number, &groups[number], cases, &tell);
                }
            });
        }
        drop(tell);
        for Told { index, report } in hear {
            heard(index, report);
        }
    });
}

/// The next of `count` numbers, once each.
fn take(next: &AtomicUsize, count: usize) -> Option<usize> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    (number < count).then_some(number)
}

/// Has a group run, in a new process if there is none, and reports what it could not run.
fn hand_over(
    workers: &Workers,
    worker: &mut Option<Worker>,
    number: usize,
    group: &[usize],
    cases: &[Case],
    tell: &mpsc::Sender<Told>,
) {
    let mut left = group;
    let result = match worker {
        Some(worker) => worker.run(number, &mut left, tell),
        None => Worker::start(workers)
            .and_then(|started| worker.insert(started).run(number, &mut left, tell)),
    };
    if let Err(reason) = result {
        let reason = match worker.take() {
            Some(worker) => format!("{reason}; {}", worker.end()),
            None => reason,
        };
        for &index in left {
            // The other end waits until this one is gone.
            let _ = tell.send(Told { index, report: not_run(&cases[index], &reason) });
        }
    }
}

fn not_run(case: &Case, reason: &str) -> CaseReport {
    let mut report = blank(case);
    report.outcome = match &case.skip {
        Some(reason) => Outcome::Skipped { reason: reason.clone() },
        None => Outcome::Error { message: format!("the process that should run it: {reason}") },
    };
    report
}

struct Worker {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(workers: &Workers) -> Result<Self, String> {
        let mut process = Command::new(&workers.program)
            .args(&workers.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot be started: {e}"))?;
        let orders = process.stdin.take().ok_or("has no input")?;
        let answers = BufReader::new(process.stdout.take().ok_or("has no output")?);
        Ok(Self { process, orders, answers })
    }

    /// Runs a group; what `left` then holds was not told of.
    fn run(
        &mut self,
        number: usize,
        left: &mut &[usize],
        tell: &mpsc::Sender<Told>,
    ) -> Result<(), String> {
        writeln!(self.orders, "{number}").map_err(|e| format!("takes no group: {e}"))?;
        while let [next, rest @ ..] = left {
            let line = read_line(&mut self.answers)
                .map_err(|e| format!("cannot be heard: {e}"))?
                .ok_or("ended early")?;
            let told: Told =
                serde_json::from_str(&line).map_err(|e| format!("said {line:?}: {e}"))?;
            if told.index != *next {
                return Err(format!("told of case {} instead of {next}", told.index));
            }
            let _ = tell.send(told);
            *left = rest;
        }
        Ok(())
    }

    /// Ends the process and tells how it ended.
    fn end(mut self) -> String {
        drop(self.orders);
        // It may have said something wrong and go on.
        let _ = self.process.kill();
        self.process.wait().map_or_else(|e| e.to_string(), |status| status.to_string())
    }
}

/// The next line without its end, if there is one.
fn read_line(input: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = input.take(MAX_LINE_BYTES).read_line(&mut line)?;
    if read > 0 && !line.ends_with('\n') {
        return Err(std::io::Error::other("a line is too long or broken off"));
    }
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

#[cfg(test)]
mod tests;
